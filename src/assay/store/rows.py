"""Records to Arrow: a list of Spans or Scores becomes a table whose columns are the record's fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_origin, get_type_hints

import msgspec
import pyarrow as pa

from assay.records import UnixMicros

_ARROW_TYPES: dict[Any, pa.DataType] = {
    str: pa.string(),
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    UnixMicros: pa.timestamp("us", "UTC"),
    bool | None: pa.bool_(),
    int | None: pa.int64(),
    float | None: pa.float64(),
    dict[str, str]: pa.map_(pa.string(), pa.string()),
    dict[str, float]: pa.map_(pa.string(), pa.float64()),
}


def arrow_schema(record: type[msgspec.Struct]) -> pa.Schema:
    """The Arrow schema of a record type: field for field, in order."""
    hints = get_type_hints(record, include_extras=True)
    return pa.schema([(name, _arrow_type(hints[name])) for name in record.__struct_fields__])


def arrow_table(rows: Sequence[msgspec.Struct], schema: pa.Schema) -> pa.Table:
    """Rows as columns. Text that is no valid Unicode (lone surrogates) is stored with U+FFFD in its place."""
    columns = zip(*map(msgspec.structs.astuple, rows), strict=True) if rows else [()] * len(schema)
    return pa.Table.from_arrays([_column(*column) for column in zip(columns, schema, strict=True)], schema=schema)


def stamped(rows: pa.Table, at: int, *, ingested_at: int | None = None) -> pa.Table:
    """Rows with the time of their commit, which is also their version: a later row replaces an earlier.

    With `ingested_at` 0 they are history: no follower ever takes them for new.
    """
    count = rows.num_rows
    moment = pa.repeat(pa.scalar(at if ingested_at is None else ingested_at, pa.timestamp("us", "UTC")), count)
    return rows.append_column("ingested_at", moment).append_column(
        "version", pa.repeat(pa.scalar(at, pa.uint64()), count)
    )


def valid_unicode(text: str) -> str:
    """The text with U+FFFD for every lone surrogate, which UTF-8 cannot hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _arrow_type(hint: Any) -> pa.DataType:
    return pa.string() if get_origin(hint) is Literal else _ARROW_TYPES[hint]


def _column(values: Sequence[Any], field: pa.Field[Any]) -> pa.Array[Any]:
    build = _map_array if pa.types.is_map(field.type) else pa.array
    try:
        return build(values, field.type)
    except UnicodeEncodeError:
        return build([_storable(value) for value in values], field.type)


def _map_array(values: Sequence[dict[str, Any]], type: Any) -> pa.Array[Any]:
    offsets, keys, items = [0], list[str](), list[Any]()
    for value in values:
        keys += value
        items += value.values()
        offsets.append(len(keys))
    map_array: Any = pa.MapArray  # the stubs do not know the `type` argument
    return map_array.from_arrays(offsets, pa.array(keys, pa.string()), pa.array(items, type.item_type), type)


def _storable(value: Any) -> Any:
    if isinstance(value, dict):
        return {valid_unicode(k): _storable(v) for k, v in value.items()}
    return valid_unicode(value) if isinstance(value, str) else value
