"""Charts of one score: how its values are spread, how they move, and how groups of calls differ."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import altair as alt
import pandas as pd

from assay.dashboard import figures
from assay.dashboard.axes import finished, rows_height, time_axis, time_tooltip
from assay.dashboard.charts import Chart
from assay.dashboard.data import Answer
from assay.dashboard.inert import excerpt
from assay.palette import GREY, SCORE_COLOURS

SMALL, LARGE = 84, 220
MOST_GROUPS = 25
NO_NAME = "(none given)"


def colour(score: str) -> str:
    """A score has one colour on every page."""
    return SCORE_COLOURS.get(score, GREY)


def histogram(found: Answer, *, small: bool = False) -> Chart | None:
    """Calls by value; None where no value is known. A small one has no axes: it shows a shape."""
    if not found["n"]:
        return None
    rows = pd.DataFrame([{**one, "range": f"{one['low']:.2f} to {one['high']:.2f}"} for one in found["bins"]])
    bars = (
        alt.Chart(rows)
        .mark_bar(color=colour(found["name"]), binSpacing=1)
        .encode(
            x=alt.X(
                "low:Q", bin="binned", title=None if small else "Value", axis=_ends(found) if small else alt.Axis()
            ),
            x2="high:Q",
            y=alt.Y("calls:Q", title=None if small else "Calls", axis=None if small else alt.Axis(tickMinStep=1)),
            tooltip=[alt.Tooltip("range:N", title="Value"), alt.Tooltip("calls:Q", title="Calls", format=",")],
        )
    )
    return finished(bars, SMALL if small else LARGE)


def _ends(found: Answer) -> alt.Axis:
    return alt.Axis(values=[found["bins"][0]["low"], found["bins"][-1]["high"]], grid=False, ticks=False, domain=False)


def trend(points: Sequence[Answer], score: str) -> Chart | None:
    """The score's mean in each bucket of time, in the band of its 95% interval; None where it has none."""
    rows: list[dict[str, Any]] = [
        {
            "time": datetime.fromisoformat(point["bucket"]),
            "mean": point[score],
            "low": point[f"{score}_low"],
            "high": point[f"{score}_high"],
            "n": point[f"{score}_n"],
            "likely": likely(point[f"{score}_low"], point[f"{score}_high"]),
        }
        for point in points
        if point[score] is not None
    ]
    if not rows:
        return None
    base = alt.Chart(pd.DataFrame(rows)).encode(x=time_axis("time"))
    scale = _scale([row[end] for row in rows for end in ("mean", "low", "high")])
    band = base.mark_area(opacity=0.16, color=colour(score)).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q")
    line = base.mark_line(
        color=colour(score), strokeWidth=2, point=alt.OverlayMarkDef(size=18, filled=True, color=colour(score))
    ).encode(
        y=alt.Y("mean:Q", title="Mean", scale=scale),
        tooltip=[
            alt.Tooltip("mean:Q", title="Mean", format=".3f"),
            alt.Tooltip("likely:N", title="95% interval"),
            alt.Tooltip("n:Q", title="Scored calls", format=","),
            time_tooltip("time"),
        ],
    )
    return finished(alt.layer(band, line))


def by_group(groups: Sequence[Answer], score: str) -> Chart | None:
    """A point and its 95% interval for each group, in their order; each with `group`, `mean`, `low`, `high`, `n`."""
    if not groups:
        return None
    rows = pd.DataFrame(
        [
            {**one, "group": excerpt(one["group"], 60) or NO_NAME, "likely": likely(one["low"], one["high"])}
            for one in groups
        ]
    )
    scale = alt.Scale(zero=False, nice=True)
    base = alt.Chart(rows).encode(
        y=alt.Y("group:N", title=None, sort=None, axis=alt.Axis(labelLimit=240, ticks=False, domain=False)),
        tooltip=[
            alt.Tooltip("group:N", title="Group"),
            alt.Tooltip("mean:Q", title="Mean", format=".3f"),
            alt.Tooltip("likely:N", title="95% interval"),
            alt.Tooltip("n:Q", title="Scored calls", format=","),
        ],
    )
    ranges = base.mark_rule(color=colour(score), strokeWidth=3, opacity=0.45).encode(
        x=alt.X("low:Q", title="Mean", scale=scale), x2="high:Q"
    )
    points = base.mark_point(color=colour(score), filled=True, size=80, opacity=1).encode(
        x=alt.X("mean:Q", scale=scale)
    )
    return finished(alt.layer(ranges, points), rows_height(len(rows)))


def likely(low: float | None, high: float | None) -> str:
    """An interval in words."""
    return "unknown: too few sessions" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _scale(values: Sequence[float | None]) -> alt.Scale:
    """From 0 to 1 for what is between them, so that two pictures compare; else what there is."""
    known = [value for value in values if value is not None]
    within = min(known) >= 0 and max(known) <= 1
    return alt.Scale(domain=[0, 1], clamp=True) if within else alt.Scale(zero=False)


def title(found: Answer | Any) -> str:
    """A score's name, and whose verdicts they are where no scorer of ours gave them."""
    by = {"human": "people", "judge": "a judge", "otel": "another tool"}.get(found["source"])
    return figures.name(found["name"]) + (f" (by {by})" if by else "")
