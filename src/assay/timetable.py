"""When something is due again and again: "day 07:00", "monday 08:00", "month 1 08:00", by the clock of a time zone.

And which range of time is told of then: whole days, weeks or months that are over, or the last hours.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
LAST_SURE_DAY = 28
"""The last day that every month has."""


class Timetable(msgspec.Struct, frozen=True, kw_only=True):
    """Due at `at` on every day, or only on a `weekday` (0 is Monday) or a `day` of the month (1..28)."""

    at: time
    zone: ZoneInfo
    weekday: int | None = None
    day: int | None = None

    def last(self, now: datetime) -> datetime:
        """The last moment (UTC) at or before `now` at which it was due."""
        today = now.astimezone(self.zone).date()
        return next(due for back in range(-1, 33) if (due := self._on(today - timedelta(back))) and due <= now)

    def next(self, now: datetime) -> datetime:
        """The first moment (UTC) after `now` at which it is due."""
        today = now.astimezone(self.zone).date()
        return next(due for ahead in range(-1, 33) if (due := self._on(today + timedelta(ahead))) and due > now)

    def _on(self, day: date) -> datetime | None:
        if self.weekday not in (None, day.weekday()) or self.day not in (None, day.day):
            return None
        # A time that the clocks skip is as much later as they skip, one that comes twice is the first.
        return datetime.combine(day, self.at, self.zone).astimezone(UTC)


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """The time that is told of: so many whole `days` or `months` before today, or the last `hours`."""

    hours: int = 0
    days: int = 0
    months: int = 0

    def before(self, due: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
        """Beginning and end (left out), in UTC."""
        if self.hours:
            return due - timedelta(hours=self.hours), due
        today = due.astimezone(zone).date()
        last = today.replace(day=1) if self.months else today
        month = last.year * 12 + last.month - 1 - self.months
        first = date(month // 12, month % 12 + 1, 1) if self.months else last - timedelta(self.days)
        since, until = (datetime.combine(day, time(), zone).astimezone(UTC) for day in (first, last))
        return since, until


def timetable(every: str, zone: str = "UTC") -> Timetable:
    """Read "day 07:00", "monday 08:00" or "month 1 08:00". Raises ValueError with what can be written."""
    found = re.fullmatch(r"(day|month (\d{1,2})|[a-z]+day) ([01]\d|2[0-3]):([0-5]\d)", every.strip().lower())
    known = found and (found[1] in ("day", *WEEKDAYS) or found[2])
    if not found or not known:
        raise ValueError(f'{every!r} is no timetable: write "day 07:00", "monday 08:00" or "month 1 08:00"')
    if found[2] and not 1 <= int(found[2]) <= LAST_SURE_DAY:
        raise ValueError(f"not every month has a day {found[2]}: choose one from 1 to {LAST_SURE_DAY}")
    return Timetable(
        at=time(int(found[3]), int(found[4])),
        zone=time_zone(zone),
        weekday=WEEKDAYS.index(found[1]) if found[1] in WEEKDAYS else None,
        day=int(found[2]) if found[2] else None,
    )


def period(text: str) -> Period:
    """Read "12h", "7d", "2w" or "1month". Raises ValueError with what can be written."""
    found = re.fullmatch(r"([1-9]\d{0,3}) ?(h|d|w|months?)", text.strip().lower())
    if not found:
        raise ValueError(f'{text!r} is no period: write for example "24h", "7d", "2w" or "1month"')
    number = int(found[1])
    if found[2] == "h":
        return Period(hours=number)
    if found[2] in ("d", "w"):
        return Period(days=number * (7 if found[2] == "w" else 1))
    return Period(months=number)


def time_zone(name: str) -> ZoneInfo:
    """The time zone of this name. Raises ValueError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone: write for example Europe/Berlin or UTC") from None
