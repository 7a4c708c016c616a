"""What stands out: users, sessions, prompts, models (any dimension) by cost, calls, tokens, latency or failures."""

from __future__ import annotations

from typing import Any

from assay.analytics.metrics import METRICS, selected
from assay.analytics.selection import DIMENSIONS, Dimension, Selection, dimension
from assay.analytics.sums import Aggregates, ask
from assay.errors import AssayError
from assay.store.connect import Row, Store

MEASURES = {
    "cost": "cost_usd",
    "calls": "calls",
    "tokens": "total_tokens",
    "latency": "p95_latency_ms",
    "failures": "errors",
}
"""By what a ranking is made, and the metric that it goes by."""

PROMPT = Dimension("prompt", "spans.prompt_hash", {})
"""Calls with the same prompt text, by its hash; shown are their texts."""

MAX_LIMIT = 1000

PROMPT_CHARS = 1000
"""So much of a prompt is shown."""

FEW = 0.001
"""Of a smaller share of the calls the starts are looked up first: more lie in most of the blocks that are read."""

_FIGURES = (
    "calls",
    "conversations",
    "errors",
    "error_rate",
    "cost_usd",
    "unpriced",
    "total_tokens",
    "avg_latency_ms",
    "p95_latency_ms",
)

_TOLD = f"{selected(_FIGURES)}, min(spans.started_at) AS first_at, max(spans.started_at) AS last_at"


def top(store: Store, selection: Selection, group_by: str, by: str = "cost", limit: int = 20) -> dict[str, Any]:
    """`top`: the values of a dimension (or "prompts") with the most of a measure, each with its `share` of the total.

    `by` is one of MEASURES: cost, calls, tokens, latency (95% of conversations are faster) or failures. `total` is the
    measure over all selected calls (None of a latency, which adds up to nothing), `calls` their number, `without` how
    many of them have no value of the dimension (they are in the total, not in the ranking), `values` how many
    different ones there are. Values whose measure is not known, or 0, are left out. Raises AssayError.
    """
    own = _dimension(group_by)
    if by not in MEASURES:
        raise AssayError(f"cannot rank by {by!r}: choose one of {', '.join(MEASURES)}")
    if not 1 <= limit <= MAX_LIMIT:
        raise AssayError(f"limit must be between 1 and {MAX_LIMIT}, not {limit}")
    ranked, whole = _ranking(store, selection, own, MEASURES[by], limit)
    groups = [row["group"] for row in ranked]
    are_few = sum(row["calls"] for row in ranked) < whole["calls"] * FEW
    told = _told(store, selection, own, groups, of_their_starts=are_few)
    found = [told[row["group"]] | {"share": row["share"]} for row in ranked if row["group"] in told]
    return {"dimension": own.name, "by": by, "measure": MEASURES[by], **whole, "top": found}


def _dimension(group_by: str) -> Dimension:
    if group_by in ("prompt", "prompts"):
        return PROMPT
    try:
        return dimension(group_by)
    except AssayError:
        known = ", ".join((*DIMENSIONS, "prompt"))
        raise AssayError(f"cannot rank {group_by!r}: choose one of {known}, or tag:KEY") from None


def _ranking(store: Store, selection: Selection, own: Dimension, measure: str, limit: int) -> tuple[list[Row], Row]:
    """The first values with their calls and share, and figures of the whole.

    Reads nothing but the dimension and the measure.
    """
    none = "cityHash64('')" if own is PROMPT else "''"
    rows = ask(
        store,
        selection,
        Aggregates(f"count() AS own, {METRICS[measure]} AS figure", {"group": own.sql}, parameters=own.parameters),
        lambda sums: (
            f"""
            SELECT group, own, figure, group = {none} AS is_none,
                sum(figure) OVER () AS total, sum(own) OVER () AS calls,
                sumIf(own, group = {none}) OVER () AS without, countIf(group != {none}) OVER () AS values
            FROM ({sums}) ORDER BY is_none, figure DESC NULLS LAST, group LIMIT {limit:d}"""
        ),
    )
    whole = {name: rows[0][name] if rows else 0 for name in ("total", "calls", "without", "values")}
    if measure == MEASURES["latency"] or not rows:
        whole["total"] = None
    ranked = [
        {
            "group": row["group"],
            "calls": row["own"],
            "share": row["figure"] / whole["total"] if whole["total"] else None,
        }
        for row in rows
        if row["figure"] and not row["is_none"]
    ]
    return ranked, whole


def _told(
    store: Store, selection: Selection, own: Dimension, groups: list[Any], *, of_their_starts: bool
) -> dict[Any, Row]:
    """All figures of these values; where few calls have them, read are those that started when one of them did."""
    kind = "UInt64" if own is PROMPT else "String"
    chosen = {"groups": groups}
    if of_their_starts:
        some = f"{own.sql} IN {{groups:Array({kind})}}"
        starts, _ = selection.of_starts(some)
        where, parameters = selection.of_calls()
        rows = store.query(
            f"""
            SELECT {own.sql} AS group, {_TOLD} FROM spans FINAL
            PREWHERE {starts} WHERE {where} AND {some} GROUP BY group
            """,
            parameters | own.parameters | chosen,
        )
    else:
        rows = ask(
            store,
            selection,
            Aggregates(_TOLD, {"group": own.sql}, parameters=own.parameters),
            lambda sums: f"SELECT * FROM ({sums}) WHERE group IN {{groups:Array({kind})}}",
            chosen,
        )
    if own is not PROMPT or not rows:
        return {row["group"]: row for row in rows}
    texts = _prompts(store, rows)
    return {row["group"]: row | {"group": texts.get(row["group"], "")} for row in rows}


def _prompts(store: Store, rows: list[Row]) -> dict[int, str]:
    """The beginnings of these prompts by their hashes, from calls that started when the newest of each did.

    So nobody else's text is read.
    """
    starts = sorted({round(row["last_at"].timestamp() * 1e6) for row in rows})
    found = store.query(
        f"""
        SELECT prompt_hash, any(substringUTF8(prompt, 1, {PROMPT_CHARS})) AS text FROM spans
        PREWHERE started_at IN (SELECT fromUnixTimestamp64Micro(arrayJoin({{starts:Array(Int64)}}), 'UTC'))
            AND prompt_hash IN {{hashes:Array(UInt64)}}
        GROUP BY prompt_hash
        """,
        {"starts": starts, "hashes": [row["group"] for row in rows]},
    )
    return {row["prompt_hash"]: row["text"] for row in found}
