"""Calls as files: CSV, JSON Lines or Parquet, streamed from the engine so that size does not matter.

One row a counted call, its scores as columns of their own. Read day by day, so that joining the scores
needs the memory of a day.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import IO, Any, Literal, NamedTuple, cast, get_args

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from clickhouse_connect.driver.binding import format_str, quote_identifier

from assay.analytics.selection import Selection
from assay.errors import AssayError
from assay.store.connect import Store
from assay.store.scores import SHOWN_FIRST
from assay.store.spans import TOTAL_TOKENS

Format = Literal["csv", "jsonl", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)

MEDIA_TYPES: dict[Format, str] = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}


class _Column(NamedTuple):
    name: str
    type: pa.DataType
    sql: str
    free_text: bool = False


def _texts(*names: str) -> tuple[_Column, ...]:
    return tuple(_Column(name, pa.string(), name, free_text=True) for name in names)


def _numbers(type: pa.DataType, *names: str) -> tuple[_Column, ...]:
    return tuple(_Column(name, type, name) for name in names)


_COLUMNS: tuple[_Column, ...] = (
    _Column("started_at", pa.timestamp("us", "UTC"), "started_at"),
    *_texts("span_id", "trace_id", "project", "environment", "service", "session_id", "user_id"),
    *_texts("kind", "provider", "model"),
    *_numbers(pa.float64(), "temperature"),
    *_texts("system", "prompt", "response"),
    *_numbers(pa.int64(), "input_tokens", "output_tokens", "cache_read_tokens", "reasoning_tokens"),
    _Column("total_tokens", pa.int64(), TOTAL_TOKENS),
    *_numbers(pa.float64(), "cost_usd", "latency_ms", "time_to_first_token_ms"),
    *_texts("status", "error_type", "error_message", "finish_reason"),
)


def export(store: Store, selection: Selection, format: str) -> Iterator[bytes]:
    """The file's bytes, piece by piece. Raises AssayError for an unknown format before the first piece.

    In CSV a text that a spreadsheet would take for a formula (first character = + - @, tab or carriage
    return) gets a leading apostrophe; the other formats hold texts unchanged.
    """
    if format not in FORMATS:
        raise AssayError(f"cannot export {format!r}: choose one of {', '.join(FORMATS)}")
    columns = (*_COLUMNS, *_score_columns(store, selection))
    queries = _daily_queries(store, selection, columns, format)
    if format == "parquet":
        return _parquet(store, queries, columns)
    return _lines(store, queries, columns, format)


def _score_columns(store: Store, selection: Selection) -> Iterator[_Column]:
    where, parameters = selection.of_scores()
    rows = store.query(f"SELECT DISTINCT name FROM scores WHERE {where} ORDER BY name", parameters)
    taken = {column.name for column in _COLUMNS}
    for row in rows:
        name = row["name"]
        while name in taken:
            name = f"score_{name}"
        taken.add(name)
        key = format_str(row["name"])
        yield _Column(name, pa.float64(), f"if(mapContains(verdicts, {key}), verdicts[{key}], NULL)")


def _daily_queries(
    store: Store, selection: Selection, columns: tuple[_Column, ...], format: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    where, parameters = selection.of_calls()
    days = store.query(f"SELECT DISTINCT toDate(started_at) AS day FROM spans WHERE {where} ORDER BY day", parameters)
    selected = ", ".join(f"{_expression(column, format)} AS {quote_identifier(column.name)}" for column in columns)
    for row in days:
        where, parameters = _within_day(selection, row["day"]).of_calls()
        parameters["day"] = row["day"].isoformat()
        sql = f"""
            SELECT {selected} FROM (SELECT *, model FROM spans FINAL WHERE {where}) AS calls
            LEFT JOIN (
                SELECT target, mapFromArrays(groupArray(name), groupArray(value)) AS verdicts
                FROM (
                    SELECT target, name, argMax(tuple(value), {SHOWN_FIRST}).1 AS value FROM scores FINAL
                    WHERE toDate(started_at) = {{day:Date}} GROUP BY target, name
                )
                WHERE value IS NOT NULL GROUP BY target
            ) AS scored ON scored.target = calls.span_id
            ORDER BY calls.started_at, calls.span_id
            SETTINGS prefer_column_name_to_alias = 1, format_csv_null_representation = '',
                output_format_json_quote_64bit_integers = 0
            """
        yield sql, parameters


def _within_day(selection: Selection, day: date) -> Selection:
    start = datetime.combine(day, time(), UTC)
    end = start + timedelta(days=1)
    since = max(filter(None, (selection.since, start)))
    until = min(filter(None, (selection.until, end)))
    return msgspec.structs.replace(selection, since=since, until=until)


def _expression(column: _Column, format: str) -> str:
    if format == "parquet":
        return column.sql
    if pa.types.is_timestamp(column.type):
        return f"formatDateTime({column.sql}, '%Y-%m-%dT%H:%i:%S.%fZ')"
    if format == "csv" and column.free_text:
        return rf"if(match({column.sql}, '^[=+\\-@\\t\\r]'), concat('\'', {column.sql}), {column.sql})"
    return column.sql


def _lines(
    store: Store, queries: Iterator[tuple[str, dict[str, Any]]], columns: tuple[_Column, ...], format: str
) -> Iterator[bytes]:
    if format == "csv":
        header = io.StringIO()
        csv.writer(header, lineterminator="\n").writerow(column.name for column in columns)
        yield header.getvalue().encode()
    for sql, parameters in queries:
        yield from store.stream(sql, parameters, "CSV" if format == "csv" else "JSONEachRow")


def _parquet(
    store: Store, queries: Iterator[tuple[str, dict[str, Any]]], columns: tuple[_Column, ...]
) -> Iterator[bytes]:
    schema = pa.schema([(column.name, column.type) for column in columns])
    sink = _Sink()
    with pq.ParquetWriter(cast("IO[bytes]", sink), schema, compression="zstd") as writer:
        for sql, parameters in queries:
            for block in store.stream_blocks(sql, parameters):
                arrays = [pa.array(block[field.name], field.type) for field in schema]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
                yield sink.taken()
    yield sink.taken()


class _Sink(io.RawIOBase):
    """A file that is only ever appended to, and gives away what was written."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        self._written += len(self._pieces[-1])
        return len(self._pieces[-1])

    def taken(self) -> bytes:
        """What was written since the last time."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data
