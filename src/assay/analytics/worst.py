"""The conversations that a reader should see first: of each score those it speaks of worst."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from assay.analytics.agreement import LOWER_IS_BETTER
from assay.analytics.selection import Selection
from assay.store.connect import Row, Store
from assay.store.spans import spans_with_ids


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
    where, parameters = selection.of_scores()
    rows = store.query(
        f"""
        SELECT name, value, source, target, project, toUnixTimestamp64Micro(started_at) AS started,
            if(has({{lower:Array(String)}}, name), -value, value) AS goodness
        FROM scores FINAL
        WHERE {where} AND has({{names:Array(String)}}, name) AND value IS NOT NULL
            AND source = arrayElement({{sources:Array(String)}}, indexOf({{names:Array(String)}}, name))
            AND value != if(has({{lower:Array(String)}}, name), 0, 1)
        ORDER BY name, goodness, started DESC, target LIMIT {{each:UInt32}} BY name
        """,
        {
            **parameters,
            "names": wanted,
            "sources": list(sources.values()),
            "lower": sorted(LOWER_IS_BETTER),
            "each": each,
        },
    )
    if not rows:
        return []
    reasons = _reasons(store, selection, rows)
    starts = [int(row["started"]) for row in rows]
    spans = spans_with_ids(store, [row["target"] for row in rows], starts)
    calls = {(span["project"], span["span_id"]): span for span in spans}
    found = [(row, calls[key]) for row in rows if (key := (row["project"], row["target"])) in calls]
    found.sort(key=lambda one: (wanted.index(one[0]["name"]), one[0]["goodness"]))
    return [
        Worst(
            score=row["name"],
            value=row["value"],
            reason=reasons.get((row["project"], row["name"], row["target"]), ""),
            **{name: span[name] for name in ("span_id", "project", "model", "started_at", "prompt", "response")},
        )
        for row, span in found
    ]


def _reasons(store: Store, selection: Selection, rows: list[Row]) -> dict[tuple[str, str, str], str]:
    """The comments by project, score and call: read for those that are shown, since they are the bulk of a verdict."""
    where, parameters = selection.of_scores()
    shown = {"shown": [row["target"] for row in rows], "of": [row["name"] for row in rows]}
    found = store.query(
        f"""
        SELECT project, name, target, source, comment FROM scores FINAL
        WHERE {where} AND target IN {{shown:Array(String)}} AND name IN {{of:Array(String)}}
        """,
        parameters | shown,
    )
    sources = {(row["project"], row["name"], row["target"]): row["source"] for row in rows}
    keyed = (((row["project"], row["name"], row["target"]), row) for row in found)
    return {key: row["comment"] for key, row in keyed if sources.get(key) == row["source"]}
