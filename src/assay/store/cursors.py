"""Where each follower has got to, kept in the store so that a restart goes on from there."""

from __future__ import annotations

import time

from assay.store.connect import Store

Cursor = tuple[int, str]
"""(ingested_at in Unix microseconds, span_id): everything up to and including it is done."""

START: Cursor = (0, "\x7f")
"""Before all that came in. What was imported as history (`ingested_at` 0) is done already."""


def read_cursor(store: Store, follower: str) -> Cursor:
    """The follower's position, START if it never ran."""
    rows = store.query(
        "SELECT toUnixTimestamp64Micro(ingested_at) AS at, span_id FROM cursors FINAL WHERE follower = {name:String}",
        {"name": follower},
    )
    return (int(rows[0]["at"]), str(rows[0]["span_id"])) if rows else START


def read_cursors(store: Store, beginning: str) -> dict[str, tuple[Cursor, int]]:
    """Positions of all followers whose names begin so, each with when it was written (nanoseconds)."""
    rows = store.query(
        "SELECT follower, toUnixTimestamp64Micro(ingested_at) AS at, span_id, version"
        " FROM cursors FINAL WHERE startsWith(follower, {beginning:String})",
        {"beginning": beginning},
    )
    return {row["follower"]: ((int(row["at"]), str(row["span_id"])), int(row["version"])) for row in rows}


def write_cursor(store: Store, follower: str, cursor: Cursor) -> None:
    """Remember the follower's position."""
    store.command(
        "INSERT INTO cursors (follower, ingested_at, span_id, version)"
        " SELECT {name:String}, fromUnixTimestamp64Micro({at:Int64}), {span_id:String}, {version:UInt64}",
        {"name": follower, "at": cursor[0], "span_id": cursor[1], "version": time.time_ns()},
    )
