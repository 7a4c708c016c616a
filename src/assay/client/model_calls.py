"""Calls of a classical model as rows to send: what went in, what came out, how long it took.

In: a `ModelCall`, copies made in the application's thread. Out, in the sender's thread: bodies for POST
/api/predictions, as Arrow streams where pyarrow is installed and its types fit, else as JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from assay.client.arrow import arrow_array
from assay.client.frames import Columns, NotLoggable, features, results, shares
from assay.client.row_delivery import Body

ROWS_A_BODY = 20_000
PREFIX = "pred-"

PREDICT = ("predict", "__call__")
PROBABILITIES = "predict_proba"
DECISION = "decision_function"


@dataclass(kw_only=True)
class Described:
    """What is known of a model: its `common` fields, how its inputs and classes are called, what it predicts."""

    common: dict[str, Any]
    names: Sequence[str] | None = None
    classes: Sequence[Any] | None = None
    task: str = ""


@dataclass(kw_only=True)
class ModelCall:
    """One call: a copy of its input, and of what each method answered. Times are Unix microseconds and ms.

    `outcome` is told what became of the rows: "logged", or "not_logged" and why.
    """

    describe: Callable[[], Described]
    outcome: Callable[[str, int, str], None]
    given: Any
    at_us: int | None
    base: str
    rows: int
    outputs: dict[str, Any]
    latency_ms: float | None
    keys: Sequence[str] | None = None
    error: tuple[str, str] | None = None
    reference: bool = False
    superseded: bool = False

    def prediction_ids(self) -> list[str]:
        """One for each row."""
        return [f"{self.base}{row:08x}" for row in range(self.rows)]


@dataclass
class _Table:
    """Rows of one call: plain columns, features, and probabilities by class."""

    common: dict[str, Any]
    plain: Columns
    features: Columns
    probabilities: Columns

    @property
    def rows(self) -> int:
        return len(self.plain["prediction_id"])


def encode(calls: Sequence[ModelCall]) -> Iterator[Body]:
    """Bodies for these calls; what cannot be a row is told to the model's `outcome`."""
    tables, known = list[_Table](), dict[Any, Described]()
    for call in calls:
        if call.superseded:
            continue
        try:
            model = known.get(call.describe) or known.setdefault(call.describe, call.describe())
            tables.append(_table(call, model))
        except NotLoggable as error:
            call.outcome("not_logged", call.rows, str(error))
        except Exception as error:
            call.outcome("not_logged", call.rows, f"it cannot be read as rows: {error!r}")
        else:
            call.outcome("logged", call.rows, "")
    yield from _bodies(tables)


def digest(call: ModelCall) -> str:
    """32 hexadecimal digits that are the same for the same input of the same model, in any process."""
    model = call.describe()
    seen = blake2b(json.dumps(model.common, sort_keys=True).encode(), digest_size=16)
    for name, column in features(call.given, call.rows, model.names).items():
        seen.update(json.dumps([name, _listed(column)], default=_plain).encode())
    return seen.hexdigest()


def case_text(value: Any) -> str:
    """A class or an id as text: equal numbers (True, 1, 1.0, numpy's) are equal texts."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _table(call: ModelCall, model: Described) -> _Table:
    rows = call.rows
    plain: Columns = {"prediction_id": call.prediction_ids()}
    common = {**model.common}
    if call.at_us is not None:
        plain["predicted_at"] = [call.at_us] * rows
    if call.keys is not None:
        plain["key"] = [case_text(key) for key in call.keys]
    if call.latency_ms is not None:
        plain["latency_ms"] = [call.latency_ms / rows] * rows
    if call.reference:
        common["reference"] = True
    if call.error:
        kind, message = call.error
        plain |= {"status": ["error"] * rows, "error_type": [kind] * rows, "error_message": [message] * rows}
        common["task"] = model.task or "classification"
        return _Table(common, plain, _if_known(call, model), {})
    predicted, probabilities, common["task"] = _answers(call, model)
    seen = features(call.given, rows, model.names)
    for column in (predicted, *probabilities.values()):
        if len(column) != rows:
            raise NotLoggable(f"{len(column)} predictions came for {rows} rows")
    return _Table(common, {**plain, "prediction": predicted}, seen, probabilities)


def _if_known(call: ModelCall, model: Described) -> Columns:
    """The features of a call that failed: those may be why."""
    try:
        return features(call.given, call.rows, model.names)
    except NotLoggable:
        return {}


def _answers(call: ModelCall, model: Described) -> tuple[Any, Columns, str]:
    """Predictions, probabilities by class, and the task."""
    outputs = call.outputs
    telling = [
        name for name in (PROBABILITIES, *PREDICT) if name in outputs and _tells_shares(name, outputs[name], model)
    ]
    said = next((results(outputs[name]) for name in PREDICT if name in outputs and name not in telling), None)
    told = outputs[telling[0]] if telling else None
    probabilities: Columns = {}
    if told is not None:
        columns = shares(told, single=call.rows == 1)
        if len(columns) == 1:
            [second] = columns
            columns = [[1 - share for share in _listed(second)], second]
        classes = _classes(model, len(columns))
        probabilities = {case_text(name): column for name, column in zip(classes, columns, strict=True)}
        if said is None:
            said = _likeliest(classes, columns)
    if said is None:
        said = _sides(model, outputs[DECISION], call.rows)
    return said, probabilities, _task(model, said, probabilities)


def _tells_shares(name: str, given: Any, model: Described) -> bool:
    """Whether a method's answers are probabilities: predict_proba's are, others' where they are floats and the
    classes are not."""
    if name == PROBABILITIES:
        return True
    if model.task == "regression" or model.classes is None or any(isinstance(c, float) for c in _listed(model.classes)):
        return False
    some = given
    while isinstance(some, list | tuple) and some:
        some = some[0]
    return isinstance(some, float) or getattr(getattr(some, "dtype", None), "kind", "") == "f"


def _classes(model: Described, columns: int) -> Sequence[Any]:
    classes = list(range(columns)) if model.classes is None else _listed(model.classes)
    if len(classes) != columns:
        raise NotLoggable(
            f"{columns} columns came for {len(classes)} classes: a model with several outputs is not logged"
        )
    return classes


def _likeliest(classes: Sequence[Any], columns: Sequence[Any]) -> list[Any]:
    """The first of the most probable classes of each row, as scikit-learn's argmax."""
    if all(hasattr(column, "dtype") for column in columns):
        import numpy as np

        return [classes[place] for place in np.argmax(np.stack(columns, axis=1), axis=1).tolist()]
    rows = zip(*map(_listed, columns), strict=True)
    return [classes[max(range(len(row)), key=row.__getitem__)] for row in rows]


def _sides(model: Described, scores: Any, rows: int) -> list[Any]:
    """The classes that scores of a decision function stand for."""
    columns = shares(scores, single=rows == 1)
    if len(columns) > 1:
        return _likeliest(_classes(model, len(columns)), columns)
    negative, positive = _classes(model, 2)
    return [positive if score > 0 else negative for score in _listed(columns[0])]


def _task(model: Described, said: Any, probabilities: Columns) -> str:
    """As told, else by what came: numbers with a fraction, or floats without probabilities, are no classes."""
    if model.task or probabilities:
        return model.task or "classification"
    return "regression" if all(isinstance(value, float) for value in _listed(said)) else "classification"


def _bodies(tables: Sequence[_Table]) -> Iterator[Body]:
    try:
        import pyarrow
    except ImportError:
        arrow: list[tuple[Any, int]] = []
        rest = tables
    else:
        rest, arrow = list[_Table](), []
        for table in tables:
            try:
                arrow.append((_arrow(pyarrow, table), table.rows))
            except Exception:
                # What Arrow has no type for, JSON tells value by value.
                rest.append(table)
        for group in _alike(made for made, _ in arrow):
            yield from _streams(pyarrow, group)
    for table in rest:
        yield from _json(table)


def _arrow(pa: Any, table: _Table) -> Any:
    """One call as an Arrow table, with what all rows share in the schema's metadata."""
    columns = {name: arrow_array(pa, column) for name, column in table.plain.items()}
    if "predicted_at" in columns:
        columns["predicted_at"] = columns["predicted_at"].cast(pa.timestamp("us", "UTC"))
    for name, members in (("features", table.features), ("probabilities", table.probabilities)):
        if members:
            arrays = [_floats(pa, arrow_array(pa, column)) for column in members.values()]
            columns[name] = pa.StructArray.from_arrays(arrays, list(members))
    shared = {name: "true" if value is True else str(value) for name, value in table.common.items()}
    made = pa.Table.from_arrays(list(columns.values()), names=list(columns))
    return made.replace_schema_metadata(shared)


def _floats(pa: Any, made: Any) -> Any:
    """One type of number, so that small calls fit together."""
    return made.cast(pa.float64(), safe=False) if pa.types.is_integer(made.type) else made


def _alike(tables: Iterable[Any]) -> Iterator[list[Any]]:
    """Runs of tables with one schema: small calls go in one body."""
    group = list[Any]()
    for table in tables:
        if group and not group[0].schema.equals(table.schema, check_metadata=True):
            yield group
            group = []
        group.append(table)
    if group:
        yield group


def _streams(pa: Any, group: Sequence[Any]) -> Iterator[Body]:
    whole = pa.concat_tables(group).combine_chunks()
    for start in range(0, whole.num_rows, ROWS_A_BODY):
        part = whole.slice(start, ROWS_A_BODY)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, part.schema) as stream:
            stream.write_table(part)
        yield sink.getvalue().to_pybytes(), part.num_rows


def _json(table: _Table) -> Iterator[Body]:
    plain = {name: _listed(column) for name, column in table.plain.items()}
    if "predicted_at" in plain:
        plain["predicted_at"] = [at / 1e6 for at in plain["predicted_at"]]
    members = {
        name: {member: _listed(column) for member, column in columns.items()}
        for name, columns in (("features", table.features), ("probabilities", table.probabilities))
        if columns
    }
    for start in range(0, table.rows, ROWS_A_BODY):
        rows = [
            {name: column[row] for name, column in plain.items()}
            | {name: {key: column[row] for key, column in columns.items()} for name, columns in members.items()}
            for row in range(start, min(start + ROWS_A_BODY, table.rows))
        ]
        yield json.dumps({**table.common, "rows": rows}, default=_plain).encode(errors="replace"), len(rows)


def _listed(column: Any) -> list[Any]:
    """A column as plain Python values."""
    for name in ("tolist", "to_list", "to_pylist"):
        if hasattr(column, name):
            return getattr(column, name)()
    return [value.item() if hasattr(value, "item") else value for value in column]


def _plain(value: Any) -> Any:
    """What JSON cannot hold as what it can: numbers of other libraries, times, missing values."""
    if hasattr(value, "item"):
        return value.item()
    if hasattr(value, "timestamp"):
        return value.timestamp()
    if type(value).__name__ in ("NAType", "NaTType"):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)
