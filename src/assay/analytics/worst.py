"""The conversations that a reader should see first: of each score those it speaks of worst."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from assay.analytics.agreement import LOWER_IS_BETTER
from assay.analytics.selection import Selection
from assay.store.connect import Row, Store
from assay.store.spans import spans_with_ids, started_at_one_of


class Worst(msgspec.Struct, frozen=True, kw_only=True):
    """One conversation with the verdict that brings it here, and the reason the scorer gave."""

    score: str
    value: float
    reason: str
    span_id: str
    project: str
    model: str
    started_at: datetime
    prompt: str
    response: str


def worst_calls(store: Store, selection: Selection, sources: Mapping[str, str], *, each: int = 3) -> list[Worst]:
    """The `each` conversations with the worst value of each score, worst first, in the order of `sources`.

    `sources` has the names of the scores and whose verdicts count for each (as `quality` shows). Of equal values the
    newest call goes first. Of a score from 0 to 1, what could not be better is nobody's worst.
    """
    wanted = list(sources)
    rows = _verdicts(store, selection, sources, each)
    if not rows:
        return []
    starts = [int(row["started"]) for row in rows]
    spans = spans_with_ids(store, [row["target"] for row in rows], starts, ", ".join(_OF_CALL))
    calls = {(span["project"], span["span_id"]): span for span in spans}
    found = [(row, calls[key]) for row in rows if (key := (row["project"], row["target"])) in calls]
    found.sort(key=lambda one: (wanted.index(one[0]["name"]), one[0]["goodness"]))
    return [
        Worst(
            score=row["name"],
            value=row["value"],
            reason=row["comment"],
            **{name: span[name] for name in _OF_CALL},
        )
        for row, span in found
    ]


_OF_CALL = ("span_id", "project", "model", "started_at", "prompt", "response")

_GOODNESS = "if(name IN {lower:Array(String)}, 0 - assumeNotNull(value), 0 + assumeNotNull(value))"

_LATEST = 2**62
_PLACE = f"""
    bitShiftLeft(toUInt128(bitXor(
        reinterpretAsUInt64(goodness), if(goodness < 0, {2**64 - 1}, {2**63}))), 64)
    + toUInt64({_LATEST} - toUnixTimestamp64Micro(started_at))"""
"""The goodness, and of equal ones the newest first, as one number: IEEE 754's bits are in the order of what they say.

Numbers are compared in a third of the time of pairs.
"""


def _verdicts(store: Store, selection: Selection, sources: Mapping[str, str], each: int) -> list[Row]:
    """The worst verdicts of each score: sought by value and start alone, and read whole by those starts."""
    where, parameters = selection.of_scores()
    parameters |= {"names": list(sources), "lower": sorted(LOWER_IS_BETTER)}
    places = store.query(
        f"""
        SELECT name, source, groupArraySorted({each})({_PLACE}) AS worst, max(goodness) AS best
        FROM (
            SELECT name, source, started_at, {_GOODNESS} AS goodness
            FROM scores FINAL WHERE {where} AND name IN {{names:Array(String)}} AND value IS NOT NULL
        ) GROUP BY name, source
        """,
        parameters,
    )
    places = [row for row in places if sources.get(row["name"]) == row["source"]]
    best = {row["name"]: row["best"] for row in places}
    condition, starts = started_at_one_of([_LATEST - place % 2**64 for row in places for place in row["worst"]])
    rows = store.query(
        f"""
        SELECT name, value, target, project, comment, toUnixTimestamp64Micro(started_at) AS started,
            {_GOODNESS} AS goodness
        FROM scores FINAL PREWHERE {condition}
        WHERE {where} AND value IS NOT NULL AND (name, source) IN {{sources:Array(Tuple(String, String))}}
        ORDER BY name, goodness, started DESC, target LIMIT {{each:UInt32}} BY name
        """,
        parameters | starts | {"sources": list(sources.items()), "each": each},
    )
    return [row for row in rows if not row["goodness"] == best[row["name"]] == _perfect(row["name"])]


def _perfect(name: str) -> float:
    return 0.0 if name in LOWER_IS_BETTER else 1.0
