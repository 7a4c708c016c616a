"""Columns of a body that anyone may send, as the types that are stored: Arrow in, Arrow out, or a refusal by name."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from assay.errors import AssayError, MalformedTelemetry
from assay.ingest.arrow_messages import refuse_compressed

ARROW = "application/vnd.apache.arrow.stream"
MAX_ROWS = 1_000_000
MAX_VALUES = 20_000_000
MAX_TEXT = 1_000
"""Bytes of an id, a class, a feature's name or a feature that is text."""

SHOWN_REFUSALS = 100

Bools = NDArray[np.bool_]

Column: TypeAlias = Any
"""An Arrow array of one piece. The stubs know neither plain values beside arrays nor what kinds of array can do."""

pc: Any = pyarrow.compute


class Refusal(NamedTuple):
    """Why a row of a request was not taken; `row` counts from 0."""

    row: int
    field: str
    reason: str


class Unusable(AssayError):
    """A value of one row that cannot be taken: which field, and why."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class Refusals:
    """The rows of a request that are not taken, each with its first reason."""

    def __init__(self, rows: int) -> None:
        self.rows = np.zeros(rows, bool)
        self._reasons: dict[int, Refusal] = {}

    def __len__(self) -> int:
        return int(self.rows.sum())

    def refuse(self, which: Bools, field: str, reason: str, values: Column | None = None) -> None:
        """Refuse these rows; `{}` in the reason stands for a row's value."""
        new = np.flatnonzero(which & ~self.rows)
        self.rows[new] = True
        for row in new[:SHOWN_REFUSALS].tolist():
            shown = reason if values is None else reason.replace("{}", _shown(values[row].as_py()))
            self._reasons[row] = Refusal(row, field, shown)

    def refuse_one(self, row: int, problem: Unusable) -> None:
        """Refuse one row."""
        self.rows[row] = True
        if len(self._reasons) < SHOWN_REFUSALS:
            self._reasons[row] = Refusal(row, problem.field, problem.reason)

    def told(self) -> list[Refusal]:
        """The first of them, in order."""
        return [self._reasons[row] for row in sorted(self._reasons)[:SHOWN_REFUSALS]]


def read_stream(body: bytes) -> pa.Table:
    """The rows of an Arrow IPC stream, checked as what comes from strangers. To be called inside `readable`."""
    batches, rows = list[pa.RecordBatch](), 0
    refuse_compressed(body)
    with pa.ipc.open_stream(body) as stream:
        schema = stream.schema
        for batch in stream:
            rows += batch.num_rows
            require_rows(rows)
            batch.validate(full=True)
            batches.append(batch)
    return pa.Table.from_batches(batches, schema).combine_chunks()


@contextmanager
def readable() -> Generator[None]:
    """Raises MalformedTelemetry for what Arrow raises inside: the body is no stream, or a damaged one."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise MalformedTelemetry(f"the body is no Arrow IPC stream: {error}") from None


def require_rows(rows: int, features: int = 0) -> None:
    """Raises MalformedTelemetry (413) where a request holds too much."""
    if rows > MAX_ROWS or rows * features > MAX_VALUES:
        raise MalformedTelemetry(
            f"{rows:,} rows of {features} features are too much for one request (at most {MAX_ROWS:,} rows and "
            f"{MAX_VALUES:,} values): send several",
            413,
        )


def texts(column: Column, name: str) -> Column:
    """Text of text and of numbers; equal numbers (True, 1, 1.0) are equal texts."""
    column = _plain(column, name)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    if is_text(column.type) or _is_number(column.type) or pa.types.is_null(column.type):
        return column.cast(pa.string())
    raise _unusable(name, column, "text or numbers")


def numbers(column: Column, name: str) -> Column:
    """Float64 of any kind of number; times become Unix seconds."""
    column = _plain(column, name)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        micros = column.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
        return pc.divide(micros.cast(pa.float64(), safe=False), 1e6)
    if _is_number(column.type) or pa.types.is_null(column.type):
        return column.cast(pa.float64(), safe=False)
    raise _unusable(name, column, "numbers")


def times(column: Column, name: str) -> tuple[Column, Bools]:
    """Times in microseconds UTC, and which are none: of timestamps, RFC 3339 texts or Unix seconds."""
    column = _plain(column, name)
    stored = pa.timestamp("us", "UTC")
    if pa.types.is_timestamp(column.type) or pa.types.is_null(column.type):
        unit = column.cast(pa.timestamp("us", getattr(column.type, "tz", None)), safe=False)
        return unit.cast(pa.int64()).cast(stored), np.zeros(len(column), bool)
    if is_text(column.type):
        read = [time_of(text) if text is not None else None for text in column.to_pylist()]
        values = pa.array(read, pa.int64())
    elif _is_number(column.type):
        seconds = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        sane = np.abs(np.nan_to_num(seconds, nan=np.inf, posinf=np.inf, neginf=np.inf)) < 1e11
        values = pa.array(np.where(sane, seconds, 0) * 1e6, mask=~sane).cast(pa.int64(), safe=False)
    else:
        raise _unusable(name, column, "timestamps, RFC 3339 texts or Unix seconds")
    given = ~null(column)
    return values.cast(stored), given & null(values)


def time_of(text: str) -> int | None:
    """Unix microseconds of an RFC 3339 text (UTC if it names no zone), or None."""
    try:
        read = datetime.fromisoformat(text)
        return round((read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp() * 1e6)
    except (ValueError, OverflowError):
        return None


def maps(columns: Mapping[str, Column], rows: int) -> tuple[Column, Column]:
    """Features by name: map columns of those that are numbers (a missing value is NaN) and of those that are text."""
    require_rows(rows, len(columns))
    plain = {name: _plain(column, f"features.{name}") for name, column in columns.items()}
    named = {name: column for name, column in plain.items() if is_text(column.type)}
    values, present = list[NDArray[np.float64]](), list[Bools]()
    for name, column in plain.items():
        if name in named:
            values.append(np.full(rows, np.nan))
            present.append(null(column))
        else:
            # The engine's NaN has one form, whatever the sender's was.
            values.append(_floats(numbers(column, f"features.{name}")))
            present.append(np.ones(rows, bool))
    return (
        _map(list(plain), [pa.array(column) for column in values], present, rows, pa.float64()),
        _map(
            list(named),
            [column.cast(pa.string()) for column in named.values()],
            [~null(column) for column in named.values()],
            rows,
            pa.string(),
        ),
    )


def number_maps(columns: Mapping[str, Column], rows: int, what: str) -> Column:
    """A map column of numbers by name; what is missing in a row is left out."""
    require_rows(rows, len(columns))
    read = {name: numbers(column, f"{what}.{name}") for name, column in columns.items()}
    return _map(list(read), list(read.values()), [~null(column) for column in read.values()], rows, pa.float64())


def members(table: pa.Table, name: str) -> dict[str, Column]:
    """The members of a struct column by name, {} where there is no such column. Raises MalformedTelemetry."""
    if name not in table.column_names or pa.types.is_null(table[name].type):
        return {}
    column = _array(table[name])
    if not pa.types.is_struct(column.type):
        raise MalformedTelemetry(f"{name} is {column.type}: send a struct with one member each")
    names = [field.name for field in column.type]
    if len(set(names)) < len(names):
        raise MalformedTelemetry(f"{name} has two members of one name")
    if long := [member for member in names if not member or len(member.encode()) > MAX_TEXT]:
        raise MalformedTelemetry(f"{name}: a name must have 1 to {MAX_TEXT} bytes, not {long[0][:80]!r}")
    return dict(zip(names, column.flatten(), strict=True))


def column_of(table: pa.Table, name: str) -> Column:
    """One column of a table in one piece; of nulls where it has none of that name."""
    return _array(table[name]) if name in table.column_names else pa.nulls(table.num_rows)


def null(column: Column) -> Bools:
    """Which values are missing."""
    return pc.is_null(column).to_numpy(zero_copy_only=False)


def is_text(type: pa.DataType) -> bool:
    """Whether a type holds text, plain or as a dictionary."""
    if pa.types.is_dictionary(type):
        return is_text(type.value_type)
    return pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_string_view(type)


def require_known(given: Sequence[str], known: Sequence[str], fix: str) -> None:
    """Raises MalformedTelemetry naming the fields that are not known."""
    if unknown := [name for name in given if name not in known]:
        shown = ", ".join(repr(name[:80]) for name in unknown[:5])
        raise MalformedTelemetry(f"unknown: {shown}. {fix}; known are {', '.join(known)}")


def _map(names: list[str], columns: list[Column], present: list[Bools], rows: int, items: pa.DataType) -> Column:
    """Row after row the columns' values under their names, without those that are not present."""
    if not (rows and columns):
        return pa.array([{}] * rows, pa.map_(pa.string(), items))
    width = len(columns)
    if all(column.all() for column in present):
        which, offsets = np.tile(np.arange(width, dtype=np.int32), rows), np.arange(0, rows * width + 1, width)
        chosen: Any = slice(None)
    else:
        there = np.stack(present, axis=1)
        which = np.broadcast_to(np.arange(width, dtype=np.int32), there.shape)[there]
        offsets = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
        chosen = there.ravel()
    if items == pa.float64():
        flat = pa.array(np.stack([_floats(column) for column in columns], axis=1).ravel()[chosen])
    else:
        order = (np.arange(width) * rows)[None, :] + np.arange(rows)[:, None]
        flat = pa.concat_arrays(columns).take(pa.array(order.ravel()[chosen]))
    keys = pa.array(names, pa.string()).take(pa.array(which, pa.int32()))
    starts: Any = pa.array(offsets, pa.int32())
    return pa.MapArray.from_arrays(starts, keys, flat)


def _plain(column: Column, name: str) -> Column:
    """Without dictionary; with text that is not too long to be written out row by row."""
    type = column.type
    if pa.types.is_dictionary(type):
        if is_text(type):
            _require_short(column.dictionary, name)
        return column.cast(pa.string() if is_text(type) else type.value_type)
    if pa.types.is_string_view(type):
        column = column.cast(pa.large_string())
    return column


def _require_short(column: Column, name: str) -> None:
    longest = pc.max(pc.binary_length(column.cast(pa.large_string()))).as_py() or 0
    if longest > MAX_TEXT:
        raise MalformedTelemetry(f"{name} holds a text of {longest} bytes: at most {MAX_TEXT}")


def _floats(column: Column) -> NDArray[np.float64]:
    return column.fill_null(np.nan).to_numpy(zero_copy_only=False)


def _is_number(type: pa.DataType) -> bool:
    return pa.types.is_integer(type) or pa.types.is_floating(type) or pa.types.is_decimal(type)


def _unusable(name: str, column: Column, wanted: str) -> MalformedTelemetry:
    return MalformedTelemetry(f"{name} is {column.type}: send {wanted}")


def _array(column: Column) -> Column:
    return column.combine_chunks()


def _shown(value: Any) -> str:
    return repr(value)[:80]
