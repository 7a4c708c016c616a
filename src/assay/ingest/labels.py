"""Labels, what turned out to be true, as they are sent become rows of `labels`: JSON or an Arrow stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from assay.errors import MalformedTelemetry
from assay.ingest.arrow_columns import (
    ARROW,
    MAX_TEXT,
    Column,
    Refusal,
    Refusals,
    column_of,
    is_text,
    numbers,
    pc,
    read_stream,
    readable,
    require_known,
    texts,
    times,
)
from assay.ingest.json_columns import JSON, TEXT, TIME, Kind, columns, read_json
from assay.ingest.predictions import EARLIEST_US
from assay.store.predictions import LABEL_SCHEMA

COMMON = ("model", "project")
KINDS: dict[str, Kind] = {
    "prediction_id": TEXT,
    "key": TEXT,
    "label": TEXT,
    "labelled_at": TIME,
    "model": TEXT,
    "project": TEXT,
}
EXAMPLE = '{"model": "churn", "labels": [{"key": "customer-17", "label": "left"}]}'

ModelsWith = Callable[[Iterable[str], str], Mapping[tuple[str, str], list[str]]]
"""The models that have predictions with these ids or keys (by "prediction_id" or "key"), by project and case."""


class Read(NamedTuple):
    """What a body holds: rows of LABEL_SCHEMA to store, the reasons for those that are not, how many those are."""

    rows: pa.Table
    refused: list[Refusal]
    refused_rows: int


def read_labels(body: bytes, content_type: str, models_with: ModelsWith, max_future_seconds: float) -> Read:
    """Labels as rows; one that names no model gets that of the one model with such a prediction.

    Raises MalformedTelemetry where nothing of the body can be used.
    """
    given, number, common, refusals = _sent(body, content_type)
    now = time.time_ns() // 1000
    text = {name: given[name].fill_null(common.get(name, "")) for name in ("prediction_id", "key", "model")}
    project = pc.if_else(
        pc.equal(given["project"].fill_null(""), ""), common.get("project") or "default", given["project"]
    )
    model = _with_models(text, project, refusals, models_with)
    at = given["labelled_at"].cast(pa.int64()).fill_null(now)
    made = {
        **text,
        "project": project,
        "model": model,
        "label": given["label"].fill_null(""),
        "label_value": number,
        "labelled_at": at.cast(pa.timestamp("us", "UTC")),
    }
    named = pc.add(*(pc.not_equal(text[name], "").cast(pa.int8()) for name in ("prediction_id", "key")))
    refusals.refuse(_np(pc.not_equal(named, 1)), "key", "give either prediction_id or key")
    missing = pc.or_(pc.equal(made["label"], ""), pc.is_nan(number).fill_null(False))
    refusals.refuse(_np(missing), "label", "missing: say what turned out to be true")
    for name in ("prediction_id", "key", "model", "project", "label"):
        refusals.refuse(_np(pc.greater(pc.binary_length(made[name]), MAX_TEXT)), name, f"longer than {MAX_TEXT} bytes")
    absurd = pc.or_(pc.less(at, EARLIEST_US), pc.greater(at, now + int(max_future_seconds * 1e6)))
    refusals.refuse(_np(absurd), "labelled_at", "{} is before 2000 or in the future", made["labelled_at"])
    rows = pa.Table.from_arrays([made[name] for name in LABEL_SCHEMA.names], schema=LABEL_SCHEMA)
    return Read(rows.filter(pa.array(~refusals.rows)), refusals.told(), len(refusals))


def _sent(body: bytes, content_type: str) -> tuple[dict[str, Any], Column, dict[str, Any], Refusals]:
    """Columns as they were sent, labels that are numbers, and what holds for all rows."""
    if content_type == JSON:
        rows, told = read_json(body, "labels", COMMON, EXAMPLE)
        refusals = Refusals(len(rows))
        given = columns(rows, KINDS, tuple(KINDS), refusals)
        sent = [row.get("label") if isinstance(row, dict) else None for row in rows]
        number = [float(value) if isinstance(value, int | float) and abs(value) < 1e300 else None for value in sent]
        common = {name: TEXT[0](value, name) for name, value in told.items() if value is not None}
        return given, pa.array(number, pa.float64()), common, refusals
    if content_type == ARROW:
        with readable():
            table = read_stream(body)
            require_known(table.column_names, tuple(KINDS), "a label is of one prediction_id or key")
            refusals = Refusals(table.num_rows)
            at, unread = times(column_of(table, "labelled_at"), "labelled_at")
            refusals.refuse(unread, "labelled_at", "is no time: send timestamps, RFC 3339 texts or Unix seconds")
            given = {name: texts(column_of(table, name), name) for name in KINDS if name != "labelled_at"}
            label = column_of(table, "label")
            number = pa.nulls(table.num_rows, pa.float64()) if is_text(label.type) else numbers(label, "label")
            metadata = table.schema.metadata or {}
            common = {
                name: metadata[name.encode()].decode(errors="replace") for name in COMMON if name.encode() in metadata
            }
            return {**given, "labelled_at": at}, number, common, refusals
    raise MalformedTelemetry(f"Content-Type {content_type!r} is not supported: send {JSON} or {ARROW}", 415)


def _with_models(text: Mapping[str, Column], project: Column, refusals: Refusals, models_with: ModelsWith) -> Column:
    """Models as said, or found by the case; refused where none or several have it."""
    unsaid = np.flatnonzero(_np(pc.equal(text["model"], "")) & ~refusals.rows).tolist()
    if not unsaid:
        return text["model"]
    models, projects = text["model"].to_pylist(), project.to_pylist()
    for by in ("prediction_id", "key"):
        cases = text[by].to_pylist()
        of = [row for row in unsaid if cases[row]]
        found = models_with([cases[row] for row in of], by) if of else {}
        for row in of:
            known = found.get((projects[row], cases[row]), [])
            if len(known) == 1:
                models[row] = known[0]
    made = pa.array(models, pa.string())
    reason = "missing, and not one model alone has a prediction of this case in the project: say which model"
    refusals.refuse(_np(pc.equal(made, "")), "model", reason)
    return made


def _np(wrong: Column) -> Any:
    return wrong.fill_null(False).to_numpy(zero_copy_only=False)
