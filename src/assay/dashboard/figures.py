"""Numbers as people read them (assay.figures), and times as they are where the reader is."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from assay.figures import UNKNOWN, count, dollars, duration, milliseconds, name, percent, score

__all__ = ["UNKNOWN", "clock", "count", "dollars", "duration", "milliseconds", "name", "percent", "score"]


def clock(moment: str, zone: str | None, now: datetime) -> str:
    """The time of an RFC 3339 moment where the reader is, with its date unless that is today."""
    there = _zone(zone)
    then = datetime.fromisoformat(moment).astimezone(there)
    same_day = then.date() == now.astimezone(there).date()
    return then.strftime("%H:%M:%S" if same_day else "%d %b %H:%M:%S")


def _zone(zone: str | None) -> ZoneInfo:
    try:
        return ZoneInfo(zone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")
