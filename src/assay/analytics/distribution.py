"""How the values of each score are spread, who gave them, and which conversations it speaks of worst."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from assay.analytics.means import SHOWN_FIRST
from assay.analytics.selection import Selection
from assay.analytics.sums import Aggregates, ask, of_scores
from assay.analytics.worst import Worst, worst_calls
from assay.errors import AssayError
from assay.store.connect import Row, Store

BINS = 20
OUTSIDE = 255
"""The bin of values that are not in 0..1."""

_FIGURES = """
    count() AS calls, count(value) AS known, min(value) AS low, max(value) AS high, max(ingested_at) AS judged_at"""
_KEYS = {
    **{name: name for name in ("name", "source", "scorer")},
    "version": "scorer_version",
    "bin": f"if(value BETWEEN 0 AND 1, toUInt8(least(floor(value * {BINS}), {BINS - 1})), {OUTSIDE})",
}


class Bin(msgspec.Struct, frozen=True):
    """So many `calls` have a value from `low` to below `high`; in the last bin `high` itself, too."""

    low: float
    high: float
    calls: int


class Judge(msgspec.Struct, frozen=True):
    """A scorer in one of its versions, how many calls it has judged, and when it did so last."""

    scorer: str
    version: str
    calls: int
    judged_at: datetime


class Distribution(msgspec.Struct, frozen=True):
    """One score's values: `n` known ones in twenty `bins` from 0 to 1, or over their own range where that is wider.

    `not_assessable` verdicts have no value. They are all of one `source`, the one whose figures `quality` shows.
    `judges` are those who gave them, the busiest first.
    """

    name: str
    source: str
    n: int
    not_assessable: int
    bins: list[Bin]
    judges: list[Judge]


def distributions(store: Store, selection: Selection) -> list[Distribution]:
    """Every score of the selected calls, by name."""
    rows = ask(store, selection, Aggregates(_FIGURES, _KEYS, of_scores(None)))
    shown: dict[str, str] = {}
    for row in rows:
        shown[row["name"]] = min(shown.get(row["name"], row["source"]), row["source"], key=SHOWN_FIRST.index)
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        if row["source"] == shown[row["name"]]:
            by_name.setdefault(row["name"], []).append(row)
    return [_distribution(store, selection, name, shown[name], by_name[name]) for name in sorted(by_name)]


def worst_of(store: Store, selection: Selection, name: str, limit: int = 10, source: str = "") -> list[Worst]:
    """The conversations that a score speaks of worst, worst first; none where it could not be better.

    By verdicts of `source`, or of the one that `quality` shows. Raises AssayError for a limit outside of 1 to 100, or
    where no selected call has the score.
    """
    if not 1 <= limit <= 100:
        raise AssayError(f"limit is {limit}: choose 1 to 100 conversations")
    if source:
        return worst_calls(store, selection, {name: source}, each=limit)
    where, parameters = selection.of_scores()
    found = store.query(f"SELECT DISTINCT name, source FROM scores WHERE {where}", parameters)
    sources = [row["source"] for row in found if row["name"] == name]
    if not sources:
        known = ", ".join(sorted({row["name"] for row in found})) or "no score at all"
        raise AssayError(f"no call that matches has the score {name!r}; they have {known}")
    return worst_calls(store, selection, {name: min(sources, key=SHOWN_FIRST.index)}, each=limit)


def _distribution(store: Store, selection: Selection, name: str, source: str, rows: list[Row]) -> Distribution:
    known = [row for row in rows if row["known"]]
    within = all(row["bin"] != OUTSIDE for row in known)
    return Distribution(
        name=name,
        source=source,
        n=sum(row["known"] for row in rows),
        not_assessable=sum(row["calls"] - row["known"] for row in rows),
        bins=_bins(known) if within else _bins_of_range(store, selection, name, source, known),
        judges=_judges(rows),
    )


def _bins(rows: list[Row]) -> list[Bin]:
    counts = [0] * BINS
    for row in rows:
        counts[row["bin"]] += row["known"]
    return [Bin(place / BINS, (place + 1) / BINS, count) for place, count in enumerate(counts)] if rows else []


def _bins_of_range(store: Store, selection: Selection, name: str, source: str, rows: list[Row]) -> list[Bin]:
    low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
    width = (high - low) / BINS or 1.0
    where, parameters = selection.of_scores()
    found = store.query(
        f"""
        SELECT toUInt8(least(floor((value - {{low:Float64}}) / {{width:Float64}}), {BINS - 1})) AS bin, count() AS calls
        FROM scores FINAL
        WHERE {where} AND name = {{score:String}} AND source = {{source:String}} AND value IS NOT NULL
        GROUP BY bin
        """,
        {**parameters, "score": name, "source": source, "low": low, "width": width},
    )
    counts = {row["bin"]: row["calls"] for row in found}
    return [Bin(low + place * width, low + (place + 1) * width, counts.get(place, 0)) for place in range(BINS)]


def _judges(rows: list[Row]) -> list[Judge]:
    judges: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        one = judges.setdefault((row["scorer"], row["version"]), {"calls": 0, "judged_at": row["judged_at"]})
        one["calls"] += row["calls"]
        one["judged_at"] = max(one["judged_at"], row["judged_at"])
    found = [Judge(scorer, version, **one) for (scorer, version), one in judges.items()]
    return sorted(found, key=lambda judge: (-judge.calls, judge.scorer, judge.version))
