"""Open the store: ClickHouse inside this process (chdb:///./assay-data) or a server (clickhouse://host/db).

The same SQL runs on both. A Store hands out one connection a query, since a connection runs one query at
a time, and keeps one apart for inserts so that a slow page never delays an acknowledgement.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver.binding import quote_identifier
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError, OperationalError

from assay.config import without_password
from assay.errors import StoreError, StoreUnavailable
from assay.store.kept import Kept
from assay.store.lock import StoreLock
from assay.store.migrate import migrate

READ_CONNECTIONS = 4
ALONE_SECONDS = 10.0

KEPT_FREE_BYTES = 256 << 20
"""Of a disk so much is left to merges (schema/0015_full_disk.sql)."""

_OF_BROKEN_PARTS = ("CANNOT_READ_ALL_DATA", "BAD_SIZE_OF_FILE_IN_DATA_PART", "CORRUPTED_DATA", "FILE_DOESNT_EXIST")
"""Errors of the engine that a part with empty or missing files makes."""

_ENCRYPTED = ("clickhouses", "https")

_SETTINGS = {
    # A span is re-sent with the same start, so duplicates never cross a day's partition.
    "do_not_merge_across_partitions_select_final": 1,
    # Indexes are built when parts are merged: until then parts are small, and a scan of them is quick.
    # Measured: a third of an insert's CPU time.
    "materialize_skip_indexes_on_insert": 0,
    # One OTLP batch may hold spans of any number of days.
    "max_partitions_per_insert_block": 0,
    # A slow query must not keep a connection for ever.
    "max_execution_time": 60,
}

# What it warns of, it raises too.
logging.getLogger("clickhouse_connect").setLevel(logging.ERROR)

Row = dict[str, Any]


class Store:
    """An open store. Thread-safe. Raises StoreError for what is wrong, StoreUnavailable for what may pass."""

    def __init__(self, dsn: str, lock: StoreLock | None = None) -> None:
        self._dsn = dsn
        self._lock = lock
        self._closed = False
        self._insert_lock = threading.Lock()
        self.doubted = threading.Event()
        """Set once a part seems broken, or could not be written: see mend.py."""
        self._inserter = self._connection()
        self._readers: queue.LifoQueue[Client | None] = queue.LifoQueue()
        for _ in range(READ_CONNECTIONS):
            self._readers.put(None)
        self.kept = Kept(self.query, self.command, KEPT_FREE_BYTES) if self.embedded else None
        """What days that are over sum up to; a server may have other nodes, which would not know of it."""

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """The rows of a SELECT, as dictionaries. Values go in as `{name:Type}` parameters only."""
        with self._reader() as client:
            result = client.query(sql, parameters=dict(parameters or {}))
            return list(result.named_results())

    def arrow(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """The result of a SELECT as an Arrow table; text columns as strings."""
        with self._reader() as client:
            try:
                return client.query_arrow(sql, dict(parameters or {}), use_strings=True)
            except ClickHouseError:
                # chDB 4.4 leaves part of an error in the way of the next Arrow answer: that one is spoilt, not ours.
                with suppress(pa.ArrowException, ClickHouseError):
                    client.query_arrow("SELECT 1")
                raise

    def stream(self, sql: str, parameters: Mapping[str, Any], format: str) -> Iterator[bytes]:
        """The result in a ClickHouse output format (CSV, JSONEachRow), chunk by chunk as the engine makes it."""
        with self._reader() as client, client.raw_stream(sql, dict(parameters), fmt=format) as answer:
            stream: Any = answer
            while chunk := stream.read(1 << 16):
                yield chunk

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that returns no rows."""
        with self._reader() as client:
            client.command(sql, parameters=dict(parameters or {}))

    def isolated(self, sql: str, settings: Mapping[str, str | int]) -> bytes:
        """The answer to one SELECT as the engine's JSONCompact, on a connection of its own that can only read.

        `settings` are limits that the query cannot lift. A connection is made for each: what a query that fails leaves
        behind (chDB 4.4 keeps the beginning of its answer) goes with it. Raises StoreError with the engine's message.
        """
        limits: dict[str, str | int] = {**_SETTINGS, **settings, "readonly": 1}
        client = self._bare_connection({})
        try:
            if not self._lock:
                return client.raw_query(sql, settings=limits, fmt="JSONCompact")
            # Settings beside a query could be argued with by the query's own; those of the connection cannot.
            client.command("SET " + ", ".join(f"{name} = {_quoted(value)}" for name, value in limits.items()))
            return client.raw_query(sql, fmt="JSONCompact")
        except ClickHouseError as error:
            raise self._unanswered(error) from error
        finally:
            client.close()

    def insert(self, table: str, rows: pa.Table) -> None:
        """Write rows; when this returns they are on disk. Raises StoreUnavailable and writes nothing else."""
        with self._insert_lock:
            if self._closed:
                raise StoreUnavailable("the store is closed: assay is stopping")
            try:
                self._inserter.insert_arrow(table, rows)
            except (ClickHouseError, OSError) as error:
                self.doubted.set()
                raise StoreUnavailable(_unwritten(table, error)) from error

    @property
    def embedded(self) -> bool:
        """Whether the engine runs in this process."""
        return self._dsn.startswith("chdb:")

    @contextmanager
    def alone(self) -> Generator[Callable[[str], object]]:
        """What runs a statement while nothing else asks or writes. Raises StoreUnavailable where others do not end."""
        with self._insert_lock:
            if self._closed:
                raise StoreUnavailable("the store is closed: assay is stopping")
            held = list[Client | None]()
            try:
                deadline = time.monotonic() + ALONE_SECONDS
                for _ in range(READ_CONNECTIONS):
                    held.append(self._readers.get(timeout=max(deadline - time.monotonic(), 0)))
                yield self._inserter.command
            except queue.Empty:
                raise StoreUnavailable("others still ask the store: try again later") from None
            except ClickHouseError as error:
                raise StoreError(f"the store cannot do that: {_first_line(error)}") from error
            finally:
                for client in held:
                    self._readers.put(client)

    def close(self) -> None:
        """Close every connection and give up the lock; safe to call twice."""
        with self._insert_lock:
            if self._closed:
                return
            self._closed = True
            self._inserter.close()
        for _ in range(READ_CONNECTIONS):
            if client := self._readers.get():
                client.close()
        self._readers.put(None)  # whoever still waits for a connection learns that there is none
        if self._lock:
            self._lock.release()

    @contextmanager
    def _reader(self) -> Generator[Client]:
        client = self._readers.get()
        try:
            if self._closed:
                raise StoreUnavailable("the store is closed: assay is stopping")
            client = client or self._connection()
            yield client
        except ClickHouseError as error:
            if any(name in str(error) for name in _OF_BROKEN_PARTS):
                self.doubted.set()
            raise self._unanswered(error) from error
        finally:
            self._readers.put(client)

    def _unanswered(self, error: ClickHouseError) -> StoreError:
        if isinstance(error, OperationalError) and not self.embedded:
            server = urlsplit(self._dsn)
            return StoreUnavailable(f"the store at {server.hostname} does not answer: {_first_line(error)}")
        return StoreError(f"the store cannot answer: {_first_line(error)}")

    def _connection(self) -> Client:
        return self._bare_connection(_SETTINGS)

    def _bare_connection(self, settings: dict[str, Any]) -> Client:
        # Sessions are a server's affair: without one, a server runs this process's queries side by side.
        sessions: dict[str, Any] = {} if self._lock else {"autogenerate_session_id": False}
        return _client(self._dsn, settings=settings, tz_mode="aware", **sessions)


def open_store(url: str, *, answers_at: str = "") -> Store:
    """Open the store at `url` and bring its tables up to date.

    `url` is chdb:///./relative/dir, chdb:////absolute/dir, a bare directory, or
    clickhouse[s]://user:password@host:port/database. `answers_at` is told to whoever finds the store taken.
    Raises StoreError when it is held by another process, unreadable, or written by a newer Assay.
    """
    directory = embedded_directory(url)
    lock = None
    try:
        if directory is None:
            store = _on_a_server(url)
        else:
            directory.mkdir(parents=True, exist_ok=True)
            lock = StoreLock(directory, answers_at)
            store = Store(f"chdb:///{directory.resolve()}", lock)
    except (ClickHouseError, OSError) as error:
        if lock:
            lock.release()
        raise StoreError(f"cannot open {without_password(url)}: {_first_line(error)}") from error
    try:
        migrate(store, directory=directory)
        if store.kept:
            store.kept.begin()
    except BaseException:
        store.close()
        raise
    return store


def _on_a_server(url: str) -> Store:
    """The store in the database that the URL names, which is made if it is not there."""
    try:
        return Store(url)
    except DatabaseError as error:
        if error.name != "UNKNOWN_DATABASE":
            raise
    server = urlsplit(url)
    anywhere = _client(server._replace(path="/default").geturl())
    try:
        anywhere.command(f"CREATE DATABASE IF NOT EXISTS {quote_identifier(unquote(server.path.strip('/')))}")
    finally:
        anywhere.close()
    return Store(url)


def _client(dsn: str, **options: Any) -> Client:
    # By itself the client goes by the port alone whether to speak TLS.
    return clickhouse_connect.get_client(dsn=dsn, secure=urlsplit(dsn).scheme in _ENCRYPTED, **options)


def embedded_directory(url: str) -> Path | None:
    """The directory of an embedded store, or None where `url` names a server. Raises StoreError."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return Path(url)
    if scheme == "chdb":
        if rest.strip("/"):
            relative = rest.startswith(("/./", "/../")) or not rest.startswith("/")
            return Path(rest.lstrip("/") if relative else f"/{rest.lstrip('/')}")
    elif scheme in ("clickhouse", "http", *_ENCRYPTED):
        return None
    raise StoreError(
        f"cannot open {without_password(url)!r}: a store is chdb:///./directory (embedded) or clickhouse://user:password@host/database"
    )


def _quoted(value: str | int) -> str:
    return str(value) if isinstance(value, int) else f"'{value}'"


def no_room(place: str) -> str:
    """Why nothing is written to a full disk."""
    return (
        f"cannot write to {place}: its disk has less than {KEPT_FREE_BYTES >> 20} MiB left; free some, nothing is lost"
    )


def _unwritten(table: str, error: BaseException) -> str:
    return no_room(table) if "NOT_ENOUGH_SPACE" in str(error) else f"cannot write to {table}: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    # Where a server is not reached, the client's own message has the URL, which may have what was asked for in it.
    reason = getattr(error.__cause__, "reason", None) or error
    return (str(reason).strip().splitlines() or [type(error).__name__])[0][:500]
