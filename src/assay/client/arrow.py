"""Columns as Arrow arrays of few types: float64, int64 or text.

Made from buffers, for `pyarrow.array` imports pandas, and a program that has not done so shall not pay for it.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Any


def arrow_array(pa: Any, column: Any) -> Any:
    """A column of any library; a missing number is NaN. Raises TypeError or OverflowError for what has no such type."""
    if hasattr(column, "to_arrow"):  # polars
        return _of_few_types(pa, column.to_arrow())
    if hasattr(column, "iloc"):  # pandas, which is imported then
        return _of_few_types(pa, pa.array(column, from_pandas=True))
    if hasattr(column, "combine_chunks"):
        return _of_few_types(pa, column)
    kind = getattr(getattr(column, "dtype", None), "kind", "")
    if kind in ("f", "i", "b"):
        made = column.astype("<f8" if kind == "f" else "<i8", order="C")
        return _of_buffer(pa, pa.float64() if kind == "f" else pa.int64(), made)
    return _of_list(pa, column.tolist() if hasattr(column, "tolist") else list(column))


def _of_list(pa: Any, values: Sequence[Any]) -> Any:
    if all(type(value) is int for value in values):
        return _of_buffer(pa, pa.int64(), array("q", values))
    try:
        return _of_buffer(pa, pa.float64(), array("d", [math.nan if value is None else value for value in values]))
    except TypeError:
        pass
    if all(isinstance(value, str) for value in values):
        return _of_texts(pa, values)
    if not all(value is None or isinstance(value, str) or value != value for value in values):
        raise TypeError("values of several types, or of one that Arrow is not given")
    builder = pa.lib.StringBuilder()
    builder.append_values([value if isinstance(value, str) else None for value in values])
    return builder.finish()


def _of_texts(pa: Any, values: Sequence[str]) -> Any:
    encoded = [value.encode(errors="replace") for value in values]
    ends = array("q", accumulate(map(len, encoded), initial=0))
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.large_string(), len(values), buffers).cast(pa.string())


def _of_buffer(pa: Any, type: Any, values: Any) -> Any:
    return pa.Array.from_buffers(type, len(values), [None, pa.py_buffer(values)])


def _of_few_types(pa: Any, made: Any) -> Any:
    if hasattr(made, "combine_chunks"):
        made = made.combine_chunks()
    if pa.types.is_dictionary(made.type):
        made = made.cast(made.type.value_type)
    if pa.types.is_large_string(made.type) or pa.types.is_string_view(made.type):
        return made.cast(pa.string())
    if pa.types.is_boolean(made.type):
        made = made.cast(pa.uint8())
    if pa.types.is_integer(made.type) or pa.types.is_floating(made.type) or pa.types.is_null(made.type):
        return made.cast(pa.float64(), safe=False)
    return made
