"""Readers at work: one in this process, and under load further ones in processes of their own.

Reading holds the interpreter's lock, so one process reads on one core, however many threads it has. Another process
is started when the readers have been busy for most of `WINDOW_SECONDS`, and stays; a quiet server has none.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import pyarrow as pa

from assay.config import Price
from assay.errors import StoreUnavailable
from assay.ingest.batch import Batch, Request
from assay.ingest.pricing import Prices
from assay.ingest.reader import Reader
from assay.processes import ProcessEnded, RemoteObject

MOST_PROCESSES = 3
"""More would read faster than one store takes rows."""

WINDOW_SECONDS = 1.0
BUSY_SHARE = 0.7

log = logging.getLogger(__name__)


class Settings(NamedTuple):
    """What a reader needs to know: prices of one's own by model, and how far from now a span may start."""

    own_prices: Mapping[str, Price]
    max_future_seconds: float


class Takes(Protocol):
    """What reads one request at a time."""

    def take(self, request: Request) -> tuple[Batch, list[str]]: ...


class Readers:
    """A reader here and up to `processes` reading processes. `take` from any thread, `close` at the end."""

    def __init__(self, settings: Settings, processes: int | None = None) -> None:
        self._settings = settings
        self._unstarted = min((os.cpu_count() or 1) - 1, MOST_PROCESSES) if processes is None else processes
        self.at_once = 1 + self._unstarted
        # The last is taken first: processes, which leave this one to the writer, before the reader here.
        self._idle: list[Takes] = [_reader(settings)]
        self._processes = list[ReaderProcess]()
        self._changed = threading.Condition()
        self._closed = False
        self._busy_seconds, self._busy_since = 0.0, time.monotonic()

    @property
    def process_ids(self) -> list[int]:
        """Of the processes that read."""
        with self._changed:
            return [process.pid for process in self._processes]

    def take(self, request: Request) -> tuple[Batch, list[str]]:
        """As Reader.take, as soon as a reader is free. Raises StoreUnavailable when a process ended over it."""
        with self._one() as reader:
            return reader.take(request)

    def close(self) -> None:
        """End the processes."""
        with self._changed:
            self._closed = True
            ending, self._processes = self._processes, []
            self._idle = [reader for reader in self._idle if reader not in ending]
        for process in ending:
            process.close()

    @contextmanager
    def _one(self) -> Generator[Takes]:
        with self._changed:
            self._changed.wait_for(lambda: self._idle)
            reader = self._idle.pop()
        began, ended = time.monotonic(), False
        try:
            yield reader
        except StoreUnavailable as error:
            ended = True
            log.error("%s", error)
            raise
        finally:
            with self._changed:
                if ended:
                    self._bury(reader)
                else:
                    self._free(reader)
                self._start_another_if_busy(time.monotonic() - began)

    def _free(self, reader: Takes) -> None:
        self._idle.insert(len(self._idle) if isinstance(reader, ReaderProcess) else 0, reader)
        self._changed.notify()

    def _bury(self, reader: Takes) -> None:
        if isinstance(reader, ReaderProcess) and reader in self._processes:
            self._processes.remove(reader)
            self._unstarted += 1
            reader.close()

    def _start_another_if_busy(self, seconds: float) -> None:
        self._busy_seconds += seconds
        passed = time.monotonic() - self._busy_since
        if passed >= WINDOW_SECONDS:
            busy = self._busy_seconds > BUSY_SHARE * passed * (1 + len(self._processes))
            self._busy_seconds, self._busy_since = 0.0, time.monotonic()
            if busy and self._unstarted and not self._closed:
                self._unstarted -= 1
                threading.Thread(target=self._start, name="assay-reader-start", daemon=True).start()

    def _start(self) -> None:
        try:
            process = ReaderProcess(self._settings)
        except (OSError, StoreUnavailable) as error:
            log.error("reading goes on without another process: %s", error)
            return
        with self._changed:
            if self._closed:
                process.close()
            else:
                self._processes.append(process)
                self._free(process)


class ReaderProcess:
    """A Reader in a process of its own, which ends with this one. `take` from one thread at a time.

    Raises StoreUnavailable where the process cannot be started or has ended.
    """

    def __init__(self, settings: Settings) -> None:
        with _unavailable():
            self._remote = RemoteObject(_SendingReader, settings)

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._remote.pid

    def take(self, request: Request) -> tuple[Batch, list[str]]:
        """As Reader.take."""
        with _unavailable():
            tables, refused = self._remote.ask("take", request)
        empty = Batch(request).tables
        return Batch(request, *(_table(data, like.schema) for data, like in zip(tables, empty, strict=True))), refused

    def close(self) -> None:
        """End the process."""
        self._remote.close()


@contextmanager
def _unavailable() -> Generator[None]:
    try:
        yield
    except ProcessEnded as error:
        raise StoreUnavailable(f"reading {error}: send this again") from None


def _reader(settings: Settings) -> Reader:
    return Reader(Prices(settings.own_prices), settings.max_future_seconds)


class _SendingReader:
    """A Reader whose batches are bytes, to be sent to another process."""

    def __init__(self, settings: Settings) -> None:
        self._reader = _reader(settings)

    def take(self, request: Request) -> tuple[list[bytes], list[str]]:
        batch, refused = self._reader.take(request)
        return [_bytes(table) for table in batch.tables], refused


def _bytes(table: pa.Table) -> bytes:
    if not table.num_rows:
        return b""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


def _table(data: bytes, schema: pa.Schema) -> pa.Table:
    return pa.ipc.open_stream(data).read_all() if data else schema.empty_table()
