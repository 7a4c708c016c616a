"""Phoenix: the data frame of `get_spans_dataframe()` as JSON Lines, CSV or Parquet, and spans of its REST API.

Written against arize-phoenix 11 and arize-phoenix-client 1.28: `context.span_id`, `parent_id`, `start_time`, and
attributes by their OpenInference names, after `attributes.` in the frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from assay.client.imports.telling import (
    Context,
    Line,
    Refused,
    given,
    hexadecimal,
    structured,
    text_of,
    told_span,
    unix_ns,
)

NAME = "phoenix"
PREFIX = "attributes."
KIND = "openinference.span.kind"
AS_TEXT = ("metadata", "llm.invocation_parameters", "input.value", "output.value")
"""Attributes whose value is a JSON text in OpenInference, whatever a frame made of it."""


def recognises(names: set[str]) -> bool:
    """Whether a record with these fields is a span of Phoenix."""
    return bool({"context.span_id", "context"} & names) and {"span_kind", "start_time"} <= names


def lines(record: dict[str, Any], context: Context) -> Iterator[Line]:
    """The one span of a record. Raises Refused."""
    ids = structured(record.get("context")) or {}
    span_id, trace_id = (record.get(f"context.{name}") or ids.get(name) for name in ("span_id", "trace_id"))
    if not (span_id and trace_id):
        raise Refused("context.span_id or context.trace_id is missing: write the frame with its index")
    start = unix_ns(record.get("start_time"), context.zone, "start_time")
    if start is None:
        raise Refused("start_time is missing")
    parent = record.get("parent_id")
    yield told_span(
        context,
        scope="assay.import.phoenix",
        trace_id=hexadecimal(str(trace_id), 32),
        span_id=hexadecimal(str(span_id), 16),
        parent_span_id=hexadecimal(str(parent), 16) if parent and parent == parent else "",
        name=str(record.get("name") or ""),
        start_ns=start,
        end_ns=unix_ns(record.get("end_time"), context.zone, "end_time"),
        failed=record.get("status_code") == "ERROR",
        status_message=str(record.get("status_message") or ""),
        attributes=_attributes(record),
        events=list(_events(structured(record.get("events")), context)),
    )


def _attributes(record: dict[str, Any]) -> dict[str, Any]:
    own: Any = structured(record.get("attributes"))
    told = dict(own) if isinstance(own, dict) else {}
    told |= {name.removeprefix(PREFIX): value for name, value in record.items() if name.startswith(PREFIX)}
    flat: dict[str, Any] = {}
    for name, value in told.items():
        if name in AS_TEXT:
            flat |= given({name: text_of(_pruned(value)) if _pruned(value) not in (None, "") else None})
        else:
            flat |= _flat(name, structured(value))
    flat.setdefault(KIND, str(record.get("span_kind") or ""))
    flat.pop("assay.project", None)
    return flat


def _flat(name: str, value: Any) -> dict[str, Any]:
    """Objects and lists of objects as OpenInference writes them in spans: `llm.input_messages.0.message.role`."""
    if isinstance(value, Mapping):
        return {key: item for inner, one in value.items() for key, item in _flat(f"{name}.{inner}", one).items()}
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        return {key: item for n, one in enumerate(value) for key, item in _flat(f"{name}.{n}", one).items()}
    return given({name: value})


def _pruned(value: Any) -> Any:
    """Without the fields that Parquet gives to every object of a column because one has them."""
    if isinstance(value, Mapping):
        return {key: _pruned(item) for key, item in value.items() if item is not None}
    return [_pruned(item) for item in value] if isinstance(value, list) else value


def _events(events: Any, context: Context) -> Iterator[dict[str, Any]]:
    for event in events if isinstance(events, list) else ():
        if isinstance(event, Mapping):
            at = event.get("timestamp") or event.get("time")
            attributes = _pruned(event.get("attributes") or {})
            flat = {key: item for name, one in attributes.items() for key, item in _flat(name, one).items()}
            yield {
                "name": str(event.get("name") or ""),
                "time_ns": unix_ns(at, context.zone, "events.timestamp") or 0,
                "attributes": flat,
            }
