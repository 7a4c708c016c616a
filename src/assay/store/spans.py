"""Reads of the `spans` table that more than one part needs: calls as the API tells them, and what is new."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from assay.store.connect import Row, Store

INPUT_TOKENS = "ifNull(input_tokens, estimated_input_tokens)"
OUTPUT_TOKENS = "ifNull(output_tokens, estimated_output_tokens)"
"""Tokens as reported, else as estimated from the texts; NULL where neither is known."""

TOTAL_TOKENS = f"""
    if({INPUT_TOKENS} IS NULL AND {OUTPUT_TOKENS} IS NULL, NULL,
        ifNull({INPUT_TOKENS}, 0) + ifNull({OUTPUT_TOKENS}, 0))"""
"""All tokens of a call, NULL where none are known."""

MESSAGES = """
    if(spans.messages_in = '' AND prompt != '' AND kind = 'llm', concat('[',
        if(system = '', '', concat(
            '{"role":"system","parts":[{"type":"text","content":', toJSONString(system), '}]},')),
        '{"role":"user","parts":[{"type":"text","content":', toJSONString(prompt), '}]}]'
    ), spans.messages_in) AS messages_in,
    if(spans.messages_out = '' AND response != '' AND kind = 'llm', concat(
        '[{"role":"assistant","parts":[{"type":"text","content":', toJSONString(response), '}]}]'
    ), spans.messages_out) AS messages_out"""
"""The message lists, rebuilt from the texts where those say all (ingest/dialects/messages.py leaves them out)."""

CALL_COLUMNS = f"""
    span_id, trace_id, parent_span_id, started_at, project, environment, service, session_id, user_id, kind, name,
    operation, provider, model, request_model, response_id,
    system, prompt, response, {MESSAGES}, tool_definitions, tool_calls, documents,
    input_tokens, output_tokens, estimated_input_tokens, estimated_output_tokens,
    {TOTAL_TOKENS} AS total_tokens,
    cache_read_tokens, cache_write_tokens, reasoning_tokens, tokens_estimated, input_cost_usd, output_cost_usd,
    cost_usd, latency_ms, time_to_first_token_ms, stream, temperature, top_p, max_tokens, status, error_type,
    error_message, finish_reason, counted, duplicate_of, attributes"""
"""A call as the API and the exports tell it."""


Starts = Collection[int]
"""The starts (Unix microseconds) of the spans that are looked for: the rest of the store is not read."""


def spans_with_ids(
    store: Store, span_ids: Iterable[str], starts: Starts | None = None, columns: str = CALL_COLUMNS
) -> list[Row]:
    """The spans with these ids, in no order. Few columns take half of the time of all."""
    condition, parameters = started_at_one_of(starts)
    # FINAL would read all rows beside them; of a re-sent span the newest version is taken here. Left to itself the
    # engine tests one condition after the other: a quarter more time.
    return store.query(
        f"SELECT {columns} FROM spans PREWHERE span_id IN {{ids:Array(String)}} AND {condition}"
        " ORDER BY version DESC LIMIT 1 BY project, span_id",
        {"ids": list(span_ids), **parameters},
    )


def spans_of_trace(store: Store, trace_id: str) -> list[Row]:
    """All spans of a trace in the order of their starts."""
    rows = store.query(
        f"SELECT {CALL_COLUMNS} FROM spans WHERE trace_id = {{id:String}}"
        " ORDER BY version DESC LIMIT 1 BY project, span_id",
        {"id": trace_id},
    )
    return sorted(rows, key=lambda row: (row["started_at"], row["span_id"]))


def started_at_one_of(starts: Starts | None) -> tuple[str, dict[str, list[int]]]:
    """Condition and parameters that keep rows whose `started_at` is one of these, or all."""
    if starts is None:
        return "1", {}
    # A subquery makes a set of the column's type, by which the sorting key leaves out what lies between.
    known = "started_at IN (SELECT fromUnixTimestamp64Micro(arrayJoin({starts:Array(Int64)})))"
    return known, {"starts": sorted(set(starts))}


def span_id_of_response(store: Store, response_id: str) -> str | None:
    """The span of the call that a provider answered with this response id, or None."""
    rows = store.query(
        "SELECT span_id FROM spans FINAL WHERE response_id = {id:String} ORDER BY counted DESC, started_at LIMIT 1",
        {"id": response_id},
    )
    return str(rows[0]["span_id"]) if rows else None


_SCORED_COLUMNS = """
    span_id, project, session_id, started_at, toUnixTimestamp64Micro(ingested_at) AS ingested, trace_id,
    model, system, prompt, response, messages_in, documents, finish_reason, status"""

_SCORED = "kind = 'llm' AND counted AND status = 'ok'"
"""A call that failed has no answer to judge."""

Share = tuple[int, int]
"""(index from 0, of how many): one of the equal parts that calls fall into by a hash of their span id."""

WHOLE: Share = (0, 1)


def calls_after(
    store: Store, cursor: tuple[int, str], until: int, limit: int, share: Share = WHOLE
) -> list[dict[str, Any]]:
    """Calls with an answer to score, ingested after a cursor (Unix microseconds, span id), oldest first.

    Reads up to and including `until`, the newest commit that is known to be whole.
    """
    return store.query(
        f"""
        SELECT {_SCORED_COLUMNS}
        FROM spans FINAL
        WHERE {_SCORED}
            AND ingested_at >= fromUnixTimestamp64Micro({{after:Int64}})
            AND ingested_at <= fromUnixTimestamp64Micro({{until:Int64}})
            AND (ingested_at, span_id) > (fromUnixTimestamp64Micro({{after:Int64}}), {{span_id:String}})
            AND cityHash64(span_id) % {{of:UInt32}} = {{index:UInt32}}
        ORDER BY ingested_at, span_id
        LIMIT {{limit:UInt32}}
        """,
        {"after": cursor[0], "span_id": cursor[1], "until": until, "limit": limit, "index": share[0], "of": share[1]},
    )


def calls_started_after(
    store: Store, cursor: tuple[int, str], until: int, limit: int, project: str = ""
) -> list[dict[str, Any]]:
    """Calls with an answer to score that started after a cursor (Unix microseconds, span id) and before `until`."""
    return store.query(
        f"""
        SELECT {_SCORED_COLUMNS}, toUnixTimestamp64Micro(started_at) AS started
        FROM spans FINAL WHERE {_STARTED_AFTER}
        ORDER BY started_at, span_id
        LIMIT {{limit:UInt32}}
        """,
        {"after": cursor[0], "span_id": cursor[1], "until": until, "limit": limit, "project": project},
    )


def count_started_after(store: Store, cursor: tuple[int, str], until: int, project: str = "") -> int:
    """How many calls `calls_started_after` finds in all."""
    [row] = store.query(
        f"SELECT count() AS calls FROM spans FINAL WHERE {_STARTED_AFTER}",
        {"after": cursor[0], "span_id": cursor[1], "until": until, "project": project},
    )
    return int(row["calls"])


_STARTED_AFTER = f"""
    {_SCORED} AND ({{project:String}} = '' OR project = {{project:String}})
    AND started_at >= fromUnixTimestamp64Micro({{after:Int64}})
    AND started_at < fromUnixTimestamp64Micro({{until:Int64}})
    AND (started_at, span_id) > (fromUnixTimestamp64Micro({{after:Int64}}), {{span_id:String}})"""


def calls_with_ids(store: Store, span_ids: Iterable[str], starts: Starts) -> list[dict[str, Any]]:
    """Calls with an answer to score with these ids, as `calls_after` gives them."""
    condition, parameters = started_at_one_of(starts)
    return store.query(
        f"SELECT {_SCORED_COLUMNS} FROM spans FINAL"
        f" WHERE {_SCORED} AND span_id IN {{ids:Array(String)}} AND {condition}",
        {"ids": list(span_ids), **parameters},
    )
