"""The lab's own records: its SQLite file (conversations, quality_metrics) and the CSV that its report writes.

Its times are those of the machine that ran it, without a zone. A token count of 0 is its word for not known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from assay.client.imports.telling import Context, Line, Refused, given, made_id, real, told_span, unix_ns, whole

NAME = "lab"
COLUMNS = {"timestamp", "prompt", "response", "model_name"}
SCORES = {
    "relevance_score": "relevance",
    "coherence_score": "coherence",
    "toxicity_score": "toxicity",
    "factual_accuracy": "factual_accuracy",
    "quality_score": "quality",
}


def lines(record: dict[str, Any], context: Context) -> Iterator[Line]:
    """The one call of a conversation, with its scores. Raises Refused."""
    if str(record.get("timestamp")).endswith("Z"):
        record = _armed(record)
    start = unix_ns(record.get("timestamp"), context.zone, "timestamp")
    if start is None:
        raise Refused("timestamp is missing")
    metrics: dict[str, Any] = record.get("quality_metrics") or {}
    identity = [record.get(name) for name in ("id", "session_id", "timestamp", "prompt", "response")]
    line = told_span(
        context,
        scope="assay.import.lab",
        trace_id=made_id(32, NAME, *identity),
        span_id=made_id(16, NAME, *identity),
        name="chat",
        start_ns=start,
        end_ns=start + round((real(record.get("latency_ms")) or 0) * 1e6),
        attributes=_attributes(record)
        | given({"lab.conversation_id": record.get("id"), "lab.quality_metrics_id": metrics.get("id")}),
    )
    found = {score: real((metrics | record).get(column)) for column, score in SCORES.items()}
    yield line | {
        "scores": [
            {"name": name, "value": value, "source": "scorer", "scorer": NAME}
            for name, value in found.items()
            if value is not None
        ]
    }


def _armed(record: dict[str, Any]) -> dict[str, Any]:
    """A row that `assay export --columns lab` wrote (the lab's own times have no Z), without CSV's apostrophes."""
    return {name: value.removeprefix("'") if isinstance(value, str) else value for name, value in record.items()}


def _attributes(record: dict[str, Any]) -> dict[str, Any]:
    prompt, response = str(record.get("prompt") or ""), str(record.get("response") or "")
    model = record.get("model_name")
    cost = real(record.get("cost_usd"))
    return given(
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": None if model == "unknown" else model,
            "gen_ai.request.temperature": real(record.get("temperature")),
            "gen_ai.usage.input_tokens": whole(record.get("input_tokens")) or None,
            "gen_ai.usage.output_tokens": whole(record.get("output_tokens")) or None,
            "gen_ai.input.messages": _message("user", prompt),
            "gen_ai.output.messages": _message("assistant", response),
            "session.id": record.get("session_id"),
            "assay.reported_cost_usd": f"{cost:.12g}" if cost else None,
        }
    )


def _message(role: str, text: str) -> str | None:
    if not text:
        return None
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}], ensure_ascii=False)
