"""When something is due again and again: "day 07:00", "monday 08:00", "month 1 08:00", by the clock of a time zone.

And which range of time is told of then: whole days, weeks or months that are over, or the last hours.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from pydantic import BaseModel, Field, field_validator

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


FILTERS = (
    *("project", "environment", "service", "release", "model", "provider", "operation"),
    *("session_id", "user_id", "status", "error_type", "prompt_group"),
)
"""What a report can be narrowed by, beside `tag:KEY`."""


class ScheduledReport(BaseModel, extra="forbid"):
    """A report that is sent again and again, as [[report]]. `channels` are those of the alert rules file.

    `every` is "day 07:00", "monday 08:00" or "month 1 08:00" by the clock of `zone`. `period` is the time it tells of:
    "7d", "2w", "1month" (whole days that are over), "24h" (up to now); by itself the day, week or month before.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]{0,59}$")]
    every: str
    zone: str = "UTC"
    period: str = ""
    format: Literal["html", "pdf", "md"] = "html"
    channels: Annotated[list[str], Field(min_length=1)]
    title: Annotated[str, Field(max_length=200)] = ""
    filter: dict[str, str] = {}
    by: list[str] = []
    """Dimensions whose shares of the cost are told beside those of models and users: release, tag:team ..."""

    @field_validator("filter")
    @classmethod
    def _can_filter(cls, filter: dict[str, str]) -> dict[str, str]:
        if unknown := next((name for name in filter if name not in FILTERS and not re.match("tag:.", name)), None):
            raise ValueError(f"cannot filter by {unknown!r}: choose of {', '.join(FILTERS)}, or tag:KEY")
        return filter

    @field_validator("by")
    @classmethod
    def _are_dimensions(cls, by: list[str]) -> list[str]:
        return list(cls._can_filter(dict.fromkeys(by, "")))

    @field_validator("every")
    @classmethod
    def _is_a_timetable(cls, every: str) -> str:
        timetable(every)
        return every

    @field_validator("zone")
    @classmethod
    def _is_a_zone(cls, zone: str) -> str:
        time_zone(zone)
        return zone

    @field_validator("period")
    @classmethod
    def _is_a_period(cls, text: str) -> str:
        return text and (period(text) and text)

    @property
    def timetable(self) -> Timetable:
        """When it is due."""
        return timetable(self.every, self.zone)

    @property
    def covers(self) -> Period:
        """The time it tells of."""
        due = self.timetable
        return period(self.period or ("1month" if due.day else "1d" if due.weekday is None else "7d"))
