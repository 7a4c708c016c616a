"""Calls as files: CSV, JSON Lines or Parquet, streamed from the engine so that size does not matter.

Read in slices of time with a bounded number of rows each, so that sorting them and joining their scores takes the
memory of a slice. Rows are in the order of their starts.
"""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice, pairwise
from typing import IO, Any, Literal, NamedTuple, TypeVar, cast, get_args

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from clickhouse_connect.driver.binding import quote_identifier

from assay.analytics.selection import LATENCIES, Selection
from assay.errors import AssayError
from assay.records import FILTERS
from assay.reports.columns import ALL, SCHEMA_VERSION, Column, chosen_columns
from assay.store.connect import Store

Format = Literal["csv", "jsonl", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)

MEDIA_TYPES: dict[Format, str] = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}

SLICE_ROWS: dict[Format, int] = {"parquet": 3_000, "jsonl": 2_000, "csv": 2_000}
"""More are read quicker, fewer take less memory; of 2 kB of text each, either way less than 300 MB."""

READ_AHEAD = 2
STEP_MICROS = 600 * 10**6

Read = TypeVar("Read")

Slice = tuple[int, int]
"""Starts in [first, last), Unix microseconds."""


class Export(NamedTuple):
    """A file to be: what it says of itself, and its bytes, piece by piece."""

    facts: dict[str, Any]
    pieces: Iterator[bytes]


def export(store: Store, selection: Selection, format: str, columns: str = ALL) -> Export:
    """The selected calls as a file; with `all` columns also the other spans of their traces, counted or not.

    Raises AssayError for an unknown format or column before the first piece. In CSV a text that a spreadsheet would
    take for a formula gets a leading apostrophe (`disarmed`); the other formats hold texts unchanged.
    """
    if format not in FORMATS:
        raise AssayError(f"cannot export {format!r}: choose one of {', '.join(FORMATS)}")
    chosen = chosen_columns(store, columns, *selection.of_scores())
    where, parameters = selection.of_traces() if columns.strip() == ALL else selection.of_calls()
    facts = {
        "schema_version": SCHEMA_VERSION,
        "format": format,
        "columns": [column.name for column in chosen],
        **{bound: _shown(getattr(selection, bound)) for bound in ("since", "until")},
        "filters": {name: value for name in (*FILTERS, *LATENCIES, "tags") if (value := getattr(selection, name))},
    }
    slices = _slices(store, where, parameters, SLICE_ROWS[format])
    queries = (_query(chosen, where, parameters, slice, format) for slice in slices)
    if format == "parquet":
        return Export(facts, _parquet(store, queries, chosen, facts))
    return Export(facts, _lines(store, queries, chosen, format))


def _shown(moment: Any) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment else None


def _slices(store: Store, where: str, parameters: dict[str, Any], most: int) -> Iterator[Slice]:
    """Ranges of time that hold at most about `most` rows each, oldest first."""
    steps = store.query(
        f"SELECT toUnixTimestamp(toStartOfTenMinutes(started_at)) AS step, count() AS rows FROM spans WHERE {where}"
        " GROUP BY step ORDER BY step",
        parameters,
    )
    first = last = held = 0
    for row in steps:
        step, rows = row["step"] * 10**6, row["rows"]
        if held and held + rows > most:
            yield first, last
            held = 0
        if rows > most:
            yield from _parts(step, -(-rows // most))
            continue
        first, last, held = first if held else step, step + STEP_MICROS, held + rows
    if held:
        yield first, last


def _parts(step: int, count: int) -> Iterator[Slice]:
    bounds = [step + STEP_MICROS * n // count for n in range(count + 1)]
    yield from pairwise(bounds)


def _query(
    columns: Sequence[Column], where: str, parameters: dict[str, Any], slice: Slice, format: str
) -> tuple[str, dict[str, Any]]:
    selected = ", ".join(f"{_expression(column, format)} AS {quote_identifier(column.name)}" for column in columns)
    sql = f"""
        SELECT {selected} FROM (SELECT *, model FROM spans FINAL WHERE ({where}) AND {_IN_SLICE}) AS calls
        {_joined(columns)}
        ORDER BY calls.started_at, calls.span_id, calls.project, calls.trace_id
        SETTINGS prefer_column_name_to_alias = 1, format_csv_null_representation = '',
            output_format_json_quote_64bit_integers = 0, date_time_output_format = 'iso',
            output_format_arrow_compression_method = 'none', max_threads = 1
        """
    return sql, parameters | {"slice_first": slice[0], "slice_last": slice[1]}


_IN_SLICE = """started_at >= fromUnixTimestamp64Micro({slice_first:Int64})
            AND started_at < fromUnixTimestamp64Micro({slice_last:Int64})"""


def _joined(columns: Sequence[Column]) -> str:
    """The scores of the slice's spans: all verdicts, or of each name the value that is shown."""
    wanted = dict.fromkeys(aggregate for column in columns if (aggregate := column.of_scores))
    if not wanted:
        return ""
    return f"""LEFT JOIN (
            SELECT project, target, {", ".join(wanted)} FROM scores FINAL WHERE {_IN_SLICE} GROUP BY project, target
        ) AS scored ON scored.target = calls.span_id AND scored.project = calls.project"""


def _expression(column: Column, format: str) -> str:
    if format == "csv" and pa.types.is_nested(column.type):
        return f"toJSONString({column.sql})"
    return disarmed(column.sql) if format == "csv" and column.text else column.sql


def disarmed(sql: str) -> str:
    """The text with an apostrophe before it, if it begins as a formula does in some spreadsheet, or with an apostrophe.

    Taking one leading apostrophe away gives the text back, whatever it was.
    """
    formula = r"^[\'=+\\-@\\t\\r\\n\\x{FF1D}\\x{FF0B}\\x{FF0D}\\x{FF20}]"
    return rf"if(match({sql}, '{formula}'), concat('\'', {sql}), {sql})"


def _lines(
    store: Store, queries: Iterator[tuple[str, dict[str, Any]]], columns: Sequence[Column], format: str
) -> Iterator[bytes]:
    if format == "csv":
        header = io.StringIO()
        csv.writer(header, lineterminator="\n").writerow(column.name for column in columns)
        yield header.getvalue().encode()
    written = "CSV" if format == "csv" else "JSONEachRow"
    for pieces in _ahead(partial(_streamed, store, sql, parameters, written) for sql, parameters in queries):
        yield from pieces


def _streamed(store: Store, sql: str, parameters: dict[str, Any], format: str) -> list[bytes]:
    return list(store.stream(sql, parameters, format))


def _parquet(
    store: Store, queries: Iterator[tuple[str, dict[str, Any]]], columns: Sequence[Column], facts: dict[str, Any]
) -> Iterator[bytes]:
    told: Any = {"assay": msgspec.json.encode(facts)}
    schema = pa.schema([(column.name, column.type) for column in columns], metadata=told)
    sink = _Sink()
    tables = _ahead(partial(store.arrow, sql, parameters) for sql, parameters in queries)
    small: Any = [column.name for column in columns if column.small]
    with pq.ParquetWriter(cast("IO[bytes]", sink), schema, compression="zstd", use_dictionary=small) as writer:
        for table in tables:
            writer.write_table(table.cast(schema))
            yield sink.taken()
    yield sink.taken()


def _ahead(questions: Iterator[Callable[[], Read]]) -> Iterator[Read]:
    """The answers in order, with the next ones under way while one is worked on: the engine reads while we write.

    Each is read by one of the engine's threads: two slices at a time keep two cores busier than one slice by two.
    """
    threads = ThreadPoolExecutor(READ_AHEAD, "assay-export")
    try:
        under_way = deque(threads.submit(question) for question in islice(questions, READ_AHEAD))
        while under_way:
            read = under_way.popleft().result()
            under_way.extend(threads.submit(question) for question in islice(questions, 1))
            yield read
    finally:
        threads.shutdown(cancel_futures=True)


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
