"""What the judge has said already, by a hash of what it was asked; and what it has spent."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import msgspec

from assay.store.connect import Store
from assay.store.rows import arrow_schema, arrow_table, stamped


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict on one content; `span_id` is the judge's call that gave it."""

    content: str
    value: float | None
    label: str = ""
    reason: str = ""
    confidence: float | None = None
    span_id: str = ""


_SCHEMA = arrow_schema(Judgement)


def insert_judgements(store: Store, judgements: Sequence[Judgement]) -> None:
    """Keep verdicts; a later one on the same content replaces the earlier. Raises StoreUnavailable."""
    if judgements:
        store.insert("judgements", stamped(arrow_table(judgements, _SCHEMA), time.time_ns() // 1000))


def judgements_of(store: Store, contents: Iterable[str]) -> dict[str, Judgement]:
    """The verdicts on those of these contents that have one."""
    wanted = list(contents)
    if not wanted:
        return {}
    rows = store.query(
        f"SELECT {', '.join(_SCHEMA.names)} FROM judgements FINAL WHERE content IN {{contents:Array(String)}}",
        {"contents": wanted},
    )
    return {row["content"]: Judgement(**row) for row in rows}


def spent_by_judge(store: Store, since: int, until: int) -> float:
    """US dollars of the judge's calls that began in [since, until) (Unix microseconds), reserved ones included."""
    [row] = store.query(
        """
        SELECT sum(ifNull(cost_usd, 0)) AS spent FROM spans FINAL
        WHERE kind = 'judge' AND started_at >= fromUnixTimestamp64Micro({since:Int64})
            AND started_at < fromUnixTimestamp64Micro({until:Int64})
        """,
        {"since": since, "until": until},
    )
    return float(row["spent"])
