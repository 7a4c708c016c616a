"""Which predictions a question is about, and their columns as arrays: the only place where rows and labels are read.

In: a Window. Out: Rows, whose arrays have one length. Where a window has more rows than are asked for, a sample by the
hash of the prediction's id is read: the same rows each time, and `total` says of how many. Labels are joined here, and
nowhere else: a label of the prediction's id, else one of its key.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from assay.errors import AssayError, NotFound
from assay.store.connect import Store

Floats = NDArray[np.float64]
Texts = NDArray[np.object_]

MOST_ROWS = 20_000
"""So many rows are read where features are: some 20 MB for thirty of them."""
MOST_LABELLED = 100_000
"""Without features rows are small."""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Predictions of one model in [since, until), or its reference rows; a filter that is None lets all through.

    `segment` keeps the rows of one feature's value (`country=de`) or range (`age=18..40`, either end may be left out,
    the upper one is not in it).
    """

    model: str
    project: str | None = None
    environment: str | None = None
    version: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    segment: str | None = None
    reference: bool = False

    def where(self) -> tuple[str, dict[str, Any]]:
        """Condition and parameters for the `predictions` table. Raises AssayError for what is no segment."""
        conditions, parameters = ["reference" if self.reference else "NOT reference"], dict[str, Any]()
        for name in ("model", "project", "environment", "version"):
            if (value := getattr(self, name)) is not None:
                column = "model_version" if name == "version" else name
                conditions.append(f"{column} = {{{name}:String}}")
                parameters[name] = value
        for bound, comparison in (("since", ">="), ("until", "<")):
            if (moment := getattr(self, bound)) is not None:
                conditions.append(f"predicted_at {comparison} fromUnixTimestamp64Micro({{{bound}:Int64}})")
                parameters[bound] = round(moment.timestamp() * 1e6)
        if self.segment:
            condition, more = _segment(self.segment)
            conditions.append(condition)
            parameters |= more
        return " AND ".join(conditions), parameters

    def as_reference(self) -> Window:
        """The reference rows of the same model (and segment), whenever and wherever they were made."""
        return msgspec.structs.replace(self, reference=True, since=None, until=None, environment=None)


class Rows(msgspec.Struct, frozen=True, dict=True):
    """The columns of a window's rows, `n` of `total`. Times are Unix seconds; what is not known is NaN, or "" of texts.

    `numbers` and `categories` hold the features, where they were read: a feature that came as number in some rows and
    as text in others stands in both. `absent` is, by feature, in which rows it was not sent at all.
    """

    total: int
    at: Floats
    version: Texts
    prediction: Texts
    value: Floats
    confidence: Floats
    label: Texts
    label_value: Floats
    labelled_at: Floats
    failed: NDArray[np.bool_]
    classes: tuple[str, ...]
    probabilities: Floats
    numbers: dict[str, Floats]
    categories: dict[str, Texts]
    absent: dict[str, NDArray[np.bool_]]

    @property
    def n(self) -> int:
        """How many rows were read."""
        return len(self.at)

    @property
    def sampled(self) -> float:
        """The share of the window's rows that was read, 1 where all were."""
        return self.n / self.total if self.total else 1.0

    @cached_property
    def labelled(self) -> NDArray[np.bool_]:
        """Which rows have a label and a prediction to hold it against."""
        return ~np.isnan(self.labelled_at) & ~self.failed

    def taken(self, chosen: NDArray[Any]) -> Rows:
        """Only these rows, by place or by mask; `total` stays what it was."""
        columns = {name: getattr(self, name)[chosen] for name in _COLUMNS}
        features = {
            name: {one: column[chosen] for one, column in getattr(self, name).items()}
            for name in ("numbers", "categories", "absent")
        }
        return msgspec.structs.replace(self, **columns, **features)


_COLUMNS = (
    "at",
    "version",
    "prediction",
    "value",
    "confidence",
    "label",
    "label_value",
    "labelled_at",
    "failed",
    "probabilities",
)


def read_rows(store: Store, window: Window, most: int = MOST_ROWS, *, features: bool = True) -> Rows:
    """The window's rows, at most about `most`, in the order of their times. Raises AssayError."""
    where, parameters = window.where()
    [counted] = store.query(f"SELECT count() AS n FROM predictions FINAL WHERE {where}", parameters)
    total = int(counted["n"])
    if total > most:
        where += " AND cityHash64(prediction_id) < {below:UInt64}"
        parameters["below"] = int(most / total * (2**64 - 1))
    table = store.arrow(_SQL.format(columns=_FEATURES if features else "", where=where), parameters)
    return _rows(table.combine_chunks(), total)


def known_model(store: Store, window: Window) -> None:
    """Raises NotFound where there is no prediction of the model at all."""
    everything = msgspec.structs.replace(window, since=None, until=None, segment=None, environment=None, version=None)
    where, parameters = everything.where()
    # Of either kind: a model may have nothing but reference rows.
    found = store.query(f"SELECT 1 FROM predictions WHERE {where.replace('NOT reference', '1')} LIMIT 1", parameters)
    if not found:
        of = f" of project {window.project!r}" if window.project else ""
        raise NotFound(f"there is no prediction of a model {window.model!r}{of}: `assay models` lists those there are")


def task_of(store: Store, window: Window) -> str:
    """What the model does, by its newest row: classification or regression. Raises NotFound."""
    known_model(store, window)
    where, parameters = msgspec.structs.replace(window, since=None, until=None, segment=None).where()
    where = where.replace("NOT reference", "1")
    rows = store.query(f"SELECT task FROM predictions WHERE {where} ORDER BY predicted_at DESC LIMIT 1", parameters)
    return str(rows[0]["task"]) if rows else "classification"


FROM_LABELS = """
    LEFT ANY JOIN (
        SELECT project, model, prediction_id, label, label_value, labelled_at FROM labels FINAL
        WHERE prediction_id != '' AND prediction_id IN (SELECT prediction_id FROM predictions WHERE {where})
    ) AS by_id ON by_id.project = p.project AND by_id.model = p.model AND by_id.prediction_id = p.prediction_id
    LEFT ANY JOIN (
        SELECT project, model, key, label, label_value, labelled_at FROM labels FINAL
        WHERE key != '' AND key IN (SELECT if(key = '', prediction_id, key) FROM predictions WHERE {where})
    ) AS by_key ON by_key.project = p.project AND by_key.model = p.model AND by_key.key = p.known_as"""
"""Joins the labels to predictions `p`, which name what a label may know them by `known_as`."""

OF_LABEL = """
    toUnixTimestamp64Micro(by_id.labelled_at) != 0 AS of_id,
    if(of_id, by_id.label, by_key.label) AS label,
    if(of_id, by_id.label_value, by_key.label_value) AS label_value,
    toUnixTimestamp64Micro(if(of_id, by_id.labelled_at, by_key.labelled_at)) AS labelled_micros"""
"""What such a join found: a label of the id before one of the key; `labelled_micros` is 0 where there is none."""

_FEATURES = "p.numbers AS numbers, p.categories AS categories,"

_SQL = f"""
    SELECT toUnixTimestamp64Micro(p.predicted_at) / 1e6 AS at, p.model_version AS version, p.prediction AS prediction,
        p.prediction_value AS value, p.confidence AS confidence, p.probabilities AS probabilities, {{columns}}
        p.status = 'error' AS failed, {OF_LABEL}
    FROM (SELECT *, if(key = '', prediction_id, key) AS known_as FROM predictions FINAL WHERE {{where}}) AS p
    {FROM_LABELS}
    ORDER BY p.predicted_at, p.prediction_id"""


def _rows(table: pa.Table, total: int) -> Rows:
    column = {name: table.column(name) for name in table.column_names}
    micros = _floats(column["labelled_micros"])
    probabilities = _pivoted(column["probabilities"], float)[0]
    numbers, categories, absent = dict[str, Floats](), dict[str, Texts](), dict[str, NDArray[np.bool_]]()
    if "numbers" in column:
        numbers, in_numbers = _pivoted(column["numbers"], float)
        categories, in_categories = _pivoted(column["categories"], str)
        for name in {**numbers, **categories}:
            nowhere = np.zeros(table.num_rows, bool)
            absent[name] = ~(in_numbers.get(name, nowhere) | in_categories.get(name, nowhere))
    return Rows(
        total=total,
        at=_floats(column["at"]),
        version=_texts(column["version"]),
        prediction=_texts(column["prediction"]),
        value=_floats(column["value"]),
        confidence=_floats(column["confidence"]),
        label=_texts(column["label"]),
        label_value=_floats(column["label_value"]),
        labelled_at=np.where(micros > 0, micros / 1e6, np.nan),
        failed=_floats(column["failed"]).astype(bool),
        classes=tuple(probabilities),
        probabilities=np.stack([*probabilities.values()], axis=1) if probabilities else np.zeros((table.num_rows, 0)),
        numbers=numbers,
        categories=categories,
        absent=absent,
    )


def _floats(column: Any) -> Floats:
    return column.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)


def _texts(column: Any) -> Texts:
    return np.array(column.cast(pa.string()).to_pylist(), object)


def _pivoted(column: Any, kind: type) -> tuple[dict[str, Any], dict[str, NDArray[np.bool_]]]:
    """A column of maps as one array for each key, in the order of the keys, and in which rows each stands."""
    maps: Any = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if not len(maps):
        return {}, {}
    offsets = maps.offsets.to_numpy()
    place = np.repeat(np.arange(len(maps)), np.diff(offsets))
    keys = maps.keys.cast(pa.string()).dictionary_encode()
    codes = keys.indices.to_numpy(zero_copy_only=False)[offsets[0] :]
    names = keys.dictionary.to_pylist()
    items = _floats(maps.items) if kind is float else _texts(maps.items)
    found, present = dict[str, Any](), dict[str, NDArray[np.bool_]]()
    for code in sorted(range(len(names)), key=names.__getitem__):
        own = codes == code
        values = np.full(len(maps), np.nan) if kind is float else np.full(len(maps), "", object)
        values[place[own]] = items[offsets[0] :][own]
        found[names[code]] = values
        present[names[code]] = np.bincount(place[own], minlength=len(maps)).astype(bool)
    return found, present


def _segment(text: str) -> tuple[str, Mapping[str, Any]]:
    feature, equals, value = text.partition("=")
    if not feature or not equals or not value:
        raise AssayError(f"{text!r} is no segment: write FEATURE=VALUE or FEATURE=LOW..HIGH, such as age=18..40")
    number = "numbers[{segment:String}]"
    if ".." not in value:
        exact = "categories[{segment:String}] = {segment_value:String}"
        parameters: dict[str, Any] = {"segment": feature, "segment_value": value}
        if (as_number := _number(value)) is not None:
            exact = f"({exact} OR (mapContains(numbers, {{segment:String}}) AND {number} = {{segment_number:Float64}}))"
            parameters["segment_number"] = as_number
        return exact, parameters
    ends = re.split(r"\.\.", value, maxsplit=1)
    low, high = (_number(end) for end in ends)
    if any(end and bound is None for end, bound in zip(ends, (low, high), strict=True)) or (
        low is None and high is None
    ):
        raise AssayError(f"{text!r} is no range: write FEATURE=LOW..HIGH with numbers, such as age=18..40 or age=65..")
    conditions, parameters = ["mapContains(numbers, {segment:String})"], {"segment": feature}
    for name, bound, comparison in (("low", low, ">="), ("high", high, "<")):
        if bound is not None:
            conditions.append(f"{number} {comparison} {{segment_{name}:Float64}}")
            parameters[f"segment_{name}"] = bound
    return " AND ".join(conditions), parameters


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
