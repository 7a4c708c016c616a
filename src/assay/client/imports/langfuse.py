"""Langfuse: observations and traces as its interface, its API and its blob storage export them.

Written against Langfuse 3: fields in camelCase from the interface and the API, in snake_case from blob storage. A trace
has its observations and scores within it; a page of the API has them in `data`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC
from typing import Any

from assay.client.imports.telling import (
    Context,
    Line,
    Refused,
    given,
    hexadecimal,
    real,
    structured,
    text_of,
    told_span,
    unix_ns,
)

NAME = "langfuse"
SOURCES = {"ANNOTATION": "human", "EVAL": "judge"}
_CAPITAL = re.compile("(?<=[a-z0-9])([A-Z])")

Fields = dict[str, Any]


def recognises(names: set[str]) -> bool:
    """Whether a record with these fields is of Langfuse."""
    known = {_snake(name) for name in names}
    page = {"data", "meta"} <= known
    return page or {"trace_id", "type", "start_time"} <= known or ({"observations", "timestamp"} <= known)


def lines(record: Fields, context: Context) -> Iterator[Line]:
    """The spans of an observation, of a trace with its observations, or of a page. Raises Refused."""
    context = context._replace(zone=UTC)
    data = structured(record.get("data"))
    if isinstance(data, list):
        for item in data:
            yield from lines(item, context) if isinstance(item, dict) else ()
        return
    fields = _fields(record)
    observations = structured(fields.get("observations"))
    if observations is None:
        yield _observation(fields, {}, _flat_scores(fields), context)
        return
    if not isinstance(observations, list) or not all(isinstance(one, dict) for one in observations):
        raise Refused("the trace names its observations but does not hold them: export the observations")
    yield from _trace(fields, [_fields(one) for one in observations], context)


def _trace(trace: Fields, observations: list[Fields], context: Context) -> Iterator[Line]:
    """A score of the whole trace goes to its last generation, else its last observation."""
    if not observations:
        raise Refused("the trace has no observations")
    scores = [_fields(score) for score in structured(trace.get("scores")) or () if isinstance(score, dict)]
    generations = [one for one in observations if one.get("type") == "GENERATION"] or observations
    last = max(generations, key=lambda one: str(one.get("start_time")))
    for one in observations:
        own = [s for s in scores if (s.get("observation_id") or last.get("id")) == one.get("id")]
        yield _observation(one, trace, map(_score, own), context)


def _observation(one: Fields, trace: Fields, scores: Iterable[Fields | None], context: Context) -> Line:
    span_id, trace_id = one.get("id"), one.get("trace_id") or trace.get("id")
    start = unix_ns(one.get("start_time"), context.zone, "startTime")
    if not (span_id and trace_id) or start is None:
        raise Refused("id, traceId or startTime is missing")
    parent = one.get("parent_observation_id")
    line = told_span(
        context,
        scope="assay.import.langfuse",
        trace_id=hexadecimal(str(trace_id), 32),
        span_id=hexadecimal(str(span_id), 16),
        parent_span_id=hexadecimal(str(parent), 16) if parent else "",
        name=str(one.get("name") or ""),
        start_ns=start,
        end_ns=unix_ns(one.get("end_time"), context.zone, "endTime"),
        failed=one.get("level") == "ERROR",
        status_message=str(one.get("status_message") or ""),
        attributes=_attributes(one, trace),
        resource={"deployment.environment.name": one.get("environment") or trace.get("environment")},
    )
    at = start // 1000
    return line | {"scores": [{"judged_at": at} | score for score in scores if score]}


def _attributes(one: Fields, trace: Fields) -> Fields:
    costs: Any = structured(one.get("cost_details")) or {}
    total = real(one.get("total_cost")) or real(one.get("calculated_total_cost"))
    metadata = structured(one.get("metadata"))
    found = {
        "langfuse.observation.type": str(one.get("type") or "SPAN").lower(),
        "langfuse.observation.model.name": one.get("model") or one.get("provided_model_name"),
        "langfuse.observation.input": one.get("input"),
        "langfuse.observation.output": one.get("output"),
        "langfuse.observation.model.parameters": one.get("model_parameters"),
        "langfuse.observation.usage_details": one.get("usage_details") or _usage(one),
        "langfuse.observation.cost_details": costs if "total" in costs or not total else {**costs, "total": total},
        "langfuse.observation.completion_start_time": one.get("completion_start_time"),
        "langfuse.observation.prompt.name": one.get("prompt_name"),
        "langfuse.observation.prompt.version": one.get("prompt_version"),
        "langfuse.observation.level": one.get("level"),
        "langfuse.trace.name": one.get("trace_name") or trace.get("name"),
        "langfuse.observation.id": one.get("id"),
        "session.id": one.get("session_id") or trace.get("session_id"),
        "user.id": one.get("user_id") or trace.get("user_id"),
    }
    if isinstance(metadata, dict):
        found |= {f"langfuse.observation.metadata.{name}": value for name, value in metadata.items()}
    return {name: text_of(value) for name, value in given(found).items() if value not in ({}, [])}


def _usage(one: Fields) -> Fields | None:
    """The older shape: usage {input, output, total}, or promptTokens and completionTokens."""
    usage: Any = structured(one.get("usage")) or {}
    told = {
        "input": usage.get("input", one.get("prompt_tokens")) if isinstance(usage, Mapping) else None,
        "output": usage.get("output", one.get("completion_tokens")) if isinstance(usage, Mapping) else None,
    }
    return given({name: count for name, count in told.items() if count}) or None


def _score(score: Fields) -> Fields | None:
    value = real(score.get("value"))
    label = str(score.get("string_value") or ("" if value is not None else score.get("value") or ""))
    source = SOURCES.get(str(score.get("source")), "scorer")
    at = unix_ns(score.get("timestamp"), UTC, "scores.timestamp")
    found = {
        "name": _score_name(str(score.get("name") or "")),
        "value": value,
        "label": label[:200],
        "comment": str(score.get("comment") or "")[:10_000],
        "source": source,
        "scorer": "" if source == "human" else NAME,
        "author": str(score.get("author_user_id") or "") if source == "human" else "",
    }
    return found | ({"judged_at": at // 1000} if at is not None else {})


_NO_SCORES = {"trace_tags", "tags", "comments", "tool_calls", "tool_call_names"}


def _flat_scores(fields: Fields) -> Iterator[Fields | None]:
    """Scores of the interface's export: columns of their own, each with a list of numbers."""
    for name, values in fields.items():
        numbers = values if isinstance(values, list) and name not in _NO_SCORES else []
        if numbers and all(isinstance(value, int | float) for value in numbers):
            mean = sum(numbers) / len(numbers)
            yield {"name": _score_name(name), "value": mean, "source": "scorer", "scorer": NAME}


def _score_name(name: str) -> str:
    """As close as the names of scores allow: a letter, then at most 63 letters, digits, _ . or -."""
    kept = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:64]
    return kept if kept[:1].isalpha() else f"score_{kept}"[:64]


def _fields(record: Mapping[str, Any]) -> Fields:
    return {_snake(name): value for name, value in record.items()}


def _snake(name: str) -> str:
    return _CAPITAL.sub(r"_\1", name).lower() if name.isidentifier() else name
