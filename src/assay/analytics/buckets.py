"""Buckets of time: how long each is, and when the one begins that a call falls into.

Lengths below a day are cut from the Unix epoch on. Days, weeks (from Monday) and months are those of a time zone's
calendar: a day of 23 or 25 hours, when the clocks change, is one bucket.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, NamedTuple

from assay.analytics.selection import Selection
from assay.analytics.sums import Aggregates, Source, ask
from assay.errors import AssayError
from assay.store.connect import Store

LENGTHS = (1, 5, 10, 30, 60, 300, 900, 1800, 3600, 10_800, 21_600, 86_400, 604_800)
"""Lengths in seconds that are chosen from when none is asked for."""

AIMED_AT = 60
"""About this many buckets make a readable line."""

DAY, WEEK = 86_400, 604_800

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": DAY, "w": WEEK}


class Buckets(NamedTuple):
    """Either `seconds` long (whole days and weeks by the calendar of `tz`), or so many `months` of it."""

    seconds: int | None
    months: int = 1
    tz: str = "UTC"

    @property
    def parameters(self) -> dict[str, Any]:
        """What `start` needs bound."""
        return {"tz": self.tz}

    @property
    def start(self) -> str:
        """SQL for the begin of the bucket that `started_at` falls into, as a DateTime of the zone."""
        day = "toUInt32(toDate(started_at, {tz:String}))"
        if self.seconds is None:
            month = "(toYear(started_at, {tz:String}) * 12 + toMonth(started_at, {tz:String}) - 1)"
            first = f"intDiv({month}, {self.months}) * {self.months}"
            return f"toDateTime(makeDate(intDiv({first}, 12), ({first}) % 12 + 1, 1), {{tz:String}})"
        if self.seconds % WEEK == 0:
            # The first Monday was the fifth day of the epoch.
            days = self.seconds // DAY
            return f"toDateTime(toDate(intDiv({day} - 4, {days}) * {days} + 4), {{tz:String}})"
        if self.seconds % DAY == 0:
            days = self.seconds // DAY
            return f"toDateTime(toDate(intDiv({day}, {days}) * {days}), {{tz:String}})"
        return f"toDateTime(intDiv(toUnixTimestamp(started_at), {self.seconds}) * {self.seconds}, {{tz:String}})"


def buckets(store: Store, selection: Selection, length: str | None, tz: str = "") -> Buckets:
    """Buckets of a length such as "30s", "5m", "1h", "1d", "1w" or "1mo", of about 60 to the selection if None.

    `tz` is a zone's name as the store knows it (Europe/Berlin; UTC if empty). Raises AssayError.
    """
    zone = _known_zone(store, tz) if tz not in ("", "UTC") else "UTC"
    if length is None:
        return Buckets(_fitting(store, selection), tz=zone)
    match = re.fullmatch(r"(\d{1,6})(s|mo|m|h|d|w)", length.strip())
    if not match or not int(match[1]):
        raise AssayError(f"{length!r} is no length of time: write for example 30s, 5m, 1h, 1d, 1w or 1mo (a month)")
    many = int(match[1])
    return Buckets(None, many, zone) if match[2] == "mo" else Buckets(many * _UNITS[match[2]], tz=zone)


def _known_zone(store: Store, name: str) -> str:
    names = [row["time_zone"] for row in store.query("SELECT time_zone FROM system.time_zones")]
    if name not in names:
        near = get_close_matches(name, names, n=3) or ["Europe/Berlin", "America/New_York", "UTC"]
        raise AssayError(f"there is no time zone {name!r}: write its name, such as {', '.join(near)}")
    return name


def _fitting(store: Store, selection: Selection) -> int:
    """From the first call of the selection on, so that a young store fills the chart too."""
    [row] = ask(store, selection, Aggregates("count() AS calls, min(started_at) AS first", rows=_as_sent))
    until = selection.until or datetime.now(UTC)
    span = max((until - row["first"]).total_seconds(), 1) if row["calls"] else 1
    return min(LENGTHS, key=lambda seconds: abs(span / seconds - AIMED_AT))


def _as_sent(selection: Selection) -> Source:
    """Without FINAL: a call that was sent again started when it did."""
    where, parameters = selection.of_calls()
    return f"spans WHERE {where}", parameters
