"""The page's charts, made with Altair from the API's answers.

The colours have a contrast of 3:1 or more on white and on Streamlit's dark ground. The four scores' own were
chosen with the colour-blindness matrices of Machado et al. (2009): no two of them come closer than 16 in
CIE Lab for protanopes, deuteranopes and tritanopes. Texts of users only ever are data here, never part of a
specification.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import altair as alt
import pandas as pd

from assay.dashboard import figures

BLUE, AMBER, RED, TEAL, VIOLET, GREY = "#2f7fd6", "#c98500", "#d1344f", "#00a383", "#9a6fd0", "#7a8794"

SCORE_COLOURS = {
    "relevance": BLUE,
    "coherence": AMBER,
    "toxicity": RED,
    "groundedness": TEAL,
    "factual_accuracy": VIOLET,
}
"""Each score has its colour on every chart; others share what is left."""

MODEL_COLOURS = (BLUE, AMBER, TEAL, VIOLET, RED, "#5fa8a8", "#b0803f", GREY)
OTHER_MODELS = "other models"

HEIGHT = 250

Answer = Mapping[str, Any]
Chart = alt.Chart | alt.LayerChart


def quality_lines(points: Iterable[Answer]) -> Chart | None:
    """Each score's mean over time, 0..1; None where no score is known."""
    rows = [
        {"time": point["bucket"], "score": figures.name(name), "value": value, "calls": point["conversations"]}
        for point in points
        for name, value in sorted(point["scores"].items())
        if value is not None
    ]
    if not rows:
        return None
    frame = _timed(rows)
    colours = {figures.name(name): colour for name, colour in SCORE_COLOURS.items()}
    known = _names(frame, "score")
    return (
        alt.Chart(frame)
        .mark_line(point=alt.OverlayMarkDef(size=26, filled=True), strokeWidth=2, interpolate="monotone")
        .encode(
            x=_time_axis("time"),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(tickCount=5)),
            color=alt.Color(
                "score:N",
                title=None,
                scale=alt.Scale(domain=known, range=[colours.get(name, GREY) for name in known]),
                legend=alt.Legend(orient="bottom", columns=3),
            ),
            tooltip=[
                alt.Tooltip("score:N", title="Score"),
                alt.Tooltip("value:Q", title="Mean", format=".3f"),
                alt.Tooltip("calls:Q", title="Conversations"),
                _time_tooltip("time"),
            ],
        )
        .properties(height=HEIGHT)
    )


def cost_bars(by_model: Iterable[Answer], bucket_seconds: int) -> Chart | None:
    """US dollars over time, stacked by model; None where nothing had a price."""
    points = [point for point in by_model if point["cost_usd"] > 0]
    if not points:
        return None
    shown = _dearest(points, len(MODEL_COLOURS) - 1)
    frame = _timed(
        [
            {
                "time": point["bucket"],
                "model": (point["group"] or "(none given)") if point["group"] in shown else OTHER_MODELS,
                "cost": point["cost_usd"],
                "calls": point["calls"],
            }
            for point in points
        ]
    )
    frame = frame.groupby(["time", "model"], as_index=False).sum()
    frame["end"] = frame["time"] + timedelta(seconds=bucket_seconds * 0.9)
    return (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=_time_axis("time"),
            x2="end:T",
            y=alt.Y("cost:Q", title=None, stack="zero", axis=alt.Axis(format="$~g", tickCount=5)),
            color=alt.Color(
                "model:N",
                title=None,
                scale=alt.Scale(domain=_names(frame, "model"), range=list(MODEL_COLOURS)),
                legend=alt.Legend(orient="bottom", columns=2, labelLimit=220),
            ),
            tooltip=[
                alt.Tooltip("model:N", title="Model"),
                alt.Tooltip("cost:Q", title="Cost", format="$.4~f"),
                alt.Tooltip("calls:Q", title="Calls"),
                _time_tooltip("time"),
            ],
        )
        .properties(height=HEIGHT)
    )


def latency_bars(bins: list[dict[str, Any]], marks: Mapping[str, float | None]) -> Chart:
    """How many conversations took how long, on a logarithmic scale, with named durations marked on it."""
    frame = pd.DataFrame([{**bin, "took": _took(bin)} for bin in bins])
    scale = alt.Scale(type="log", nice=False)
    bars = (
        alt.Chart(frame)
        .mark_bar(color=BLUE, binSpacing=1)
        .encode(
            x=alt.X("from_ms:Q", title=None, scale=scale, axis=_duration_axis()),
            x2="to_ms:Q",
            y=alt.Y("conversations:Q", title=None, axis=alt.Axis(tickMinStep=1, tickCount=5)),
            tooltip=[
                alt.Tooltip("took:N", title="Took"),
                alt.Tooltip("conversations:Q", title="Conversations"),
            ],
        )
    )
    marked = pd.DataFrame(
        [{"mark": f"{mark} {figures.milliseconds(ms)}", "ms": ms} for mark, ms in marks.items() if ms is not None]
    )
    if marked.empty:
        return bars.properties(height=HEIGHT)
    rules = (
        alt.Chart(marked)
        .mark_rule(strokeWidth=2)
        .encode(
            x=alt.X("ms:Q", scale=scale),
            color=alt.Color(
                "mark:N",
                title=None,
                sort=None,
                scale=alt.Scale(range=[AMBER, RED]),
                legend=alt.Legend(orient="bottom", symbolType="stroke"),
            ),
            tooltip=[alt.Tooltip("mark:N", title="Mark")],
        )
    )
    return alt.layer(bars, rules).properties(height=HEIGHT)


def _timed(rows: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    frame["time"] = pd.to_datetime(frame["time"], utc=True, format="ISO8601")
    return frame


def _names(frame: pd.DataFrame, column: str) -> list[str]:
    return sorted(set(frame[column]), key=lambda name: (name == OTHER_MODELS, name))


def _dearest(points: Iterable[Answer], number: int) -> set[str]:
    costs: dict[str, float] = {}
    for point in points:
        costs[point["group"]] = costs.get(point["group"], 0.0) + point["cost_usd"]
    return set(sorted(costs, key=lambda model: -costs[model])[:number])


def _took(bin: Answer) -> str:
    return f"{figures.milliseconds(bin['from_ms'])} to {figures.milliseconds(bin['to_ms'])}"


def _time_axis(field: str) -> alt.X:
    return alt.X(f"{field}:T", title=None, axis=alt.Axis(tickCount=6, labelOverlap=True, grid=False))


def _time_tooltip(field: str) -> alt.Tooltip:
    return alt.Tooltip(f"{field}:T", title="From", format="%d %b %H:%M:%S")


def _duration_axis() -> alt.Axis:
    label = "datum.value >= 1000 ? format(datum.value / 1000, '~g') + ' s' : format(datum.value, '~g') + ' ms'"
    return alt.Axis(labelExpr=label, labelOverlap=True, grid=False, tickCount=6)
