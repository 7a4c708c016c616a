"""A file of records, whatever it is written in: JSON Lines, JSON, CSV, Parquet or SQLite, gzip'd or not.

In: a path. Out: its records one at a time with their places, those that cannot be read with the reason. Memory is that
of one record, or of one row group of Parquet.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import sqlite3
import sys
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

from assay.errors import AssayError

Container = Literal["jsonl", "json", "csv", "parquet", "sqlite"]

PIECE = 1 << 20


class Record(NamedTuple):
    """A record and its place: the line of a text, else the row. Without `data`, `reason` says why it is unreadable."""

    place: int
    data: dict[str, Any] | None
    reason: str = ""


class Source:
    """A file that is read once. Raises AssayError where it is none that can be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("rb")
            self._size = path.stat().st_size
            self.modified_ns = path.stat().st_mtime_ns // 10**9 * 10**9
        except OSError as error:
            raise AssayError(f"cannot read {path}: {error.strerror or error}") from None
        self._done = 0.0
        self.container: Container = self._recognised()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def fraction(self) -> float:
        """How much of the file has been read, 0 to 1."""
        if self.container in ("parquet", "sqlite"):
            return self._done
        return min(self._file.tell() / self._size, 1.0) if self._size else 1.0

    def records(self) -> Iterator[Record]:
        """The records in the order of the file. Raises AssayError where nothing of it can be read."""
        match self.container:
            case "parquet":
                return self._parquet()
            case "sqlite":
                return self._sqlite()
            case "csv":
                return _whole(self._csv())
            case "json":
                return _whole(_documents(self._text))
            case _:
                return _whole(self._json_lines())

    def _recognised(self) -> Container:
        start = self._file.peek(16)[:16]
        if start.startswith(b"PAR1"):
            return "parquet"
        if start.startswith(b"SQLite format 3"):
            return "sqlite"
        self._text = _text(self._file, start)
        self._first = self._text.readline()
        beginning = self._first.lstrip("\ufeff \t\r\n")
        while self._first and not beginning:
            self._first = self._text.readline()
            beginning = self._first.lstrip()
        self._first = beginning
        if beginning.startswith("["):
            return "json"
        if beginning.startswith("{"):
            return "json" if beginning.rstrip()[-1] in "{[,:" else "jsonl"
        if not beginning:
            raise AssayError(f"{self.path} is empty")
        if "PAR1" in beginning or (not beginning.isprintable() and "\0" in beginning):
            raise AssayError(f"{self.path} is no text, and neither Parquet nor SQLite: is it compressed twice?")
        return "csv"

    def _lines(self) -> Iterator[str]:
        yield self._first
        yield from self._text

    def _json_lines(self) -> Iterator[Record]:
        for number, line in enumerate(self._lines(), 1):
            if line.strip():
                yield _parsed(number, line)

    def _csv(self) -> Iterator[Record]:
        csv.field_size_limit(sys.maxsize)
        delimiter = max(",;\t", key=self._first.count)
        rows = csv.reader(self._lines(), delimiter=delimiter)
        header = next(rows)
        before = rows.line_num
        for row in rows:
            place, before = before + 1, rows.line_num
            if len(row) != len(header):
                reason = f"has {len(row)} columns where the header has {len(header)}"
                if row:
                    yield Record(place, None, reason)
            elif bad := next((value for value in row if _escaped(value)), None):
                yield Record(place, None, _not_utf8(bad))
            else:
                yield Record(place, dict(zip(header, row, strict=True)))

    def _parquet(self) -> Iterator[Record]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            file = pq.ParquetFile(self.path)
            number = 0
            for batch in file.iter_batches(batch_size=1000):
                for row in batch.to_pylist(maps_as_pydicts="strict"):
                    number += 1
                    yield Record(number, row)
                self._done = number / max(file.metadata.num_rows, 1)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0][:200]
            raise AssayError(
                f"{self.path} is no whole Parquet file ({reason}): was it copied to its end? What came before is stored"
            ) from None

    def _sqlite(self) -> Iterator[Record]:
        address = f"file:{quote(str(self.path.resolve()))}?mode=ro"
        try:
            with closing(sqlite3.connect(address, uri=True)) as database:
                database.row_factory = sqlite3.Row
                yield from self._conversations(database)
        except sqlite3.DatabaseError as error:
            raise AssayError(f"{self.path} cannot be read as SQLite: {error}") from None

    def _conversations(self, database: sqlite3.Connection) -> Iterator[Record]:
        tables = sorted(row["name"] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))
        if "conversations" not in tables:
            found = ", ".join(tables) or "none"
            raise AssayError(f"{self.path} has the tables {found}: expected the lab's conversations, quality_metrics")
        [count] = database.execute("SELECT count(*) FROM conversations").fetchone()
        metrics = "SELECT * FROM quality_metrics WHERE conversation_id = ? ORDER BY id DESC LIMIT 1"
        if "quality_metrics" in tables:
            database.execute("SELECT conversation_id FROM quality_metrics LIMIT 1")
        for number, row in enumerate(database.execute("SELECT * FROM conversations ORDER BY id"), 1):
            judged = database.execute(metrics, (row["id"],)).fetchone() if "quality_metrics" in tables else None
            yield Record(number, {**dict(row), "quality_metrics": dict(judged) if judged else {}})
            self._done = number / count


def _text(file: io.BufferedReader, start: bytes) -> io.TextIOWrapper:
    """The file as text, inflated. Bytes that are no UTF-8 become lone surrogates, which `_escaped` finds."""
    binary: Any = file
    if start.startswith(b"\x1f\x8b"):
        binary = gzip.GzipFile(fileobj=file)
        try:
            start = binary.peek(4)[:4]
        except (OSError, EOFError, zlib.error) as error:
            raise AssayError(f"cannot inflate {file.name}: {error}") from None
        if start.startswith((b"PAR1", b"SQLi")):
            raise AssayError(f"{file.name} holds a gzip'd binary file: gunzip it first")
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return io.TextIOWrapper(binary, "utf-16", errors="replace", newline="")
    return io.TextIOWrapper(binary, "utf-8", errors="surrogateescape", newline="")


def _whole(records: Iterator[Record]) -> Iterator[Record]:
    """The records, and where the file breaks off, a last one that says so."""
    place = 0
    try:
        for record in records:
            place = record.place
            yield record
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield Record(place + 1, None, f"the compressed file breaks off here ({error}): was it copied to its end?")
    except csv.Error as error:
        yield Record(place + 1, None, f"is no CSV from here on: {error}")


def _parsed(place: int, text: str) -> Record:
    if _escaped(text):
        return Record(place, None, _not_utf8(text))
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Record(place, None, f"is no JSON: {error}")
    return _object(place, data)


def _object(place: int, data: Any) -> Record:
    return Record(place, data) if isinstance(data, dict) else Record(place, None, "is no JSON object")


def _documents(text: io.TextIOWrapper) -> Iterator[Record]:
    """The objects of one JSON document, an array or an object; read as far as each needs."""
    text.seek(0)
    decoder, rest, number = json.JSONDecoder(), "", 0
    while True:
        rest = rest.lstrip("\ufeff \t\r\n,[")
        if rest.startswith("]"):
            return
        try:
            if not rest:
                raise json.JSONDecodeError("more is needed", rest, 0)
            data, end = decoder.raw_decode(rest)
        except (json.JSONDecodeError, RecursionError) as error:
            more = text.read(max(PIECE, len(rest)))
            if more and not isinstance(error, RecursionError):
                rest += more
                continue
            if rest:
                yield Record(number + 1, None, f"is no JSON from here on: {error}")
            return
        number += 1
        yield Record(number, None, _not_utf8(rest[:end])) if _escaped(rest[:end]) else _object(number, data)
        rest = rest[end:]


def _escaped(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _not_utf8(text: str) -> str:
    letter = next(letter for letter in text if "\udc80" <= letter <= "\udcff")
    return (
        f"is not UTF-8 (byte 0x{ord(letter) - 0xDC00:02x}): convert the file, for example with iconv -f latin1 -t utf-8"
    )
