"""Quality over time, and what the charts share, made with Altair from the API's answers.

Texts of users only ever are data here, never part of a specification. A click on a mark tells what it stands for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt

from assay.dashboard import figures
from assay.dashboard.axes import finished, legend, time_axis, time_tooltip
from assay.dashboard.clicks import bucket, clickable
from assay.dashboard.drawing import Chart, chart, marks, specified
from assay.dashboard.gaps import broken
from assay.dashboard.inert import excerpt
from assay.palette import AMBER, BLUE, GREY, RED, SCORE_COLOURS

THUMB = "thumb"
"""What people click is no score over time: it is compared with the scores (trust.py)."""

SEVERITY_COLOURS = {"HIGH": RED, "MEDIUM": AMBER, "LOW": BLUE}

_WIDEST_BAND = 0.5

SHARE_OF_BUCKET = 0.9
"""Of its bucket's width a bar fills so much."""

DURATION_LABEL = "datum.value >= 1000 ? format(datum.value / 1000, '~g') + ' s' : format(datum.value, '~g') + ' ms'"
"""How a chart writes milliseconds on an axis."""

Answer = Mapping[str, Any]


def quality_lines(points: Sequence[Answer], bucket_seconds: int | None, incidents: Iterable[Answer]) -> Chart | None:
    """Each score's mean over time, 0..1, in the band of its 95% interval, with a rule where an incident began.

    None where no score is known.
    """
    rows = broken(_scores(points, bucket_seconds), bucket_seconds, "score")
    if not rows:
        return None
    known = in_order({row["score"] for row in rows}, [figures.name(name) for name in SCORE_COLOURS])
    times = [row["time"] for row in rows]
    began = _began(incidents, min(times), max(times))
    return chart(_quality_lines(tuple(known), bool(began)), rows, incidents=began)


@specified
def _quality_lines(scores: tuple[str, ...], incidents: bool) -> Any:
    colours = {figures.name(name): colour for name, colour in SCORE_COLOURS.items()}
    scale = alt.Scale(domain=[0, 1], clamp=True)
    base = marks().encode(
        x=time_axis("time"),
        color=alt.Color(
            "score:N",
            title=None,
            scale=alt.Scale(domain=list(scores), range=[colours.get(name, GREY) for name in scores]),
            legend=legend(columns=3),
        ),
    )
    bands = base.mark_area(opacity=0.13).encode(y=alt.Y("low:Q", scale=scale, title="Mean score"), y2="high:Q")
    lines = base.mark_line(strokeWidth=2).encode(y=alt.Y("value:Q", scale=scale, axis=alt.Axis(tickCount=5)))
    dots = base.mark_point(size=22, filled=True, opacity=1).encode(
        y=alt.Y("value:Q", scale=scale),
        tooltip=[
            alt.Tooltip("score:N", title="Score"),
            alt.Tooltip("value:Q", title="Mean", format=".3f"),
            alt.Tooltip("likely:N", title="95% interval"),
            alt.Tooltip("calls:Q", title="Scored", format=","),
            time_tooltip("time"),
            alt.Tooltip("utc:N", title="UTC"),
        ],
    )
    rules = [_incident_rules()] if incidents else []
    return finished(alt.layer(bands, lines, clickable(dots, "since", "until", nearest=True), *rules))


def _incident_rules() -> alt.Chart:
    told = [alt.Tooltip(f"{name}:N", title=name.capitalize()) for name in ("rule", "group", "severity", "message")]
    return (
        marks("incidents")
        .mark_rule(strokeDash=[5, 3], strokeWidth=2, color=RED)
        .encode(x="time:T", tooltip=[*told, alt.Tooltip("utc:N", title="UTC")])
    )


def _scores(points: Iterable[Answer], bucket_seconds: int | None) -> list[dict[str, Any]]:
    return [
        {
            **bucket(point["bucket"], bucket_seconds),
            "score": figures.name(name),
            "value": value,
            "likely": _likely(interval := point.get("intervals", {}).get(name, {})),
            **_band(interval),
            "calls": interval.get("n"),
        }
        for point in points
        for name, value in point["scores"].items()
        if value is not None and name != THUMB
    ]


def _began(incidents: Iterable[Answer], first: Any, last: Any) -> list[dict[str, Any]]:
    return [
        {
            "time": begun["time"],
            "utc": begun["utc"],
            "rule": excerpt(one["rule"], 60),
            "group": excerpt(one["group"], 60),
            "severity": one["severity"],
            "message": excerpt(one["message"], 120),
        }
        for one in incidents
        if one["firing_at"] and first <= (begun := bucket(one["firing_at"], None))["time"] <= last
    ]


def _band(interval: Answer) -> dict[str, float | None]:
    """What is drawn of an interval; one over half of the scale would hide more than it tells."""
    low, high = interval.get("low"), interval.get("high")
    shown = low is not None and high is not None and high - low <= _WIDEST_BAND
    return {"low": low if shown else None, "high": high if shown else None}


def _likely(interval: Answer) -> str:
    if interval.get("low") is None:
        return "unknown: too few sessions"
    return f"{interval['low']:.3f} to {interval['high']:.3f}"


def in_order(names: Iterable[str], order: Sequence[str] = tuple(SCORE_COLOURS)) -> list[str]:
    """The names that `order` has, in its order, then the others by the alphabet."""
    places = {name: place for place, name in enumerate(order)}
    return sorted(names, key=lambda name: (places.get(name, len(places)), name))
