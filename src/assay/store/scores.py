"""Writes and reads of the `scores` table."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from assay.records import Score
from assay.store.connect import Row, Store
from assay.store.rows import arrow_schema, arrow_table, stamped
from assay.store.spans import Within, started_within

SCORE_SCHEMA = arrow_schema(Score)

SHOWN_FIRST = "(source = 'scorer', source, version)"
"""Of several verdicts with one name on one call the largest by this is shown: a scorer's own, else the newest."""


def insert_scores(store: Store, scores: Sequence[Score]) -> None:
    """Store scores; an earlier verdict of the same scorer or author on the same call is replaced."""
    if scores:
        store.insert("scores", stamped(arrow_table(scores, SCORE_SCHEMA), time.time_ns() // 1000))


def scores_of(store: Store, span_ids: Iterable[str], within: Within | None = None) -> dict[tuple[str, str], list[Row]]:
    """All scores of these calls by project and span id, each call's in the order of their names."""
    condition, parameters = started_within(within)
    rows = store.query(
        f"""
        SELECT project, target, name, value, label, comment, scorer, scorer_version, source, author, confidence
        FROM scores FINAL
        WHERE target IN {{ids:Array(String)}} AND {condition}
        ORDER BY target, name, {SHOWN_FIRST}
        """,
        {"ids": list(span_ids), **parameters},
    )
    by_call: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        by_call.setdefault((row.pop("project"), row.pop("target")), []).append(row)
    return by_call


def values_by_name(scores: Iterable[Row]) -> dict[str, Any]:
    """{name: value} of one call's scores in the order of `scores_of`: of several with one name the last is shown."""
    return {score["name"]: score["value"] for score in scores}
