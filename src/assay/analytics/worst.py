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
    newest call goes first; a value that could not be better (1, or 0 where less is better) is nobody's worst.
    """
    wanted = list(sources)
    rows = _verdicts(store, selection, sources, each)
    if not rows:
        return []
    starts = [int(row["started"]) for row in rows]
    spans = spans_with_ids(store, [row["target"] for row in rows], starts)
    calls = {(span["project"], span["span_id"]): span for span in spans}
    found = [(row, calls[key]) for row in rows if (key := (row["project"], row["target"])) in calls]
    found.sort(key=lambda one: (wanted.index(one[0]["name"]), one[0]["goodness"]))
    return [
        Worst(
            score=row["name"],
            value=row["value"],
            reason=row["comment"],
            **{name: span[name] for name in ("span_id", "project", "model", "started_at", "prompt", "response")},
        )
        for row, span in found
    ]


def _verdicts(store: Store, selection: Selection, sources: Mapping[str, str], each: int) -> list[Row]:
    """The worst verdicts of each score: sought by value and start alone, and read whole by those starts."""
    where, parameters = selection.of_scores()
    told = f"""
        FROM scores FINAL
        WHERE {where} AND name IN {{names:Array(String)}} AND value IS NOT NULL
            AND source = arrayElement({{sources:Array(String)}}, indexOf({{names:Array(String)}}, name))
            AND value != if(has({{lower:Array(String)}}, name), 0, 1)
        """
    goodness = "if(has({lower:Array(String)}, name), -value, value)"
    parameters |= {
        "names": list(sources),
        "sources": list(sources.values()),
        "lower": sorted(LOWER_IS_BETTER),
        "each": each,
    }
    places = store.query(
        f"""
        SELECT groupArraySorted({each})(({goodness}, -toUnixTimestamp64Micro(started_at))) AS worst
        {told} GROUP BY name
        """,
        parameters,
    )
    condition, starts = started_at_one_of([-negative for place in places for _, negative in place["worst"]])
    return store.query(
        f"""
        SELECT name, value, target, project, comment, toUnixTimestamp64Micro(started_at) AS started,
            {goodness} AS goodness
        {told} AND {condition}
        ORDER BY name, goodness, started DESC, target LIMIT {{each:UInt32}} BY name
        """,
        parameters | starts,
    )
