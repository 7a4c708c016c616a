"""A trace as a waterfall: what ran when, inside of what, and which spans tell of a call that is counted elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import altair as alt

from assay.dashboard import figures
from assay.dashboard.charts import DURATION_LABEL, Answer
from assay.dashboard.drawing import Chart, chart, marks, specified
from assay.dashboard.inert import excerpt
from assay.palette import AMBER, BLUE, GREY, RED, ROSE, TEAL, VIOLET

MOST_SPANS = 200
_ROW_HEIGHT = 24
_LEAST_WIDTH = 0.004
"""Of the whole chart: so short a span is still to be seen."""
_KIND_COLOURS = {
    "llm": BLUE,
    "embedding": TEAL,
    "tool": AMBER,
    "retriever": VIOLET,
    "agent": ROSE,
    "judge": RED,
}


def waterfall(spans: Sequence[Answer], chosen: str) -> Chart | None:
    """Bars over milliseconds since the trace began, children below their parents; None where there is nothing.

    The chosen span is marked by an outline; duplicates are pale, their tooltip says where the call is counted.
    """
    if not spans:
        return None
    began = min(map(_started, spans))
    shortest = _LEAST_WIDTH * max((_started(span) - began) * 1000 + span["latency_ms"] for span in spans)
    rows = [
        _row(number, depth, span, began, shortest) | {"chosen": span["span_id"] == chosen}
        for number, (depth, span) in enumerate(_nested(spans)[:MOST_SPANS])
    ]
    there = {row["kind"] for row in rows}
    return chart(_waterfall(tuple(kind for kind in (*_KIND_COLOURS, "other") if kind in there), len(rows)), rows)


@specified
def _waterfall(kinds: tuple[str, ...], spans: int) -> Any:
    place = alt.Y("place:O", axis=None)
    bars = (
        marks()
        .mark_bar(height=14, cornerRadius=2, strokeWidth=2)
        .encode(
            x=alt.X("from:Q", title=None, axis=alt.Axis(labelExpr=DURATION_LABEL, tickCount=6)),
            x2="to:Q",
            y=place,
            color=alt.Color(
                "kind:N",
                title=None,
                scale=alt.Scale(domain=list(kinds), range=[_KIND_COLOURS.get(kind, GREY) for kind in kinds]),
                legend=alt.Legend(orient="bottom", columns=6, symbolType="square"),
            ),
            opacity=alt.condition("datum.counted_elsewhere", alt.value(0.35), alt.value(1)),
            stroke=alt.condition("datum.chosen", alt.value(GREY), alt.value(None)),
            tooltip=[
                alt.Tooltip("name:N", title="Span"),
                alt.Tooltip("took:N", title="Took"),
                alt.Tooltip("status:N", title="Status"),
                alt.Tooltip("counted_as:N", title="Counted"),
            ],
        )
    )
    labels = (
        marks()
        .mark_text(align="left", baseline="middle", dx=0, limit=230, fontSize=12)
        .encode(
            y=place, text="label:N", color=alt.condition("datum.status == 'error'", alt.value(RED), alt.value(GREY))
        )
        .properties(width=240)
    )
    height = _ROW_HEIGHT * spans
    return alt.hconcat(labels.properties(height=height), bars.properties(height=height, width=800), spacing=8)


def _nested(spans: Sequence[Answer]) -> list[tuple[int, Answer]]:
    """The spans with their depth, each after its parent, siblings in the order of their starts."""
    known = {span["span_id"] for span in spans}
    children: dict[str, list[Answer]] = {}
    for span in sorted(spans, key=_started):
        parent = span["parent_span_id"] if span["parent_span_id"] in known else ""
        children.setdefault(parent if parent != span["span_id"] else "", []).append(span)
    found, seen = list[tuple[int, Answer]](), set[str]()

    waiting = [(0, span) for span in reversed(children.get("", []))]
    while waiting:
        depth, span = waiting.pop()
        if span["span_id"] not in seen:
            seen.add(span["span_id"])
            found.append((depth, span))
            waiting += [(depth + 1, child) for child in reversed(children.get(span["span_id"], []))]
    # A ring of parents has no beginning: what was not reached follows flat.
    return found + [(0, span) for span in _unreached(spans, seen)]


def _unreached(spans: Iterable[Answer], seen: set[str]) -> list[Answer]:
    return [span for span in spans if span["span_id"] not in seen]


def _row(number: int, depth: int, span: Answer, began: float, shortest: float) -> dict[str, Any]:
    start = (_started(span) - began) * 1000
    duplicate = span["duplicate_of"]
    return {
        "place": number,
        "label": f"{'· ' * min(depth, 8)}{excerpt(span['name'], 40) or '(unnamed)'}",
        "name": excerpt(span["name"], 80),
        "from": start,
        "to": start + max(span["latency_ms"], shortest),
        "kind": span["kind"] if span["kind"] in _KIND_COLOURS else "other",
        "took": figures.milliseconds(span["latency_ms"]),
        "status": span["status"],
        "counted_elsewhere": bool(duplicate),
        "counted_as": f"with span {duplicate}, which tells of the same call" if duplicate else _counted(span),
    }


def _counted(span: Answer) -> str:
    return "once" if span["counted"] else "no: this is no call to a model"


def _started(span: Answer) -> float:
    return datetime.fromisoformat(span["started_at"]).timestamp()
