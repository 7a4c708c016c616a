"""Charts of one score: how its values are spread, how they move, and how groups of calls differ."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import altair as alt

from assay.dashboard import figures
from assay.dashboard.axes import finished, rows_height, time_axis, time_tooltip
from assay.dashboard.data import Answer
from assay.dashboard.drawing import Chart, chart, marks, specified
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
    rows = [{**one, "range": f"{one['low']:.2f} to {one['high']:.2f}"} for one in found["bins"]]
    return chart(_histogram(found["name"], small, found["bins"][0]["low"], found["bins"][-1]["high"]), rows)


@specified
def _histogram(score: str, small: bool, low: float, high: float) -> Any:
    ends = alt.Axis(values=[low, high], grid=False, ticks=False, domain=False)
    bars = (
        marks()
        .mark_bar(color=colour(score), binSpacing=1)
        .encode(
            x=alt.X("low:Q", bin="binned", title=None if small else "Value", axis=ends if small else alt.Axis()),
            x2="high:Q",
            y=alt.Y("calls:Q", title=None if small else "Calls", axis=None if small else alt.Axis(tickMinStep=1)),
            tooltip=[alt.Tooltip("range:N", title="Value"), alt.Tooltip("calls:Q", title="Calls", format=",")],
        )
    )
    return finished(bars, SMALL if small else LARGE)


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
    within = _within([row[end] for row in rows for end in ("mean", "low", "high")])
    return chart(_trend(score, within), rows)


@specified
def _trend(score: str, within: bool) -> Any:
    base = marks().encode(x=time_axis("time"))
    scale = alt.Scale(domain=[0, 1], clamp=True) if within else alt.Scale(zero=False)
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
    rows = [
        {**one, "group": excerpt(one["group"], 60) or NO_NAME, "likely": likely(one["low"], one["high"])}
        for one in groups
    ]
    return chart(_by_group(score, len(rows)), rows)


@specified
def _by_group(score: str, groups: int) -> Any:
    scale = alt.Scale(zero=False, nice=True)
    base = marks().encode(
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
    return finished(alt.layer(ranges, points), rows_height(groups))


def likely(low: float | None, high: float | None) -> str:
    """An interval in words."""
    return "unknown: too few sessions" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _within(values: Sequence[float | None]) -> bool:
    """Whether all are from 0 to 1: their picture has that scale then, so that two compare."""
    return all(0 <= value <= 1 for value in values if value is not None)


def title(found: Answer | Any) -> str:
    """A score's name, and whose verdicts they are where no scorer of ours gave them."""
    by = {"human": "people", "judge": "a judge", "otel": "another tool"}.get(found["source"])
    return figures.name(found["name"]) + (f" (by {by})" if by else "")
