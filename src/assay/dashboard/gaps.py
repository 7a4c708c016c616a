"""Lines over time that stop where there was nothing: a line across an hour without calls would tell of calls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

LONGEST_HOLE = 3
"""So many buckets may be empty inside a line: calls that are far between still make one."""

Row = dict[str, Any]


def broken(rows: Iterable[Row], seconds: int | None, *lines: str) -> list[Row]:
    """The rows in the order of `time`, with one of the time alone wherever a longer hole begins.

    `lines` are the columns by which rows belong to one line. Vega draws no line to or from a row without a value.
    Buckets of no fixed length (months) have no holes.
    """
    by_line: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        by_line.setdefault(tuple(row[name] for name in lines), []).append(row)
    return [row for own in by_line.values() for row in _broken(own, seconds, lines)]


def _broken(rows: Sequence[Row], seconds: int | None, lines: Sequence[str]) -> list[Row]:
    ordered = sorted(rows, key=lambda row: row["time"])
    if not seconds:
        return ordered
    longest = timedelta(seconds=seconds * (LONGEST_HOLE + 1))
    found = ordered[:1]
    for before, row in pairwise(ordered):
        if row["time"] - before["time"] > longest:
            found.append({name: before[name] for name in lines} | {"time": before["time"] + longest / 2})
        found.append(row)
    return found
