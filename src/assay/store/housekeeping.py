"""Keeps reads fast: days that are over are merged to one part, and what search would have to read is indexed.

And right: parts that seem broken are looked at.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from assay.errors import StoreError
from assay.store.connect import Store
from assay.store.mend import mend
from assay.store.terms import INDEX

EVERY_SECONDS = 3600.0
INDEX_SECONDS = 20.0
MEND_SECONDS = 240.0
"""At most so often tables are attached anew: often enough that what a part was merged of is still there."""
FEWEST_ROWS = 2000
"""Of fewer rows without an index the texts themselves are read in less time than a page takes."""

TABLES = ("spans", "scores", "embeddings", "predictions")
"""Tables with a partition a day. Labels have one for all: the engine merges them as it sees fit."""

QUIET_SECONDS = 60.0
"""Prompts are read, and put into other groups, by the million: until that is merged, groups are read several times."""

log = logging.getLogger(__name__)


def merge_closed_days(
    store: Store, tables: Sequence[str] = TABLES, *, quiet_seconds: float = 0.0, most: int = 1_000_000
) -> list[str]:
    """Merge past days that have more than one part, at most so many; answers which, as table/day. Raises StoreError.

    `quiet_seconds` leaves out days that were written to since then.
    """
    rows = store.query(
        """
        SELECT table, partition_id, min(partition) AS day FROM system.parts
        WHERE active AND database = currentDatabase() AND table IN {tables:Array(String)}
            AND partition_id < formatDateTime(today(), '%Y%m%d')
        GROUP BY table, partition_id
        HAVING count() > 1 AND toUnixTimestamp(max(modification_time)) <= {written:Float64}
        ORDER BY table, partition_id LIMIT {most:UInt32}
        """,
        {"tables": list(tables), "written": time.time() - quiet_seconds, "most": most},
    )
    for row in rows:
        store.command(f"OPTIMIZE TABLE {row['table']} PARTITION ID '{row['partition_id']}' FINAL")
    return [f"{row['table']}/{row['day']}" for row in rows]


def index_new_parts(store: Store) -> list[str]:
    """Have parts indexed that no merge has come to yet; answers the days, as their partitions. Raises StoreError.

    Inserts leave it out (store/connect.py). The engine does it in the background, one such order at a time.
    """
    rows = store.query(
        """
        SELECT partition_id, sum(rows) AS rows FROM system.parts
        WHERE active AND database = currentDatabase() AND table = 'spans' AND secondary_indices_compressed_bytes = 0
            AND NOT EXISTS (
                SELECT 1 FROM system.mutations WHERE database = currentDatabase() AND table = 'spans' AND NOT is_done)
        GROUP BY partition_id HAVING rows >= {fewest:UInt32} ORDER BY partition_id
        """,
        {"fewest": FEWEST_ROWS},
    )
    days = [row["partition_id"] for row in rows]
    for day in days:
        store.command(
            f"ALTER TABLE spans MATERIALIZE INDEX {INDEX} IN PARTITION ID '{day}' SETTINGS mutations_sync = 0"
        )
    return days


class Housekeeper:
    """Runs all of it now and then, in a thread of its own until `stop`."""

    def __init__(self, store: Store, every_seconds: float = EVERY_SECONDS) -> None:
        self._store = store
        self._every_seconds = every_seconds
        self._mended = -MEND_SECONDS
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="assay-housekeeping", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the merge in hand, then end."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        merged = time.monotonic()
        while not self._stopping.wait(min(self._every_seconds, INDEX_SECONDS)):
            try:
                self._mend()
                index_new_parts(self._store)
                self._merge_rewritten()
                if time.monotonic() - merged >= self._every_seconds:
                    merge_closed_days(self._store)
                    merged = time.monotonic()
            except StoreError as error:
                log.warning("could not keep the store's parts in order: %s", error)

    def _mend(self) -> None:
        if self._store.doubted.is_set() and time.monotonic() - self._mended >= MEND_SECONDS:
            self._store.doubted.clear()
            try:
                mend(self._store)
            except StoreError:
                self._store.doubted.set()
                raise
            self._mended = time.monotonic()

    def _merge_rewritten(self) -> None:
        quiet = min(QUIET_SECONDS, self._every_seconds)
        while merge_closed_days(self._store, ("embeddings",), quiet_seconds=quiet, most=1):
            if self._stopping.is_set():
                return
