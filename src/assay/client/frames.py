"""What goes into a model and what comes out of it as columns, of whatever library, and copies that stay as they are.

Nothing is imported here that an application may not have: libraries are known by what their objects can do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MAX_FEATURES = 2_000
"""More are pixels or word counts, which nobody reads by name."""

Columns = dict[str, Any]
"""Columns of equal length by name: lists, numpy arrays, or series of pandas, polars or Arrow."""


class NotLoggable(Exception):
    """What a model took or gave is no table of rows; the message says what it is and what to do."""


def copied(value: Any) -> Any:
    """A copy that stays as it is when the application changes its own. What cannot change is not copied."""
    if _is_dict(value):
        return {name: copied(item) for name, item in value.items()}
    if _is_list(value):
        return _copied_list(value)
    if _is_unchanging(value):
        return value
    copy = getattr(value, "copy", None) or getattr(value, "clone", None)
    return copy() if callable(copy) else value


def _copied_list(items: Iterable[Any]) -> list[Any]:
    first = next(iter(items), None)
    if _is_dict(first):
        return [dict(row) for row in items]
    if _is_list(first):
        return [list(row) for row in items]
    return [copied(item) for item in items] if _is_array(first) else list(items)


def same(one: Any, other: Any) -> bool:
    """Whether two copies hold the same."""
    if type(one) is not type(other):
        return False
    try:
        if hasattr(one, "equals"):
            return bool(one.equals(other))
        if hasattr(one, "tobytes"):
            return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()
        return bool(one == other)
    except Exception:
        return False


def row_count(value: Any) -> int:
    """How many rows an input has; 1 where it is a single one."""
    if _is_dict(value):
        sizes = {len(item) for item in value.values() if not is_scalar(item)}
        return max(sizes, default=1)
    shape = getattr(value, "shape", None)
    if shape is not None:
        return int(shape[0]) if len(shape) > 1 else 1
    if _is_list(value) and value and not is_scalar(value[0]):
        return len(value)
    return int(value.num_rows) if hasattr(value, "num_rows") else 1


def size_of(value: Any) -> int:
    """About how many bytes a copy takes."""
    for name in ("nbytes", "estimated_size"):
        told: Any = getattr(value, name, None)
        if callable(told):
            told = told()
        if isinstance(told, int | float):
            return int(told)
    if hasattr(value, "memory_usage"):
        return int(value.memory_usage(index=False).sum())
    if _is_dict(value):
        return sum(map(size_of, value.values()))
    if _is_list(value) and value:
        return len(value) * (32 if is_scalar(value[0]) else size_of(value[0]) + 64)
    return 64


def features(given: Any, rows: int, names: Sequence[str] | None) -> Columns:
    """The columns of `rows` rows of input; `names` are those of its columns where it has none of its own.

    Raises NotLoggable for what is no table, is ragged, or has another number of columns than there are names.
    """
    columns = _named(given, rows, names)
    if columns is None:
        columns = _numbered(given, rows, names)
    if len(columns) > MAX_FEATURES:
        raise NotLoggable(f"{len(columns)} features are more than {MAX_FEATURES}: log a model with features by name")
    for name, column in columns.items():
        if len(column) != rows:
            raise NotLoggable(f"feature {name!r} has {len(column)} values for {rows} predictions")
    return columns


def _named(given: Any, rows: int, names: Sequence[str] | None) -> Columns | None:
    """Of what names its columns itself; None for anything else."""
    if _is_dict(given):
        table: Mapping[Any, Any] = given
        return {str(name): [item] if is_scalar(item) else item for name, item in table.items()}
    if _is_list(given) and given and _is_dict(given[0]):
        return _of_dicts(given)
    if hasattr(given, "iloc") and hasattr(given, "columns"):  # pandas
        known = [str(name) for name in given.columns]
        return _unique(known, [given.iloc[:, place] for place in range(len(known))])
    if hasattr(given, "get_columns") and hasattr(given, "columns"):  # polars
        return dict(zip(given.columns, given.get_columns(), strict=True))
    if hasattr(given, "column_names") and hasattr(given, "column"):  # Arrow
        return _unique(list(given.column_names), [given.column(place) for place in range(given.num_columns)])
    if hasattr(given, "iloc") and hasattr(given, "items") and rows == 1 and names is None:  # a row of a pandas frame
        return {str(name): [item] for name, item in given.items()}
    if getattr(getattr(given, "dtype", None), "names", None):  # a structured array
        return {name: given[name] for name in given.dtype.names}
    return None


def _numbered(given: Any, rows: int, names: Sequence[str] | None) -> Columns:
    """Of a table without names."""
    columns = _columns(given, rows)
    if names is None:
        names = [f"f{place}" for place in range(len(columns))]
    if len(names) != len(columns):
        raise NotLoggable(f"{len(columns)} features came where {len(names)} are named: give feature_names= anew")
    return _unique([str(name) for name in names], columns)


def _columns(given: Any, rows: int) -> list[Any]:
    if hasattr(given, "toarray"):  # sparse
        if given.shape[1] > MAX_FEATURES:
            raise NotLoggable(f"{given.shape[1]} features are more than {MAX_FEATURES}")
        given = given.toarray()
    elif not _is_list(given) and hasattr(given, "__array__"):
        import numpy as np

        given = np.asarray(given)
    if hasattr(given, "ndim"):
        if given.ndim == 2:
            return [given[:, place] for place in range(given.shape[1])]
        if given.ndim == 1:
            return [[item] for item in given.tolist()] if rows == 1 else [given]
        if given.ndim == 0:
            return [[given.item()]]
        raise NotLoggable(f"an input of {given.ndim} dimensions is no table of features")
    if is_scalar(given):
        return [[given]]
    if not _is_list(given):
        raise NotLoggable(f"{type(given).__module__}.{type(given).__qualname__} is no table of features that is known")
    listed: list[Any] = given
    if not listed or is_scalar(listed[0]):
        return [[item] for item in listed] if rows == 1 else [listed]
    try:
        return [list(column) for column in zip(*listed, strict=True)]
    except (TypeError, ValueError):
        raise NotLoggable("rows of different lengths are no table: give each row all features") from None


def _of_dicts(given: Sequence[Mapping[Any, Any]]) -> Columns:
    names = dict.fromkeys(name for row in given for name in row)
    return {str(name): [row.get(name) for row in given] for name in names}


def _unique(names: Sequence[str], columns: Sequence[Any]) -> Columns:
    table = dict(zip(names, columns, strict=True))
    if len(table) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise NotLoggable(f"two features are called {twice!r}: give feature_names= that differ")
    return table


def results(given: Any) -> Any:
    """One answer a row, as a list or an array, of a batch or of a single row. Raises NotLoggable."""
    if is_scalar(given):
        return [given]
    if getattr(given, "ndim", None) == 0:
        return [given.item()]
    if hasattr(given, "to_numpy"):  # a series, a frame of one column
        given = given.to_numpy()
    if getattr(given, "ndim", 1) == 2 and given.shape[1] == 1:
        given = given[:, 0]
    listed = _is_list(given)
    if getattr(given, "ndim", 0) == 1 or (listed and all(map(is_scalar, given))):
        return given
    raise NotLoggable(f"{_described(given)} is not one prediction a row: a model with several outputs is not logged")


def shares(given: Any, *, single: bool) -> list[Any]:
    """Columns of probabilities, one a class, or the one column of a model that tells the second class's alone.

    `single` says that the input was one row. Raises NotLoggable.
    """
    if hasattr(given, "to_numpy"):
        given = given.to_numpy()
    if is_scalar(given):
        return [[given]]
    if _is_list(given) and given and not _is_array(given[0]):
        if not is_scalar(given[0]):
            return [list(column) for column in zip(*given, strict=True)]
        return [[share] for share in given] if single and len(given) > 1 else [given]
    dimensions = getattr(given, "ndim", None)
    if dimensions == 1:
        return [[share] for share in given.tolist()] if single and len(given) > 1 else [given]
    if dimensions != 2:
        raise NotLoggable(f"{_described(given)} is no table of probabilities with a column a class")
    return [given[:, place] for place in range(given.shape[1])]


def _described(given: Any) -> str:
    shape = getattr(given, "shape", None)
    return f"{type(given).__qualname__}{f' of shape {tuple(shape)}' if shape is not None else ''}"


def is_scalar(value: Any) -> bool:
    """Whether a value is one number, text, time or nothing."""
    if value is None or isinstance(value, str | bytes | int | float):
        return True
    return (hasattr(value, "item") and getattr(value, "ndim", None) == 0) or hasattr(value, "isoformat")


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _is_array(value: Any) -> bool:
    return hasattr(value, "dtype") and hasattr(value, "shape")


def _is_unchanging(value: Any) -> bool:
    polars_or_arrow = hasattr(value, "get_columns") or (hasattr(value, "column_names") and hasattr(value, "num_rows"))
    return polars_or_arrow or is_scalar(value)
