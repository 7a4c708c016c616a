"""Bring a store's tables up to date: numbered .sql files, each applied once and recorded.

An embedded store is already locked by its process, and is backed up first; on a server the lock is a table whose
creation only one process can win. Every statement can be run again, so a migration cut short is simply repeated.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from assay.errors import StoreError
from assay.store.backup import back_up

_LOCK_WAIT_SECONDS = 60

log = logging.getLogger(__name__)


class Migration(NamedTuple):
    """One numbered file of `schema/`."""

    number: int
    name: str
    statements: tuple[str, ...]


class Connection(Protocol):
    """What a migration needs of a store."""

    def query(self, sql: str) -> list[dict[str, Any]]: ...
    def command(self, sql: str, parameters: dict[str, Any] | None = None) -> None: ...


def migrations() -> list[Migration]:
    """All migrations of this version of Assay, in order."""
    schema = files("assay.store") / "schema"
    names = sorted(path.name for path in schema.iterdir() if path.name.endswith(".sql"))
    return [_parse(name, (schema / name).read_text()) for name in names]


def migrate(store: Connection, known: list[Migration] | None = None, directory: Path | None = None) -> list[Migration]:
    """Apply what is missing; answers what was applied. Raises StoreError for a store of a newer Assay.

    `directory` is that of an embedded store, which no other process can have open; None for a server.
    """
    known = migrations() if known is None else known
    store.command(
        "CREATE TABLE IF NOT EXISTS schema_migrations (number UInt32, name String, applied_at DateTime DEFAULT now())"
        " ENGINE = MergeTree ORDER BY number SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"
    )
    if not _missing(store, known):
        return []
    with nullcontext() if directory else _migration_lock(store):
        missing = _missing(store, known)
        _secure(store, known[: len(known) - len(missing)], directory)
        for migration in missing:
            log.info("bringing the store up to date: %s", migration.name)
            for statement in migration.statements:
                store.command(statement)
            store.command(
                "INSERT INTO schema_migrations (number, name) SELECT {number:UInt32}, {name:String}",
                {"number": migration.number, "name": migration.name},
            )
        return missing


def _secure(store: Connection, applied: list[Migration], directory: Path | None) -> None:
    """Keep a store that is in use as it was; a new one holds nothing yet."""
    if not applied:
        return
    version = applied[-1].number
    if directory is None:
        log.warning("the store's tables are at version %d: back them up with your server's own means", version)
        return
    store.command("SYSTEM STOP MERGES")
    try:
        kept = back_up(directory, version)
    except OSError as error:
        raise StoreError(
            f"cannot back up {directory} before bringing it up to date: {error}. Nothing was changed; make room and "
            "start again"
        ) from error
    finally:
        store.command("SYSTEM START MERGES")
    log.warning("the store as it was (version %d) is kept at %s; delete it when you no longer need it", version, kept)


def _missing(store: Connection, known: list[Migration]) -> list[Migration]:
    applied = {row["number"] for row in store.query("SELECT DISTINCT number FROM schema_migrations")}
    newest = max((migration.number for migration in known), default=0)
    if applied and max(applied) > newest:
        raise StoreError(
            f"this store was written by a newer Assay (its tables are at version {max(applied)}, this Assay knows "
            f"{newest}). Nothing was changed. Upgrade with: pip install --upgrade assay"
        )
    return [migration for migration in known if migration.number not in applied]


@contextmanager
def _migration_lock(store: Connection) -> Generator[None]:
    deadline = time.monotonic() + _LOCK_WAIT_SECONDS
    while not _won(store):
        if time.monotonic() > deadline:
            raise StoreError(
                "another assay process has been migrating this store for over a minute. If none is running, "
                "remove its lock with: DROP TABLE schema_migrations_lock"
            )
        time.sleep(0.5)
    try:
        yield
    finally:
        store.command("DROP TABLE IF EXISTS schema_migrations_lock")


def _won(store: Connection) -> bool:
    try:
        store.command("CREATE TABLE schema_migrations_lock (at DateTime) ENGINE = Memory")
    except StoreError as error:
        if "TABLE_ALREADY_EXISTS" in str(error) or "already exists" in str(error):
            return False
        raise
    return True


def _parse(name: str, text: str) -> Migration:
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    statements = tuple(part.strip() for part in "\n".join(lines).split(";") if part.strip())
    return Migration(int(name.split("_")[0]), name, statements)
