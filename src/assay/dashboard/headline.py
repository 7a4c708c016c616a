"""The overview's headline: five figures, how each changed against the period before, and how it moved since."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, NamedTuple

import streamlit as st

from assay.dashboard import figures
from assay.dashboard.data import Answer
from assay.dashboard.inert import inert
from assay.dashboard.overview_data import Overview, mean_score
from assay.dashboard.panels import metric

FEWEST_CALLS = 20
"""In either period: a change of fewer says nothing."""

_LEAST_SHARE = 0.005
"""Less is no change that a reader would act on."""

Colour = Literal["red", "orange", "green", "gray"]


class Figure(NamedTuple):
    """A headline figure: its value, what qualifies it, the metric of its change, and its course over time."""

    label: str
    value: str
    qualifier: str
    alarming: bool
    metric: str
    course: list[float]
    meaning: str


def headline(overview: Overview, first_at: str) -> None:
    """Draw the figures. `first_at` is when the store's first call began: no total is compared with a time before."""
    with st.grid(5, gap="small", min_column_width=150):
        for figure in _figures(overview):
            told, colour = change(overview.changes.get(figure.metric), overview.compared["before"], first_at)
            metric(
                figure.label,
                figure.value,
                told or figure.qualifier,
                colour if told else ("orange" if figure.alarming else "gray"),
                figure.meaning + (f" {inert(overview.changes[figure.metric]['sentence'])}." if told else ""),
                course=figure.course,
                more=figure.qualifier if told else "",
            )


def change(compared: Answer | None, before: Answer, first_at: str) -> tuple[str, Colour]:
    """How a figure changed, in a few words, with its colour; "" where that cannot be told.

    An average is said to have changed where the 95% interval of the difference leaves zero out. A total is compared
    where the store has calls of all of the time before.
    """
    if compared is None or min(compared["n_before"], compared["n_after"]) < FEWEST_CALLS or not compared["before"]:
        return "", "gray"
    share = compared["difference"] / compared["before"]
    told = f"{'+' if share > 0 else '−'}{abs(share):.0%}"
    if compared["better"] is None:
        known = bool(first_at) and datetime.fromisoformat(first_at) <= datetime.fromisoformat(before["since"])
        return (told if known and abs(share) >= _LEAST_SHARE else ""), "gray"
    if compared["verdict"] not in ("better", "worse") or abs(share) < _LEAST_SHARE:
        return ("no clear change" if compared["verdict"] == "same" else ""), "gray"
    return told, "green" if compared["verdict"] == "better" else "red"


def _figures(overview: Overview) -> list[Figure]:
    usage, points = overview.usage, overview.points
    relevance, scored = mean_score(points, "relevance")
    return [
        Figure(
            "Total conversations",
            figures.count(usage["total_conversations"]),
            f"{figures.count(usage['total_tokens'])} tokens",
            alarming=False,
            metric="conversations",
            course=_counted(overview, "conversations"),
            meaning="Calls to a language model, each counted once; embeddings are not among them.",
        ),
        Figure(
            "Total cost",
            figures.dollars(_known_cost(usage)),
            f"{figures.count(usage['unpriced'])} unpriced" if usage["unpriced"] else "all calls priced",
            alarming=bool(usage["unpriced"]),
            metric="total_cost_usd",
            course=_counted(overview, "cost_usd"),
            meaning="US dollars, of the calls whose model has a known price. Unpriced calls are not in it.",
        ),
        Figure(
            "Average latency",
            figures.milliseconds(usage["avg_latency_ms"]),
            f"p95 {figures.milliseconds(usage['p95_latency_ms'])}",
            alarming=False,
            metric="latency_ms",
            course=_known([point["avg_latency_ms"] for point in points]),
            meaning="From the request to the end of the answer; 95 of 100 conversations took no longer than p95.",
        ),
        Figure(
            "Average relevance",
            figures.score(relevance),
            f"{figures.count(scored)} scored" if scored else "none scored yet",
            alarming=False,
            metric="relevance",
            course=_known([point["scores"].get("relevance") for point in points]),
            meaning="How much the answers are about what was asked: 0 not at all, 1 fully.",
        ),
        Figure(
            "Error rate",
            figures.percent(usage["error_rate"] or 0),
            _errors(usage["errors"]),
            alarming=bool(usage["errors"]),
            metric="error_rate",
            course=[point["errors"] / point["calls"] for point in points],
            meaning="Calls that failed, of all calls.",
        ),
    ]


def _counted(overview: Overview, name: str) -> list[float]:
    """A sum in every bucket from the first to the last: without calls it is 0."""
    if not overview.bucket_seconds or not overview.points:
        return [point[name] for point in overview.points]
    starts = [datetime.fromisoformat(point["bucket"]).timestamp() for point in overview.points]
    course = [0.0] * (round((starts[-1] - starts[0]) / overview.bucket_seconds) + 1)
    for start, point in zip(starts, overview.points, strict=True):
        course[round((start - starts[0]) / overview.bucket_seconds)] += point[name]
    return course


def _known(values: list[Any]) -> list[float]:
    return [value for value in values if value is not None]


def _errors(errors: int) -> str:
    return "no errors" if not errors else f"{figures.count(errors)} {'error' if errors == 1 else 'errors'}"


def _known_cost(usage: Answer) -> float | None:
    total, unpriced = usage["total_cost_usd"], usage["unpriced"]
    nothing_priced = not total and unpriced and unpriced >= usage["total_calls"] - usage["errors"]
    return None if nothing_priced else total
