"""Charts of classical models: performance over time, shapes of features, and both kinds of model side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import altair as alt

from assay.dashboard import figures
from assay.dashboard.axes import time_axis
from assay.dashboard.charts import DURATION_LABEL, Answer
from assay.dashboard.drawing import Chart, chart, marks, specified
from assay.palette import AMBER, BLUE, GREY

MEASURED, ESTIMATED = "measured", "estimated"
CLASSICAL, LLM = "classical", "LLM"

_COLOURS = alt.Scale(domain=[MEASURED, ESTIMATED], range=[BLUE, AMBER])
_SIDES = alt.Scale(domain=[CLASSICAL, LLM], range=[BLUE, AMBER])
_LEGEND = alt.Legend(title=None, orient="bottom", symbolSize=90, symbolOpacity=1, padding=0, offset=8)
_ON_TOP = alt.Legend(title=None, orient="top", symbolSize=70, symbolOpacity=1, padding=0, offset=4)
_NAMED_BINS = 6
"""More bins than these have no room for their names: the tooltip has them."""


def performance_lines(measured: Iterable[Answer], estimated: Iterable[Answer], metric: str) -> Chart | None:
    """One figure over time in the bands of its 95% intervals, by labels and by estimate; None without any."""
    rows = [
        *(_point(point, point["figures"].get(metric), MEASURED) for point in measured),
        *(_point(point, point.get(metric), ESTIMATED) for point in estimated),
    ]
    known = [row for row in rows if row]
    return chart(_performance_lines(metric), known) if known else None


@specified
def _performance_lines(metric: str) -> Any:
    base = marks().encode(x=time_axis("time"), color=alt.Color("by:N", scale=_COLOURS, legend=_LEGEND))
    scale = alt.Scale(zero=False, nice=True)
    bands = base.mark_area(opacity=0.15).encode(y=alt.Y("low:Q", scale=scale, title=None), y2="high:Q")
    lines = base.mark_line(point=alt.OverlayMarkDef(size=22, filled=True), strokeWidth=2).encode(
        y=alt.Y("value:Q", scale=scale, title=None, axis=alt.Axis(tickCount=5)),
        tooltip=[
            alt.Tooltip("by:N", title="By"),
            alt.Tooltip("value:Q", title=metric, format=".3f"),
            alt.Tooltip("low:Q", title="From", format=".3f"),
            alt.Tooltip("high:Q", title="To", format=".3f"),
            alt.Tooltip("n:Q", title="Rows"),
            alt.Tooltip("time:T", title="Since", format="%d %b %H:%M"),
        ],
    )
    return _layered(bands, lines, height=280)


def reliability(curve: Iterable[Answer]) -> Chart:
    """How often the model was right at each confidence, with 95% intervals; on the dashed line it is as it says."""
    return chart(_reliability(), [{**point} for point in curve], ideal=[{"x": 0, "y": 0}, {"x": 1, "y": 1}])


@specified
def _reliability() -> Any:
    scale = alt.Scale(domain=[0, 1])
    ideal = (
        marks("ideal")
        .mark_line(strokeDash=[4, 4], color=GREY)
        .encode(x=alt.X("x:Q", scale=scale, title="Confidence"), y=alt.Y("y:Q", scale=scale, title="Share right"))
    )
    base = marks().encode(x=alt.X("confidence:Q", scale=scale))
    ends = base.mark_rule(color=BLUE, opacity=0.5).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q")
    dots = base.mark_circle(color=BLUE, size=60, opacity=1).encode(
        y=alt.Y("accuracy:Q", scale=scale),
        tooltip=[
            alt.Tooltip("confidence:Q", title="Confidence", format=".3f"),
            alt.Tooltip("accuracy:Q", title="Right", format=".1%"),
            alt.Tooltip("n:Q", title="Rows"),
        ],
    )
    return _layered(ideal, ends, dots, height=280)


def shape(feature: Answer) -> Chart:
    """One feature's histogram in the reference and now, in the same bins, as shares."""
    of = feature["shape"]
    sums = {side: max(sum(of[side]), 1) for side in ("reference", "current")}
    names = {"reference": "reference", "current": "now"}
    # Labels may be texts of users: they are data here. Their place keeps two bins of one label apart.
    rows = [
        {
            "bin": label,
            "place": place,
            "sample": names[side],
            "share": of[side][place] / sums[side],
            "n": of[side][place],
        }
        for place, label in enumerate(of["labels"])
        for side in ("reference", "current")
    ]
    named = len(of["labels"]) <= _NAMED_BINS
    return chart(_shape(None if named else f"{of['labels'][0]} … {of['labels'][-1]}"), rows)


@specified
def _shape(ends: str | None) -> Any:
    """`ends` tells of bins that are not named each."""
    named = ends is None
    axis = alt.Axis(labelLimit=60, labelAngle=0, labels=named, ticks=named)
    return (
        marks()
        .mark_bar(orient="vertical")
        .encode(
            x=alt.X("bin:N", sort=alt.SortField("place"), title=ends, axis=axis),
            xOffset=alt.XOffset("sample:N", sort=["reference", "now"]),
            y=alt.Y("share:Q", title=None, axis=alt.Axis(format="%", tickCount=3)),
            color=alt.Color(
                "sample:N", scale=alt.Scale(domain=["reference", "now"], range=[GREY, BLUE]), legend=_ON_TOP
            ),
            tooltip=[
                alt.Tooltip("bin:N", title="Value"),
                alt.Tooltip("sample:N", title="In"),
                alt.Tooltip("share:Q", title="Share", format=".1%"),
                alt.Tooltip("n:Q", title="Rows"),
            ],
        )
        .properties(height=190)
    )


def latency_dots(latencies: Mapping[str, Mapping[str, float | None]]) -> Chart | None:
    """Percentiles of both kinds of model on a logarithmic axis of milliseconds; None where none is known."""
    rows = [
        {"side": side, "level": level, "ms": value, "shown": figures.duration(value)}
        for key, side in (("classical", CLASSICAL), ("llm", LLM))
        for level, value in latencies[key].items()
        if value
    ]
    return chart(_latency_dots(), rows) if rows else None


@specified
def _latency_dots() -> Any:
    axis = alt.Axis(labelExpr=DURATION_LABEL, grid=True, tickCount=5)
    return (
        marks()
        .mark_circle(size=110, opacity=1)
        .encode(
            x=alt.X("ms:Q", scale=alt.Scale(type="log", nice=True), title=None, axis=axis),
            y=alt.Y("level:N", title=None, sort=["p50", "p95", "p99"]),
            color=alt.Color("side:N", scale=_SIDES, legend=_LEGEND),
            tooltip=[alt.Tooltip("side:N"), alt.Tooltip("level:N"), alt.Tooltip("shown:N", title="Latency")],
        )
        .properties(height=170)
    )


def cost_bars(aspect: Answer) -> Chart | None:
    """US dollars per 1,000 of both on a logarithmic axis; None where none is known."""
    rows = [
        {"side": side, "usd": aspect[key]["value"], "shown": figures.dollars(aspect[key]["value"])}
        for key, side in (("classical", CLASSICAL), ("llm", LLM))
        if aspect[key]["value"]
    ]
    return chart(_cost_bars(), rows) if rows else None


@specified
def _cost_bars() -> Any:
    return (
        marks()
        .mark_circle(size=130, opacity=1)
        .encode(
            x=alt.X(
                "usd:Q", scale=alt.Scale(type="log", nice=True), title=None, axis=alt.Axis(format="$~g", tickCount=5)
            ),
            y=alt.Y("side:N", title=None, sort=[CLASSICAL, LLM]),
            color=alt.Color("side:N", scale=_SIDES, legend=None),
            tooltip=[alt.Tooltip("side:N"), alt.Tooltip("shown:N", title="Per 1,000")],
        )
        .properties(height=110)
    )


def shares(aspect: Answer) -> Chart | None:
    """A share of both with its 95% interval; None where it is known of neither."""
    rows = [
        {"side": side, **{name: aspect[key][name] for name in ("value", "low", "high", "n")}}
        for key, side in (("classical", CLASSICAL), ("llm", LLM))
        if aspect[key]["value"] is not None
    ]
    return chart(_shares(), rows) if rows else None


@specified
def _shares() -> Any:
    base = marks().encode(
        y=alt.Y("side:N", title=None, sort=[CLASSICAL, LLM]),
        color=alt.Color("side:N", scale=_SIDES, legend=None),
    )
    x = alt.X("value:Q", title=None, scale=alt.Scale(zero=True), axis=alt.Axis(format="~%", tickCount=5))
    ends = base.mark_rule(strokeWidth=3, opacity=0.5).encode(x=alt.X("low:Q", title=None), x2="high:Q")
    dots = base.mark_circle(size=110, opacity=1).encode(
        x=x,
        tooltip=[
            alt.Tooltip("side:N"),
            alt.Tooltip("value:Q", title="Share", format=".2%"),
            alt.Tooltip("low:Q", title="From", format=".2%"),
            alt.Tooltip("high:Q", title="To", format=".2%"),
            alt.Tooltip("n:Q", title="Of"),
        ],
    )
    return _layered(ends, dots, height=110)


def _layered(*charts: Any, height: int) -> Any:
    together: Any = alt.layer(*charts)
    return together.properties(height=height)


def _point(point: Answer, figure: Answer | None, by: str) -> dict[str, Any] | None:
    if not figure or figure["value"] is None:
        return None
    return {"time": datetime.fromisoformat(point["bucket"]), "by": by, **figure}
