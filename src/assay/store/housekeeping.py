"""Keeps reads fast: parts of days that are over are merged to one, so that FINAL has nothing left to do."""

from __future__ import annotations

import logging
import threading

from assay.errors import StoreError
from assay.store.connect import Store

EVERY_SECONDS = 3600.0
TABLES = ("spans", "scores", "embeddings")

log = logging.getLogger(__name__)


def merge_closed_days(store: Store) -> list[str]:
    """Merge every past day that has more than one part; answers which, as table/day. Raises StoreError."""
    rows = store.query(
        """
        SELECT table, partition_id, min(partition) AS day FROM system.parts
        WHERE active AND database = currentDatabase() AND table IN {tables:Array(String)}
            AND partition_id < formatDateTime(today(), '%Y%m%d')
        GROUP BY table, partition_id HAVING count() > 1 ORDER BY table, partition_id
        """,
        {"tables": list(TABLES)},
    )
    for row in rows:
        store.command(f"OPTIMIZE TABLE {row['table']} PARTITION ID '{row['partition_id']}' FINAL")
    return [f"{row['table']}/{row['day']}" for row in rows]


class Housekeeper:
    """Runs `merge_closed_days` now and then, in a thread of its own until `stop`."""

    def __init__(self, store: Store, every_seconds: float = EVERY_SECONDS) -> None:
        self._store = store
        self._every_seconds = every_seconds
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
        while not self._stopping.wait(self._every_seconds):
            try:
                merge_closed_days(self._store)
            except StoreError as error:
                log.warning("could not merge closed days: %s", error)
