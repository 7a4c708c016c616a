"""Take back what a broken part was merged of.

ClickHouse 26.9 may finish a part on a disk that has just run full, and name it in place of the parts it was merged of,
though some of its files are empty: every query that reads them fails then, and eight minutes later the former parts are
removed. A table that is attached anew looks at the sizes of all files, sets such parts aside (in `detached`, named
`broken-on-start...`) and takes the former ones again.
"""

from __future__ import annotations

import logging

from assay.store.connect import Store

_BROKEN = """
    SELECT table, name FROM system.detached_parts
    WHERE database = currentDatabase() AND reason = 'broken-on-start' ORDER BY table, name"""

_TABLES = """
    SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'
    UNION DISTINCT SELECT table AS name FROM system.detached_tables WHERE database = currentDatabase()"""
"""All, and those that a former try could not attach again."""

log = logging.getLogger(__name__)


def mend(store: Store) -> list[str]:
    """Attach every table of an embedded store anew; answers what was set aside by that, as table/part.

    Nothing else asks or writes meanwhile: some ten milliseconds a table. Raises StoreError.
    """
    if not store.embedded:
        return []
    before = set_aside(store)
    tables = store.query(_TABLES)
    with store.alone() as command:
        for table in tables:
            command(f"DETACH TABLE IF EXISTS {table['name']}")
            command(f"ATTACH TABLE IF NOT EXISTS {table['name']}")
    found = [part for part in set_aside(store) if part not in before]
    if found:
        log.warning("broken parts were set aside, and what they were merged of taken again: %s", ", ".join(found))
    return found


def set_aside(store: Store) -> list[str]:
    """The broken parts that lie beside their tables, as table/part. Raises StoreError."""
    return [f"{row['table']}/{row['name']}" for row in store.query(_BROKEN)]
