"""The two forms in which predictions are sent, JSON and an Arrow stream, as columns of one form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from assay.errors import MalformedTelemetry
from assay.ingest.arrow_columns import (
    ARROW,
    MAX_TEXT,
    Column,
    Refusals,
    Unusable,
    column_of,
    is_text,
    maps,
    members,
    number_maps,
    numbers,
    read_stream,
    readable,
    require_known,
    texts,
    times,
)
from assay.ingest.json_columns import FLAG, JSON, NUMBER, TEXT, TIME, WHOLE, Kind, columns, number, read_json, text

COMMON = ("model", "model_version", "project", "environment", "service", "task", "reference")
"""What may be said once for all rows: beside `rows` in JSON, in the schema's metadata in Arrow."""

KINDS: dict[str, Kind] = {
    "prediction_id": TEXT,
    "key": TEXT,
    "predicted_at": TIME,
    "confidence": NUMBER,
    "latency_ms": NUMBER,
    "cost_usd": NUMBER,
    "input_hash": WHOLE,
    "status": TEXT,
    "error_type": TEXT,
    "error_message": TEXT,
    **dict.fromkeys(COMMON[:-1], TEXT),
    "reference": FLAG,
}
FIELDS = ("features", "prediction", "probabilities", *KINDS)
"""What a row may say."""

EXAMPLE = '{"model": "churn", "rows": [{"features": {"age": 41}, "prediction": "stays"}]}'
_FEATURES_FIX = "features go into one member `features`, by name"


class Sent(NamedTuple):
    """What was sent, a column a field: null where a row does not say it.

    `columns` has those of KINDS; `prediction` is its text, `number` its number where it was sent as one.
    """

    columns: dict[str, Column]
    prediction: Column
    number: Column
    numbers: Column
    categories: Column
    probabilities: Column
    common: dict[str, Any]
    refusals: Refusals


def read_body(body: bytes, content_type: str) -> Sent:
    """What a body says, before it is judged. Raises MalformedTelemetry where none of it can be used."""
    if content_type == ARROW:
        with readable():
            return _from_arrow(read_stream(body))
    if content_type == JSON:
        return _from_json(*read_json(body, "rows", COMMON, EXAMPLE))
    raise MalformedTelemetry(f"Content-Type {content_type!r} is not supported: send {JSON} or {ARROW}", 415)


def _from_arrow(table: pa.Table) -> Sent:
    require_known(table.column_names, FIELDS, _FEATURES_FIX)
    if len(set(table.column_names)) < table.num_columns:
        raise MalformedTelemetry("two columns have one name")
    refusals = Refusals(table.num_rows)
    predicted_at, unread = times(column_of(table, "predicted_at"), "predicted_at")
    refusals.refuse(unread, "predicted_at", "is no time: send timestamps, RFC 3339 texts or Unix seconds")
    given = {name: _typed(column_of(table, name), name, kind) for name, kind in KINDS.items() if kind is not TIME}
    prediction = column_of(table, "prediction")
    named = is_text(prediction.type)
    numeric = pa.nulls(table.num_rows, pa.float64()) if named else numbers(prediction, "prediction")
    numbered, texted = maps(members(table, "features"), table.num_rows)
    return Sent(
        {**given, "predicted_at": predicted_at},
        texts(prediction, "prediction"),
        numeric,
        numbered,
        texted,
        number_maps(members(table, "probabilities"), table.num_rows, "probabilities"),
        _common(table.schema.metadata or {}),
        refusals,
    )


def _typed(column: Column, name: str, kind: Kind) -> Column:
    if kind is TEXT:
        return texts(column, name)
    if kind is NUMBER:
        return numbers(column, name)
    try:
        return column.cast(kind[1])
    except pa.ArrowException as error:
        raise MalformedTelemetry(f"{name} is {column.type}: {error}") from None


def _common(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Of the schema's metadata what is ours; others (pandas') keep theirs there too."""
    told = {name: metadata[name.encode()].decode(errors="replace") for name in COMMON if name.encode() in metadata}
    if "reference" in told:
        if told["reference"] not in ("true", "false"):
            raise MalformedTelemetry(f"reference is {told['reference'][:80]!r}: say true or false")
        return {**told, "reference": told["reference"] == "true"}
    return told


def _from_json(rows: Sequence[Any], common: Mapping[str, Any]) -> Sent:
    refusals = Refusals(len(rows))
    told = {name: KINDS[name][0](value, name) for name, value in common.items() if value is not None}
    given = columns(rows, KINDS, FIELDS, refusals)
    split = [_split(row, place, refusals) for place, row in enumerate(rows)]
    text_map, number_map = pa.map_(pa.string(), pa.string()), pa.map_(pa.string(), pa.float64())
    prediction, numeric, numbered, texted, shares = zip(*split, strict=True) if split else ((),) * 5
    return Sent(
        given,
        pa.array(prediction, pa.string()),
        pa.array(numeric, pa.float64()),
        pa.array(numbered, number_map),
        pa.array(texted, text_map),
        pa.array(shares, number_map),
        told,
        refusals,
    )


_Split = tuple[str | None, float | None, list[tuple[str, float]], list[tuple[str, str]], list[tuple[str, float]]]


def _split(row: Any, place: int, refusals: Refusals) -> _Split:
    """What of a row is no plain column: prediction as text and number, features by kind, probabilities."""
    if not refusals.rows[place]:
        try:
            prediction = row.get("prediction")
            named = None if prediction is None else text(prediction, "prediction")
            numeric = None if prediction is None or isinstance(prediction, str) else number(prediction, "prediction")
            numbered, texted = _features(row.get("features"))
            return named, numeric, numbered, texted, _probabilities(row.get("probabilities"))
        except Unusable as error:
            refusals.refuse_one(place, error)
    return None, None, [], [], []


def _features(given: Any) -> tuple[list[tuple[str, float]], list[tuple[str, str]]]:
    named, numeric = list[tuple[str, str]](), list[tuple[str, float]]()
    for name, value in _members(given, "features"):
        if isinstance(value, str):
            named.append((name, text(value, name)))
        elif value is None:
            numeric.append((name, float("nan")))
        elif isinstance(value, int | float):
            numeric.append((name, number(value, f"features.{name}")))
        else:
            raise Unusable(f"features.{name}", f"{repr(value)[:80]} is neither a number, a text nor null")
    return numeric, named


def _probabilities(given: Any) -> list[tuple[str, float]]:
    shares = _members(given, "probabilities")
    return [(name, number(value, f"probabilities.{name}")) for name, value in shares if value is not None]


def _members(given: Any, field: str) -> list[tuple[str, Any]]:
    if given is None:
        return []
    if not isinstance(given, dict):
        raise Unusable(field, f"{repr(given)[:80]} is no object with names and values")
    for name in given:
        if not name or len(name) > MAX_TEXT:
            raise Unusable(field, f"a name must have 1 to {MAX_TEXT} characters, not {name[:80]!r}")
    return [(text(name, field), value) for name, value in given.items()]
