"""The page's charts, made with Altair from the API's answers.

The colours have a contrast of 3:1 or more on white and on Streamlit's dark ground. The four scores' own were
chosen with the colour-blindness matrices of Machado et al. (2009): no two of them come closer than 16 in
CIE Lab for protanopes, deuteranopes and tritanopes. Texts of users only ever are data here, never part of a
specification.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import altair as alt
import pandas as pd

from assay.dashboard import figures

BLUE, AMBER, RED, TEAL, VIOLET, GREY = "#2f7fd6", "#c98500", "#d1344f", "#00a383", "#9a6fd0", "#7a8794"
ROSE = "#e08fa5"

SCORE_COLOURS = {
    "relevance": BLUE,
    "coherence": AMBER,
    "toxicity": RED,
    "groundedness": TEAL,
    "factual_accuracy": VIOLET,
    "prompt_toxicity": ROSE,
    "refusal": GREY,
}
"""Each score has its colour on every chart; others share what is left."""

MODEL_COLOURS = (BLUE, AMBER, TEAL, VIOLET, RED, "#4f9494", "#b0803f", GREY)
OTHER_MODELS = "other models"

HEIGHT = 280

THUMB = "thumb"
"""What people click is no score over time: it is compared with the scores (trust.py)."""

_WIDEST_BAND = 0.5

_SHARE = 0.9
"""Of its bucket's width a bar fills so much."""

DURATION_LABEL = "datum.value >= 1000 ? format(datum.value / 1000, '~g') + ' s' : format(datum.value, '~g') + ' ms'"
"""How a chart writes milliseconds on an axis."""

_TIME_FORMATS = {
    "milliseconds": "%H:%M:%S",
    "seconds": "%H:%M:%S",
    "minutes": "%H:%M",
    "hours": "%H:%M",
    "date": "%d %b",
    "day": "%d %b",
    "week": "%d %b",
    "month": "%b %Y",
    "year": "%Y",
}

Answer = Mapping[str, Any]
Chart = alt.Chart | alt.LayerChart


def quality_lines(points: Iterable[Answer]) -> Chart | None:
    """Each score's mean over time, 0..1, in the band of its 95% interval; None where no score is known."""
    rows: list[dict[str, Any]] = [
        {
            "time": datetime.fromisoformat(point["bucket"]),
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
    if not rows:
        return None
    colours = {figures.name(name): colour for name, colour in SCORE_COLOURS.items()}
    known = in_order({row["score"] for row in rows}, list(colours))
    scale = alt.Scale(domain=[0, 1], clamp=True)
    base = alt.Chart(pd.DataFrame(rows)).encode(
        x=_time_axis("time"),
        color=alt.Color(
            "score:N",
            title=None,
            scale=alt.Scale(domain=known, range=[colours.get(name, GREY) for name in known]),
            legend=_legend(columns=4),
        ),
    )
    bands = base.mark_area(opacity=0.13, interpolate="monotone").encode(
        y=alt.Y("low:Q", scale=scale, title=None), y2="high:Q"
    )
    lines = base.mark_line(
        point=alt.OverlayMarkDef(size=14, filled=True), strokeWidth=2, interpolate="monotone"
    ).encode(
        y=alt.Y("value:Q", title=None, scale=scale, axis=alt.Axis(tickCount=5)),
        tooltip=[
            alt.Tooltip("score:N", title="Score"),
            alt.Tooltip("value:Q", title="Mean", format=".3f"),
            alt.Tooltip("likely:N", title="95% interval"),
            alt.Tooltip("calls:Q", title="Scored"),
            _time_tooltip("time"),
        ],
    )
    return _finished(alt.layer(bands, lines))


def _band(interval: Answer) -> dict[str, float | None]:
    """What is drawn of an interval; one over half of the scale would hide more than it tells."""
    low, high = interval.get("low"), interval.get("high")
    shown = low is not None and high is not None and high - low <= _WIDEST_BAND
    return {"low": low if shown else None, "high": high if shown else None}


def _likely(interval: Answer) -> str:
    if interval.get("low") is None:
        return "unknown: too few sessions"
    return f"{interval['low']:.3f} to {interval['high']:.3f}"


def cost_bars(by_model: Iterable[Answer], bucket_seconds: int) -> Chart | None:
    """US dollars over time, stacked by model; None where nothing had a price."""
    rows = _costs([point for point in by_model if point["cost_usd"] > 0], bucket_seconds)
    if not rows:
        return None
    models = sorted({row["model"] for row in rows}, key=lambda name: (name == OTHER_MODELS, name))
    return _finished(
        alt.Chart(pd.DataFrame(rows))
        .mark_bar(orient="vertical")
        .encode(
            x=_time_axis("time"),
            x2="end:T",
            y=alt.Y("cost:Q", title=None, stack="zero", axis=alt.Axis(format="$~g", tickCount=5)),
            color=alt.Color(
                "model:N",
                title=None,
                scale=alt.Scale(domain=models, range=list(MODEL_COLOURS[: len(models)])),
                legend=_legend(columns=2),
            ),
            tooltip=[
                alt.Tooltip("model:N", title="Model"),
                alt.Tooltip("cost:Q", title="Cost", format="$.4~f"),
                alt.Tooltip("calls:Q", title="Calls"),
                _time_tooltip("time"),
            ],
        )
    )


def latency_bars(bins: Iterable[Answer], marks: Mapping[str, float | None]) -> Chart:
    """How many conversations took how long, on a logarithmic scale, with named durations marked on it."""
    scale = alt.Scale(type="log", nice=False)
    bars = (
        alt.Chart(pd.DataFrame([{**bin, "took": _took(bin)} for bin in bins]))
        .mark_bar(color=BLUE, orient="vertical")
        .encode(
            x=alt.X("from_ms:Q", title=None, scale=scale, axis=_duration_axis()),
            x2="to_ms:Q",
            y=alt.Y("conversations:Q", title=None, axis=alt.Axis(tickMinStep=1, tickCount=5)),
            tooltip=[alt.Tooltip("took:N", title="Took"), alt.Tooltip("conversations:Q", title="Conversations")],
        )
    )
    marked = [{"mark": f"{mark} {figures.milliseconds(ms)}", "ms": ms} for mark, ms in marks.items() if ms is not None]
    if not marked:
        return _finished(bars)
    rules = (
        alt.Chart(pd.DataFrame(marked))
        .mark_rule(strokeWidth=2)
        .encode(
            x=alt.X("ms:Q", scale=scale),
            color=alt.Color(
                "mark:N",
                title=None,
                sort=None,
                scale=alt.Scale(range=[AMBER, RED]),
                legend=_legend(columns=2, symbol="stroke"),
            ),
            tooltip=[alt.Tooltip("mark:N", title="Mark")],
        )
    )
    return _finished(alt.layer(bars, rules))


def in_order(names: Iterable[str], order: Sequence[str] = tuple(SCORE_COLOURS)) -> list[str]:
    """The names that `order` has, in its order, then the others by the alphabet."""
    places = {name: place for place, name in enumerate(order)}
    return sorted(names, key=lambda name: (places.get(name, len(places)), name))


def _costs(points: list[Answer], bucket_seconds: int) -> list[dict[str, Any]]:
    """One row a bucket and model, the models beyond the palette taken together."""
    totals: Counter[str] = Counter()
    for point in points:
        totals[point["group"]] += point["cost_usd"]
    dearest = {model for model, _ in totals.most_common(len(MODEL_COLOURS) - 1)}
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for point in points:
        model = (point["group"] or "(none given)") if point["group"] in dearest else OTHER_MODELS
        start = datetime.fromisoformat(point["bucket"])
        row = rows.setdefault(
            (point["bucket"], model),
            {
                "time": start,
                "end": start + _SHARE * timedelta(seconds=bucket_seconds),
                "model": model,
                "cost": 0.0,
                "calls": 0,
            },
        )
        row["cost"] += point["cost_usd"]
        row["calls"] += point["calls"]
    return list(rows.values())


def _took(bin: Answer) -> str:
    return f"{figures.milliseconds(bin['from_ms'])} to {figures.milliseconds(bin['to_ms'])}"


def _finished(chart: Any) -> Chart:
    return chart.properties(height=HEIGHT, padding={"left": 0, "top": 4, "right": 4, "bottom": 0})


def _legend(columns: int, symbol: str = "circle") -> alt.Legend:
    return alt.Legend(
        orient="bottom",
        columns=columns,
        labelLimit=150,
        padding=0,
        offset=10,
        rowPadding=2,
        symbolType=symbol,
        symbolSize=90,
        symbolOpacity=1,
    )


def _time_axis(field: str) -> alt.X:
    return alt.X(
        f"{field}:T",
        title=None,
        axis=alt.Axis(format=_TIME_FORMATS, tickCount=6, labelOverlap=True, grid=False),
    )


def _time_tooltip(field: str) -> alt.Tooltip:
    return alt.Tooltip(f"{field}:T", title="From", format="%d %b %H:%M:%S")


def _duration_axis() -> alt.Axis:
    marks = [digit * 10**power for power in range(7) for digit in (1, 3)]
    return alt.Axis(values=marks, labelExpr=DURATION_LABEL, labelOverlap=True, grid=False)
