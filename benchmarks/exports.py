"""Rows a second and memory of exports, each beside the engine writing the same rows to a file, in one run.

Calls of 2 kB texts in a store of their own; every export in a fresh process, over the code that the API runs. `growth`
is the largest resident memory during the export over that before it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, timedelta
from typing import Any

from assay.analytics.selection import Selection
from assay.reports import exports
from assay.store.connect import Store, open_store
from measuring import memory_mb, show
from seed import seed

MADE = [("parquet", "lab"), ("parquet", "all"), ("jsonl", "all"), ("csv", "all")]
ENGINE_FORMATS = {"parquet": "Parquet", "jsonl": "JSONEachRow", "csv": "CSV"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--store", help="a store that benchmarks/seed.py made, instead of a new one")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        who, format, columns = options.one
        print(json.dumps(_measured(options.store, who, format, columns)))
        return
    with tempfile.TemporaryDirectory() as directory:
        path = options.store or f"{directory}/data"
        if not options.store:
            store = open_store(path)
            seed(store, options.calls)
            store.close()
        rows = [_in_a_process(path, format, columns) for format, columns in MADE]
    show("exports", rows, load=os.getloadavg()[0])


def _in_a_process(path: str, format: str, columns: str) -> dict[str, Any]:
    assay, engine = (_asked(path, who, format, columns) for who in ("assay", "engine"))
    return {
        "format": format,
        "columns": columns,
        "rows": assay["rows"],
        "MB": assay["bytes"] / 1e6,
        "rows/s": assay["rows"] / assay["seconds"],
        "rows/CPU s": assay["rows"] / assay["cpu"],
        "growth MB": assay["growth"],
        "engine rows/s": engine["rows"] / engine["seconds"],
        "engine rows/CPU s": engine["rows"] / engine["cpu"],
        "engine growth MB": engine["growth"],
    }


def _asked(path: str, who: str, format: str, columns: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--store", path, "--one", who, format, columns]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _measured(path: str, who: str, format: str, columns: str) -> dict[str, Any]:
    store = open_store(path)
    try:
        [rows] = store.query("SELECT count() AS rows, max(started_at) AS last FROM spans FINAL")
        write = _by_assay if who == "assay" else _by_engine
        # What any first question costs, in time and memory, is none of the export's.
        newest = Selection(since=rows["last"].astimezone(UTC) - timedelta(minutes=30))
        list(exports.export(store, newest, format, columns).pieces)
        before, cpu, began = memory_mb(os.getpid()), time.process_time(), time.perf_counter()
        with tempfile.NamedTemporaryFile() as file:
            write(store, format, columns, file.write)
            seconds, size = time.perf_counter() - began, file.tell()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {
            "rows": rows["rows"],
            "seconds": seconds,
            "cpu": time.process_time() - cpu,
            "bytes": size,
            "growth": peak - before,
        }
    finally:
        store.close()


def _by_assay(store: Store, format: str, columns: str, write: Callable[[bytes], int]) -> None:
    for piece in exports.export(store, Selection(), format, columns).pieces:
        write(piece)


def _by_engine(store: Store, format: str, columns: str, write: Callable[[bytes], int]) -> None:
    """The spans' own columns of the same export in one statement: no scores, no order, nothing disarmed."""
    spans = ", ".join(
        column.sql
        for column in exports.chosen_columns(store, columns, "1", {})
        if column.sql.startswith("calls.") and column.of_scores == ""
    )
    sql = f"SELECT {spans} FROM (SELECT *, model FROM spans FINAL WHERE counted) AS calls"
    for piece in store.stream(sql, {}, ENGINE_FORMATS[format]):
        write(piece)


if __name__ == "__main__":
    main()
