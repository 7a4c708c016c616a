"""Rows of a JSON body as columns: each value is checked, and a row with one that cannot be taken is refused alone."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from assay.errors import MalformedTelemetry
from assay.ingest.arrow_columns import Refusals, Unusable, require_known, require_rows, time_of
from assay.store.rows import valid_unicode

JSON = "application/json"

Row = Mapping[str, Any]


def read_json(body: bytes, rows_name: str, common: Sequence[str], example: str) -> tuple[list[Any], dict[str, Any]]:
    """The rows of a body, and what it says once for all of them. Raises MalformedTelemetry."""
    read = _decoded(body)
    if isinstance(read, list):
        read = {rows_name: read}
    if not isinstance(read, dict) or not isinstance(read.get(rows_name), list):
        raise MalformedTelemetry(f"the body has no list {rows_name!r}: send {example}")
    rows = read.pop(rows_name)
    require_rows(len(rows))
    require_known(list(read), common, f"beside {rows_name!r} stands what all rows share")
    return rows, read


def columns(rows: Sequence[Any], kinds: Mapping[str, Kind], known: Sequence[str], refusals: Refusals) -> dict[str, Any]:
    """A column for each kind of field; null where a row does not say it, or is refused."""
    values: dict[str, list[Any]] = {name: [None] * len(rows) for name in kinds}
    for place, row in enumerate(rows):
        try:
            for name, value in _checked(row, known):
                if name in kinds and value is not None:
                    values[name][place] = kinds[name][0](value, name)
        except Unusable as error:
            refusals.refuse_one(place, error)
    return {name: pa.array(values[name], type) for name, (_, type) in kinds.items()}


def text(value: Any, name: str) -> str:
    """Text of text and of numbers; equal numbers (true, 1, 1.0) are equal texts."""
    if isinstance(value, str):
        return valid_unicode(value) if not value.isascii() else value
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, int):
        return str(value)
    raise Unusable(name, f"{_shown(value)} is neither text nor a number")


def number(value: Any, name: str) -> float:
    """A float of a number."""
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            pass
    raise Unusable(name, f"{_shown(value)} is no number")


def whole(value: Any, name: str) -> int:
    """An unsigned number of 64 bits."""
    if isinstance(value, int) and 0 <= value < 1 << 64:
        return value
    raise Unusable(name, f"{_shown(value)} is no whole number of 64 bits")


def flag(value: Any, name: str) -> bool:
    """True or false."""
    if isinstance(value, bool):
        return value
    raise Unusable(name, f"{_shown(value)} is neither true nor false")


def time(value: Any, name: str) -> int:
    """Unix microseconds of RFC 3339 text or Unix seconds."""
    if isinstance(value, str) and (read := time_of(value)) is not None:
        return read
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and abs(value) < 1e11:
        return round(value * 1e6)
    raise Unusable(name, f"{_shown(value)} is no time: send RFC 3339 (2026-11-25T08:00:00Z) or Unix seconds")


Kind = tuple[Callable[[Any, str], Any], pa.DataType]

TEXT: Kind = (text, pa.string())
NUMBER: Kind = (number, pa.float64())
WHOLE: Kind = (whole, pa.uint64())
FLAG: Kind = (flag, pa.bool_())
TIME: Kind = (time, pa.timestamp("us", "UTC"))


def _checked(row: Any, known: Sequence[str]) -> Any:
    if not isinstance(row, dict):
        raise Unusable("", f"{_shown(row)} is no object")
    for name in row:
        if name not in known:
            raise Unusable(str(name)[:80], f"is not known: a row has {', '.join(known)}")
    return row.items()


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        problem = error
    try:
        # Python's own writes NaN and Infinity, which JSON does not have.
        return json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedTelemetry(f"the body is no JSON: {problem}") from None


def _shown(value: Any) -> str:
    return repr(value)[:80]
