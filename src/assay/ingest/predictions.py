"""Predictions of classical models as they are sent become rows of `predictions`.

In: an inflated body. Out: rows as the table takes them, and which rows cannot be taken and why. Everything is judged
a column at a time: a hundred thousand rows take a fraction of a second. Features are kept as they are, NaN, infinite
or of a kind never seen; what they mean is asked later.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, NamedTuple, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from assay.ingest.arrow_columns import MAX_TEXT, Bools, Column, Refusal, null, pc
from assay.ingest.prediction_bodies import Sent, read_body
from assay.records import Task
from assay.store.predictions import PREDICTION_SCHEMA

EARLIEST_US = 946_684_800 * 10**6
MAX_MESSAGE = 10_000
MAX_CLASSES = 1_000
PREFIX = "pred-"
"""Ids that Assay makes begin like this, so that they are told from keys."""

_DEFAULTS: dict[str, Any] = {"project": "default", "task": "classification", "reference": False, "status": "ok"}


class Read(NamedTuple):
    """What a body holds: rows to store, the reasons for those that are not, how many those are.

    `made_ids` are the ids of all rows that were sent without one, null for others; empty where all had one.
    """

    rows: pa.Table
    refused: list[Refusal]
    refused_rows: int
    made_ids: list[str | None]


def read_predictions(body: bytes, content_type: str, max_future_seconds: float) -> Read:
    """Rows of PREDICTION_SCHEMA; `predicted_at` is null where a row has an id of the sender's but no time.

    Raises MalformedTelemetry where nothing of the body can be used.
    """
    sent = read_body(body, content_type)
    columns, made = _columns(sent)
    _judge(columns, sent, max_future_seconds)
    kept = pa.array(~sent.refusals.rows)
    arrays = [_whole(columns[name], sent.prediction) for name in PREDICTION_SCHEMA.names]
    rows = pa.Table.from_arrays(arrays, schema=PREDICTION_SCHEMA)
    made_ids = pc.if_else(pa.array(made & ~sent.refusals.rows), columns["prediction_id"], None).to_pylist()
    return Read(
        rows if not len(sent.refusals) else rows.filter(kept),
        sent.refusals.told(),
        len(sent.refusals),
        made_ids if made.any() else [],
    )


def _columns(sent: Sent) -> tuple[dict[str, Column], Bools]:
    """The columns of the table, and which rows had no id. What all rows share is one value long."""
    given = sent.columns
    columns = {name: _shared(given[name], sent.common.get(name), _DEFAULTS.get(name, "")) for name in _SHARED}
    unnamed = null(given["prediction_id"]) | _is(given["prediction_id"], "")
    ids = _made_ids(given["prediction_id"], unnamed)
    now = pa.scalar(time.time_ns() // 1000, pa.timestamp("us", "UTC"))
    at = given["predicted_at"]
    prediction = _decided(sent.prediction, sent.probabilities)
    keyed = ~(null(given["key"]) | _is(given["key"], ""))
    confidence = _confidence(prediction, sent.probabilities)
    columns |= {
        "prediction_id": ids,
        "key": pc.if_else(pa.array(keyed), given["key"], ids) if keyed.any() else ids,
        "predicted_at": pc.if_else(pa.array(unnamed), at.fill_null(now), at) if at.null_count else at,
        "numbers": sent.numbers,
        "categories": sent.categories,
        "prediction": _filled(prediction, ""),
        "prediction_value": pc.if_else(pc.equal(_whole(columns["task"], ids), "regression"), sent.number, None),
        "probabilities": sent.probabilities,
        "confidence": confidence
        if given["confidence"].null_count == len(ids)
        else pc.coalesce(given["confidence"], confidence),
        "latency_ms": given["latency_ms"],
        "cost_usd": given["cost_usd"],
        "input_hash": _hashes(given["input_hash"], sent),
        "error_type": _filled(given["error_type"], ""),
        "error_message": pc.utf8_slice_codeunits(_filled(given["error_message"], ""), 0, MAX_MESSAGE),
    }
    return columns, unnamed


_SHARED = ("model", "model_version", "project", "environment", "service", "task", "reference", "status")


def _shared(column: Column, common: Any, default: Any) -> Column:
    value = default if common is None else common
    return pa.array([value]) if column.null_count == len(column) else _filled(column, value)


def _filled(column: Column, value: Any) -> Column:
    if column.null_count == len(column):
        return pa.repeat(value, len(column))
    return column.fill_null(value) if column.null_count else column


def _whole(column: Column, like: Column) -> Column:
    """One value for each row."""
    return column if len(column) == len(like) else pa.repeat(column[0], len(like))


def _hashes(given: Column, sent: Sent) -> Column:
    if given.null_count == 0 and len(given):
        return given
    made = input_hashes(sent.numbers, sent.categories)
    return made if given.null_count == len(given) else pc.coalesce(given, made)


def _judge(columns: dict[str, Column], sent: Sent, max_future_seconds: float) -> None:
    """Refuse rows that say what cannot be."""
    rows = len(sent.prediction)
    for field, problem, wrong in _problems(columns, sent, max_future_seconds) if rows else ():
        if wrong.any():
            values = columns.get(field)
            shown = None if values is None else _whole(values, sent.prediction)
            sent.refusals.refuse(np.broadcast_to(wrong, rows), field, problem, shown)


def _problems(columns: dict[str, Column], sent: Sent, max_future_seconds: float) -> Iterator[tuple[str, str, Bools]]:
    """What can be wrong with a field, as a reason and which rows it is wrong in."""
    latest = time.time_ns() // 1000 + int(max_future_seconds * 1e6)
    ok, regression = _is(columns["status"], "ok"), _is(columns["task"], "regression")
    yield "model", "missing: say which model predicted", _is(columns["model"], "")
    known = _bools(pc.is_in(columns["task"], pa.array(get_args(Task))))
    yield "task", "{} is neither classification nor regression", ~known
    yield "status", "{} is neither ok nor error", ~(ok | _is(columns["status"], "error"))
    for name in ("prediction_id", "key", "model", "model_version", "project", "environment", "service", "prediction"):
        yield name, f"longer than {MAX_TEXT} bytes", _bools(pc.greater(pc.binary_length(columns[name]), MAX_TEXT))
    at = columns["predicted_at"].cast(pa.int64())
    absurd = _bools(pc.less(at, EARLIEST_US)) | _bools(pc.greater(at, latest))
    wanted = f"must be after 2000 and no more than {max_future_seconds:.0f} s from now: check the sender's clock"
    yield "predicted_at", f"{{}} {wanted}", absurd
    yield "prediction", "missing", ok & _is(columns["prediction"], "")
    no_number = ok & regression & null(sent.number)
    yield "prediction", "{} is no number: say task classification if it is a class", no_number
    unlikely = ok & ~regression & _fractional(sent)
    yield "prediction", "{} is no class: say task regression if it is a number", unlikely
    for name in ("latency_ms", "cost_usd"):
        yield name, "{} must be finite and not negative", _outside(columns[name], 0.0, 1e15)
    yield "confidence", "{} must be within 0 and 1", _outside(columns["confidence"], 0.0, 1.0)
    yield "probabilities", f"must be within 0 and 1, of at most {MAX_CLASSES} classes", _bad_probabilities(sent)


def _bools(wrong: Column) -> Bools:
    return (wrong.fill_null(False) if wrong.null_count else wrong).to_numpy(zero_copy_only=False)


def _is(column: Column, value: str) -> Bools:
    return _bools(pc.equal(column, value))


def _outside(column: Column, least: float, most: float) -> Bools:
    if column.null_count == len(column):
        return np.zeros(1, bool)
    values = column.to_numpy(zero_copy_only=False)
    return ~((values >= least) & (values <= most)) & ~null(column)


def _fractional(sent: Sent) -> Bools:
    """Numbers that are no names of classes: with a fraction, and no probabilities beside them."""
    if sent.number.null_count == len(sent.number):
        return np.zeros(1, bool)
    values = sent.number.fill_null(0.0).to_numpy(zero_copy_only=False)
    return np.isfinite(values) & (values != np.floor(values)) & (_lengths(sent.probabilities) == 0)


def _bad_probabilities(sent: Sent) -> Bools:
    row, _, values = _flat(sent.probabilities)
    wrong = np.zeros(len(sent.probabilities), bool)
    wrong[row[~((values >= 0) & (values <= 1))]] = True
    return wrong | (_lengths(sent.probabilities) > MAX_CLASSES)


def _decided(prediction: Column, probabilities: Column) -> Column:
    """The predictions; where there is none but probabilities, the likeliest class."""
    open_rows = null(prediction) & (_lengths(probabilities) > 0)
    if not open_rows.any():
        return prediction
    row, names, values = _flat(probabilities)
    order = np.lexsort((-np.arange(len(row)), np.nan_to_num(values, nan=-1), row))
    last = np.cumsum(_lengths(probabilities))[open_rows] - 1
    chosen = names.take(pa.array(order[last])).cast(pa.string())
    return pc.replace_with_mask(prediction, pa.array(open_rows), chosen)


def _confidence(prediction: Column, probabilities: Column) -> Column:
    """The probability of the class that was predicted, null where none was told."""
    row, names, values = _flat(probabilities)
    told = np.full(len(prediction), np.nan)
    if len(row):
        same = pc.equal(names, prediction.take(pa.array(row))).fill_null(False).to_numpy(zero_copy_only=False)
        told[row[same]] = values[same]
    return pa.array(told, mask=np.isnan(told))


def input_hashes(numbers: Column, categories: Column) -> Column:
    """A hash of each row's features, the same for equal names and values in any order, of any sender.

    A sum of mixed 64-bit values (the finaliser of SplitMix64: Steele, Lea and Flood, 2014); a missing value counts.
    """
    total = np.zeros(len(numbers), np.uint64)
    for features in (numbers, categories):
        row, names, values = _flat(features)
        if len(row):
            bits = _bits(values) if isinstance(values, np.ndarray) else _digests(values)
            mixed = _mixed(bits ^ _mixed(_digests(names)))
            np.add.at(total, row, mixed)
    return pa.array(total)


def _bits(values: NDArray[np.float64]) -> NDArray[np.uint64]:
    """The same for 0 and -0, and for every NaN."""
    plain = np.where(np.isnan(values), np.nan, values + 0.0)
    return plain.view(np.uint64)


def _digests(names: Column) -> NDArray[np.uint64]:
    coded = names.dictionary_encode()
    known = [int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) for name in coded.dictionary.to_pylist()]
    return np.array(known, np.uint64)[coded.indices.to_numpy(zero_copy_only=False)]


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _flat(maps: Column) -> tuple[NDArray[np.int64], Column, Any]:
    """Row number, name and value (numbers as numpy) of every member of every map."""
    row = np.repeat(np.arange(len(maps)), _lengths(maps))
    first, last = maps.offsets[0].as_py(), maps.offsets[-1].as_py()
    values = maps.items[first:last]
    if pa.types.is_floating(values.type):
        values = values.to_numpy(zero_copy_only=False)
    return row, maps.keys[first:last], values


def _lengths(maps: Column) -> NDArray[np.int64]:
    return np.diff(maps.offsets.to_numpy())


def _made_ids(given: Column, unnamed: Bools) -> Column:
    count = int(unnamed.sum())
    if not count:
        return given
    random = os.urandom(16 * count).hex()
    made = [f"{PREFIX}{random[start : start + 32]}" for start in range(0, 32 * count, 32)]
    return pc.replace_with_mask(given, pa.array(unnamed), pa.array(made, pa.string()))
