"""Writes and reads of the `scores` table."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from assay.records import Score, ScoreSource, Span
from assay.store.connect import Row, Store
from assay.store.rows import arrow_schema, arrow_table, stamped
from assay.store.spans import Share, Starts, started_at_one_of

SCORE_SCHEMA = arrow_schema(Score)

SHOWN_FIRST = "(source = 'scorer', source, version)"
"""Of several verdicts with one name on one call the largest by this is shown: a scorer's own, else the newest."""


def insert_scores(store: Store, scores: Sequence[Score]) -> None:
    """Store scores; an earlier verdict of the same scorer or author on the same call is replaced."""
    if scores:
        store.insert("scores", stamped(arrow_table(scores, SCORE_SCHEMA), time.time_ns() // 1000))


def scores_of(store: Store, span_ids: Iterable[str], starts: Starts | None = None) -> dict[tuple[str, str], list[Row]]:
    """All scores of these calls by project and span id, each call's in the order of their names."""
    condition, parameters = started_at_one_of(starts)
    rows = store.query(
        f"""
        SELECT project, target, name, value, label, comment, scorer, scorer_version, source, author, confidence
        FROM scores FINAL
        WHERE counted AND target IN {{ids:Array(String)}} AND {condition}
        ORDER BY target, name, {SHOWN_FIRST}
        """,
        {"ids": list(span_ids), **parameters},
    )
    by_call: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        by_call.setdefault((row.pop("project"), row.pop("target")), []).append(row)
    return by_call


def failed_targets(
    store: Store, source: ScoreSource, names: Iterable[str], label: str, before: int, limit: int, share: Share
) -> list[Row]:
    """Calls of which one of these verdicts has this label, judged last before then (Unix microseconds).

    Each with `target`, `started` (Unix microseconds) and the `names` of those scores. Of the last hour before `before`
    only: what was not to be had for so long is given up.
    """
    return store.query(
        """
        SELECT target, toUnixTimestamp64Micro(min(started_at)) AS started, groupUniqArray(name) AS names
        FROM scores FINAL
        WHERE counted AND source = {source:String} AND label = {label:String} AND name IN {names:Array(String)}
            AND ingested_at < fromUnixTimestamp64Micro({before:Int64})
            AND ingested_at > fromUnixTimestamp64Micro({before:Int64}) - INTERVAL 1 HOUR
            AND cityHash64(target) % {of:UInt32} = {index:UInt32}
        GROUP BY target ORDER BY min(ingested_at), target LIMIT {limit:UInt32}
        """,
        {
            "source": source,
            "names": list(names),
            "label": label,
            "before": before,
            "limit": limit,
            "index": share[0],
            "of": share[1],
        },
    )


def move_scores(store: Store, moved: Mapping[tuple[str, str], Span]) -> None:
    """Let scores of spans that are counted no more go to the span that stands for each, by project and span id.

    People's and outside judges' scores are copied to it; scorers judge it themselves. What was said of the
    former span stays, uncounted.
    """
    if not moved:
        return
    fields = ", ".join(Score.__struct_fields__)
    rows = store.query(
        f"SELECT {fields} FROM scores FINAL WHERE counted AND target IN {{ids:Array(String)}}",
        {"ids": [target for _, target in moved]},
    )
    former = [
        Score(**row | {"started_at": round(row["started_at"].timestamp() * 1e6)})
        for row in rows
        if (row["project"], row["target"]) in moved
    ]
    copies = [of_span(score, moved[score.project, score.target]) for score in former if score.source != "scorer"]
    insert_scores(store, [*copies, *(msgspec.structs.replace(score, counted=False) for score in former)])


def of_span(score: Score, span: Span) -> Score:
    """The score as one of this span."""
    return msgspec.structs.replace(
        score,
        target=span.span_id,
        project=span.project,
        model=span.response_model or span.request_model,
        session_id=span.session_id,
        started_at=span.started_at,
    )


def values_by_name(scores: Iterable[Row]) -> dict[str, Any]:
    """{name: value} of one call's scores in the order of `scores_of`: of several with one name the last is shown."""
    return {score["name"]: score["value"] for score in scores}
