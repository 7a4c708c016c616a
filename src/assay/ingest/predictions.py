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
import pyarrow.compute as pc
from numpy.typing import NDArray

from assay.ingest.arrow_columns import MAX_TEXT, Bools, Refusal, null
from assay.ingest.prediction_bodies import Sent, read_body
from assay.records import Task
from assay.store.predictions import PREDICTION_SCHEMA

EARLIEST_US = 946_684_800 * 10**6
MAX_MESSAGE = 10_000
MAX_CLASSES = 1_000
PREFIX = "pred-"
"""Ids that Assay makes begin like this, so that they are told from keys."""

_DEFAULTS: dict[str, Any] = {"project": "default", "task": "classification", "reference": False, "status": "ok"}
_UINT64 = 1 << 64


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
    rows = pa.Table.from_arrays([columns[name] for name in PREDICTION_SCHEMA.names], schema=PREDICTION_SCHEMA)
    made_ids = pc.if_else(pa.array(made & ~sent.refusals.rows), columns["prediction_id"], None).to_pylist()
    return Read(
        rows if not len(sent.refusals) else rows.filter(kept),
        sent.refusals.told(),
        len(sent.refusals),
        made_ids if made.any() else [],
    )


def _columns(sent: Sent) -> tuple[dict[str, pa.Array[Any]], Bools]:
    """The columns of the table, and which rows had no id."""
    given, rows = sent.columns, len(sent.prediction)
    columns = {name: _filled(given[name], sent.common.get(name), _DEFAULTS.get(name, "")) for name in _SHARED}
    unnamed = null(given["prediction_id"]) | pc.equal(given["prediction_id"], "").fill_null(False).to_numpy(False)
    ids = _made_ids(given["prediction_id"], unnamed)
    now = pa.scalar(time.time_ns() // 1000, pa.timestamp("us", "UTC"))
    regression = pc.equal(columns["task"], "regression")
    prediction = _decided(sent.prediction, sent.probabilities)
    confidence = pc.coalesce(given["confidence"], _confidence(prediction, sent.probabilities))
    message = pc.utf8_slice_codeunits(given["error_message"].fill_null(""), 0, MAX_MESSAGE)
    columns |= {
        "prediction_id": ids,
        "key": pc.if_else(pc.not_equal(given["key"], "").fill_null(False), given["key"], ids),
        "predicted_at": pc.if_else(pa.array(unnamed), given["predicted_at"].fill_null(now), given["predicted_at"]),
        "numbers": sent.numbers,
        "categories": sent.categories,
        "prediction": prediction.fill_null(""),
        "prediction_value": pc.if_else(regression, sent.number, pa.nulls(rows, pa.float64())),
        "probabilities": sent.probabilities,
        "confidence": confidence,
        "latency_ms": given["latency_ms"],
        "cost_usd": given["cost_usd"],
        "input_hash": pc.coalesce(given["input_hash"], input_hashes(sent.numbers, sent.categories)),
        "error_type": given["error_type"].fill_null(""),
        "error_message": message,
    }
    return columns, unnamed


_SHARED = ("model", "model_version", "project", "environment", "service", "task", "reference", "status")


def _filled(column: pa.Array[Any], common: Any, default: Any) -> pa.Array[Any]:
    return column.fill_null(default if common is None else common)


def _judge(columns: dict[str, pa.Array[Any]], sent: Sent, max_future_seconds: float) -> None:
    """Refuse rows that say what cannot be."""
    refuse = sent.refusals.refuse
    for field, problem, wrong in _problems(columns, sent, max_future_seconds):
        refuse(_bools(wrong), field, problem, columns.get(field))


def _problems(
    columns: dict[str, pa.Array[Any]], sent: Sent, max_future_seconds: float
) -> Iterator[tuple[str, str, Any]]:
    latest = time.time_ns() // 1000 + int(max_future_seconds * 1e6)
    task, status, model = columns["task"], columns["status"], columns["model"]
    ok = pc.equal(status, "ok")
    regression = pc.equal(task, "regression")
    yield "model", "missing: say which model predicted", pc.equal(model, "")
    yield "task", "{} is neither classification nor regression", pc.invert(pc.is_in(task, pa.array(get_args(Task))))
    yield "status", "{} is neither ok nor error", pc.invert(pc.is_in(status, pa.array(["ok", "error"])))
    for name in ("prediction_id", "key", "model", "model_version", "project", "environment", "service", "prediction"):
        yield name, f"longer than {MAX_TEXT} bytes", pc.greater(pc.binary_length(columns[name]), MAX_TEXT)
    at = columns["predicted_at"].cast(pa.int64())
    yield (
        "predicted_at",
        f"{{}} must be after 2000 and no more than {max_future_seconds:.0f} s from now: check the sender's clock",
        pc.or_(pc.less(at, EARLIEST_US), pc.greater(at, latest)),
    )
    yield "prediction", "missing", pc.and_(ok, pc.equal(columns["prediction"], ""))
    no_number = pc.and_(ok, pc.and_(regression, pc.is_null(sent.number)))
    yield (
        "prediction",
        "{} is no number, which a regression predicts; say task classification if it is a class",
        no_number,
    )
    unlikely = pc.and_(pc.and_(ok, pc.invert(regression)), _fractional(sent))
    yield "prediction", "{} is no class; say task regression if it is a number", unlikely
    for name in ("latency_ms", "cost_usd"):
        yield name, "{} must be finite and not negative", _outside(columns[name], 0.0, 1e15)
    yield "confidence", "{} must be within 0 and 1", _outside(columns["confidence"], 0.0, 1.0)
    yield "probabilities", f"must be within 0 and 1, of at most {MAX_CLASSES} classes", _bad_probabilities(sent)


def _bools(wrong: Any) -> Bools:
    return wrong if isinstance(wrong, np.ndarray) else wrong.fill_null(False).to_numpy(zero_copy_only=False)


def _outside(column: pa.Array[Any], least: float, most: float) -> pa.Array[Any]:
    return pc.invert(pc.and_(pc.greater_equal(column, least), pc.less_equal(column, most)))


def _fractional(sent: Sent) -> pa.Array[Any]:
    """Numbers that are no names of classes: with a fraction, and no probabilities beside them."""
    fraction = pc.and_(pc.is_finite(sent.number), pc.not_equal(sent.number, pc.floor(sent.number)))
    return pc.and_(fraction, pa.array(_lengths(sent.probabilities) == 0))


def _bad_probabilities(sent: Sent) -> Bools:
    row, _, values = _flat(sent.probabilities)
    wrong = np.zeros(len(sent.probabilities), bool)
    wrong[row[~((values >= 0) & (values <= 1))]] = True
    return wrong | (_lengths(sent.probabilities) > MAX_CLASSES)


def _decided(prediction: pa.Array[Any], probabilities: pa.Array[Any]) -> pa.Array[Any]:
    """The predictions; where there is none but probabilities, the likeliest class."""
    open_rows = null(prediction) & (_lengths(probabilities) > 0)
    if not open_rows.any():
        return prediction
    row, names, values = _flat(probabilities)
    order = np.lexsort((-np.arange(len(row)), np.nan_to_num(values, nan=-1), row))
    last = np.cumsum(_lengths(probabilities))[open_rows] - 1
    chosen = names.take(pa.array(order[last])).cast(pa.string())
    return pc.replace_with_mask(prediction, pa.array(open_rows), chosen)


def _confidence(prediction: pa.Array[Any], probabilities: pa.Array[Any]) -> pa.Array[Any]:
    """The probability of the class that was predicted, null where none was told."""
    row, names, values = _flat(probabilities)
    told = np.full(len(prediction), np.nan)
    if len(row):
        same = pc.equal(names, prediction.take(pa.array(row))).fill_null(False).to_numpy(zero_copy_only=False)
        told[row[same]] = values[same]
    return pa.array(told, mask=np.isnan(told))


def input_hashes(numbers: pa.Array[Any], categories: pa.Array[Any]) -> pa.Array[Any]:
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


def _digests(names: pa.Array[Any]) -> NDArray[np.uint64]:
    coded = names.dictionary_encode()
    known = [int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) for name in coded.dictionary.to_pylist()]
    return np.array(known, np.uint64)[coded.indices.to_numpy(zero_copy_only=False)]


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _flat(maps: pa.Array[Any]) -> tuple[NDArray[np.int64], pa.Array[Any], Any]:
    """Row number, name and value (numbers as numpy) of every member of every map."""
    whole: Any = maps
    lengths = _lengths(maps)
    row = np.repeat(np.arange(len(maps)), lengths)
    first, last = whole.offsets[0].as_py(), whole.offsets[-1].as_py()
    values = whole.items[first:last]
    if pa.types.is_floating(values.type):
        values = values.to_numpy(zero_copy_only=False)
    return row, whole.keys[first:last], values


def _lengths(maps: pa.Array[Any]) -> NDArray[np.int64]:
    whole: Any = maps
    return np.diff(whole.offsets.to_numpy())


def _made_ids(given: pa.Array[Any], unnamed: Bools) -> pa.Array[Any]:
    count = int(unnamed.sum())
    if not count:
        return given
    random = os.urandom(16 * count).hex()
    made = [f"{PREFIX}{random[start : start + 32]}" for start in range(0, 32 * count, 32)]
    return pc.replace_with_mask(given, pa.array(unnamed), pa.array(made, pa.string()))
