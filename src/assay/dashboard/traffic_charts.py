"""The overview's charts of traffic: latency over time and as a distribution, volume and errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import altair as alt

from assay.dashboard import figures
from assay.dashboard.axes import finished, legend, time_axis, time_tooltip
from assay.dashboard.charts import DURATION_LABEL, SHARE_OF_BUCKET, Answer
from assay.dashboard.clicks import bucket, clickable
from assay.dashboard.drawing import Chart, chart, marks, specified
from assay.dashboard.gaps import broken
from assay.palette import AMBER, BLUE, RED, TEAL

PERCENTILES = {"p50": TEAL, "p95": AMBER, "p99": RED}

_MEANING = {"p50": "half were faster", "p95": "95% were faster", "p99": "99% were faster"}


def latency_lines(points: Sequence[Answer], bucket_seconds: int | None) -> Chart | None:
    """Percentiles of conversations' latency over time, on a logarithmic scale; None without a conversation."""
    rows = [
        {
            **bucket(point["bucket"], bucket_seconds),
            "percentile": name,
            "ms": max(point[f"{name}_latency_ms"], 1),
            "took": f"{figures.milliseconds(point[f'{name}_latency_ms'])}, {_MEANING[name]}",
            "conversations": point["conversations"],
        }
        for point in points
        for name in PERCENTILES
        if point[f"{name}_latency_ms"] is not None
    ]
    return chart(_latency_lines(), broken(rows, bucket_seconds, "percentile")) if rows else None


@specified
def _latency_lines() -> Any:
    base = marks().encode(
        x=time_axis("time"),
        y=alt.Y("ms:Q", title="Latency", scale=alt.Scale(type="log", nice=False), axis=_duration_axis()),
        color=_percentile_colours(list(PERCENTILES)),
    )
    dots = base.mark_point(size=22, filled=True, opacity=1).encode(
        tooltip=[
            alt.Tooltip("percentile:N", title="Percentile"),
            alt.Tooltip("took:N", title="Latency"),
            alt.Tooltip("conversations:Q", title="Conversations", format=","),
            time_tooltip("time"),
            alt.Tooltip("utc:N", title="UTC"),
        ]
    )
    return finished(alt.layer(base.mark_line(strokeWidth=2), clickable(dots, "since", "until", nearest=True)))


def volume_bars(points: Sequence[Answer], bucket_seconds: int | None) -> Chart | None:
    """Calls over time, those that failed apart; None without a call."""
    rows = [
        {
            **(began := bucket(point["bucket"], bucket_seconds)),
            "end": began["time"] + SHARE_OF_BUCKET * timedelta(seconds=bucket_seconds or 1),
            "outcome": outcome,
            "status": status,
            "calls": calls,
            "share": f"{figures.percent(calls / point['calls'])} of {figures.count(point['calls'])}",
        }
        for point in points
        for outcome, status, calls in (
            ("answered", "ok", point["calls"] - point["errors"]),
            ("failed", "error", point["errors"]),
        )
        if calls
    ]
    return chart(_volume_bars(), rows) if rows else None


@specified
def _volume_bars() -> Any:
    bars = (
        marks()
        .mark_bar(orient="vertical")
        .encode(
            x=time_axis("time"),
            x2="end:T",
            y=alt.Y("calls:Q", title="Calls", stack="zero", axis=_count_axis()),
            color=alt.Color(
                "outcome:N",
                title=None,
                scale=alt.Scale(domain=["answered", "failed"], range=[BLUE, RED]),
                legend=legend(columns=2),
            ),
            order=alt.Order("status:N", sort="ascending"),
            tooltip=[
                alt.Tooltip("outcome:N", title="Calls that"),
                alt.Tooltip("calls:Q", title="Number", format=","),
                alt.Tooltip("share:N", title="Share"),
                time_tooltip("time"),
                alt.Tooltip("utc:N", title="UTC"),
            ],
        )
    )
    return finished(clickable(bars, "since", "until", "status"))


def latency_bars(bins: Iterable[Answer], marked: Mapping[str, float | None]) -> Chart:
    """How many conversations took how long, on a logarithmic scale, with percentiles marked on it."""
    rows = [{**bin, "took": _took(bin), **_bounds(bin)} for bin in bins]
    known = {name: ms for name, ms in marked.items() if ms is not None}
    percentiles = [{"percentile": name, "ms": ms, "took": figures.milliseconds(ms)} for name, ms in known.items()]
    return chart(_latency_bars(tuple(known)), rows, percentiles=percentiles)


@specified
def _latency_bars(percentiles: tuple[str, ...]) -> Any:
    scale = alt.Scale(type="log", nice=False)
    drawn = (
        marks()
        .mark_bar(color=BLUE, orient="vertical")
        .encode(
            x=alt.X("from_ms:Q", title="Latency", scale=scale, axis=_duration_axis()),
            x2="to_ms:Q",
            y=alt.Y("conversations:Q", title="Conversations", axis=_count_axis()),
            tooltip=[
                alt.Tooltip("took:N", title="Took"),
                alt.Tooltip("conversations:Q", title="Conversations", format=","),
            ],
        )
    )
    bars = clickable(drawn, "min_latency_ms", "max_latency_ms")
    if not percentiles:
        return finished(bars)
    rules = (
        marks("percentiles")
        .mark_rule(strokeWidth=2)
        .encode(
            x=alt.X("ms:Q", scale=scale),
            color=_percentile_colours(list(percentiles)),
            tooltip=[alt.Tooltip("percentile:N", title="Percentile"), alt.Tooltip("took:N", title="Latency")],
        )
    )
    return finished(alt.layer(bars, rules))


def _percentile_colours(names: list[str]) -> alt.Color:
    return alt.Color(
        "percentile:N",
        title=None,
        sort=None,
        scale=alt.Scale(domain=names, range=[PERCENTILES[name] for name in names]),
        legend=legend(columns=3),
    )


def _bounds(bin: Answer) -> dict[str, float | None]:
    # The first bin has the calls that took less than a millisecond, too.
    return {"min_latency_ms": bin["from_ms"] if bin["from_ms"] > 1 else None, "max_latency_ms": bin["to_ms"]}


def _took(bin: Answer) -> str:
    return f"{figures.milliseconds(bin['from_ms'])} to {figures.milliseconds(bin['to_ms'])}"


def _count_axis() -> alt.Axis:
    return alt.Axis(tickCount=5, tickMinStep=1, labelExpr="format(datum.value, '~s')")


def _duration_axis() -> alt.Axis:
    marks = [digit * 10**power for power in range(7) for digit in (1, 3)]
    return alt.Axis(values=marks, labelExpr=DURATION_LABEL, labelOverlap=True, grid=False)
