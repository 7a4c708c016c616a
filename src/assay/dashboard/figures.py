"""Numbers as people read them (assay.figures), and times as they are where the reader is."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from assay.figures import UNKNOWN, count, dollars, duration, milliseconds, name, percent, score, with_interval

__all__ = [
    "UNKNOWN",
    "clock",
    "count",
    "dollars",
    "duration",
    "milliseconds",
    "name",
    "percent",
    "score",
    "span",
    "with_interval",
    "zone",
]


def clock(moment: str, zone: str | None, now: datetime) -> str:
    """The time of an RFC 3339 moment where the reader is, with its date unless that is today."""
    there = _zone(zone)
    then = datetime.fromisoformat(moment).astimezone(there)
    same_day = then.date() == now.astimezone(there).date()
    return then.strftime("%H:%M:%S" if same_day else "%d %b %H:%M:%S")


def zone(name: str | None) -> str:
    """The reader's time zone, UTC where it is not known."""
    return _zone(name).key


def span(seconds: float) -> str:
    """42 s, 12 min, 3.5 h, 2.1 days."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


def _zone(zone: str | None) -> ZoneInfo:
    try:
        return ZoneInfo(zone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")
