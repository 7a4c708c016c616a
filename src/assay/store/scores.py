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


def insert_scores(store: Store, scores: Sequence[Score]) -> None:
    """Store scores; an earlier verdict of the same scorer or author on the same call is replaced."""
    if scores:
        store.insert("scores", stamped(arrow_table(scores, SCORE_SCHEMA), time.time_ns() // 1000))


def scores_of(store: Store, span_ids: Iterable[str], within: Within | None = None) -> dict[str, list[Row]]:
    """All scores of these calls by span id, each call's in the order of their names."""
    condition, parameters = started_within(within)
    rows = store.query(
        f"""
        SELECT target, name, value, label, comment, scorer, scorer_version, source, author, confidence
        FROM scores FINAL
        WHERE target IN {{ids:Array(String)}} AND {condition}
        ORDER BY target, name, source, version
        """,
        {"ids": list(span_ids), **parameters},
    )
    by_target: dict[str, list[Row]] = {}
    for row in rows:
        by_target.setdefault(row.pop("target"), []).append(row)
    return by_target


def values_by_name(scores: Iterable[Row]) -> dict[str, Any]:
    """{name: value} of one call's scores; of several with one name a scorer's own verdict is shown."""
    ordered = sorted(scores, key=lambda score: score["source"] == "scorer")
    return {score["name"]: score["value"] for score in ordered}
