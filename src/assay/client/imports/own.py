"""Assay's own exports with all columns, in any of the three formats: back to rows, exactly."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from assay.client.imports.telling import Context, Line, Refused

NAME = "assay"
COLUMNS = {"span_id", "trace_id", "started_at", "kind", "counted", "as_sent", "verdicts"}
"""By these an export with all columns is known."""

WHOLE = {
    *("max_tokens", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"),
    *("estimated_input_tokens", "estimated_output_tokens"),
}
REAL = {
    *("latency_ms", "time_to_first_token_ms", "temperature", "top_p"),
    *("input_cost_usd", "output_cost_usd", "cost_usd"),
}
TRUTH = {"stream", "tokens_estimated", "counted"}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def lines(record: dict[str, Any], context: Context) -> Iterator[Line]:
    """The span of a row, as it was stored, with its verdicts. Raises Refused."""
    row = dict(record)
    verdicts = [dict(verdict) for verdict in row.pop("verdicts") or ()]
    try:
        row["started_at"] = _micros(row["started_at"])
        row["attributes"] = dict(row["attributes"] or {})
        for verdict in verdicts:
            verdict["judged_at"] = _micros(verdict["judged_at"])
    except (ValueError, TypeError, KeyError) as error:
        raise Refused(f"is no row of an export by Assay: {error}") from None
    if context.project:
        row["project"] = context.project
    yield {"stored": row, "scores": verdicts}


def from_csv(record: Mapping[str, str]) -> dict[str, Any]:
    """The row with the types that CSV does not keep, its texts armed again. Raises Refused."""
    try:
        return {name: _typed(name, text) for name, text in record.items()}
    except ValueError as error:
        raise Refused(f"is no row of an export by Assay: {error}") from None


def _typed(name: str, text: str) -> Any:
    if name in ("attributes", "verdicts"):
        return json.loads(text)
    if name in WHOLE:
        return int(text) if text else None
    if name in REAL:
        return float(text) if text else None
    if name in TRUTH:
        return {"true": True, "false": False, "": None}[text.lower()]
    return text.removeprefix("'")


def _micros(moment: Any) -> int:
    parsed = moment if isinstance(moment, datetime) else datetime.fromisoformat(moment)
    return (parsed - _EPOCH) // timedelta(microseconds=1)
