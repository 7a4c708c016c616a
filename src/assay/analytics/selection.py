"""Which calls a question is about: a time range and filters, as one bound WHERE clause."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from assay.errors import AssayError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

FILTERS = ("project", "environment", "service", "model", "provider", "session_id", "user_id", "status")
"""What calls can be filtered by, each an exact match. `model` is the response's, else the request's."""


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Counted calls that started in [since, until) and match every filter that is set."""

    since: datetime | None = None
    until: datetime | None = None
    project: str | None = None
    environment: str | None = None
    service: str | None = None
    model: str | None = None
    provider: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    status: str | None = None

    def of_calls(self) -> tuple[str, dict[str, Any]]:
        """Condition and parameters for the `spans` table."""
        return self._where(["counted"], FILTERS)

    def of_traces(self) -> tuple[str, dict[str, Any]]:
        """Condition and parameters for all spans, counted or not, of the time range that are about these calls.

        Where a filter is one of calls alone, those are the spans of their traces, and their duplicates in others.
        """
        origin = ("project", "environment", "service")
        around, parameters = self._where([], origin)
        if all(getattr(self, name) is None for name in FILTERS if name not in origin):
            return around, parameters
        calls, parameters = self._where(["counted"], FILTERS)
        selected = f"FROM spans FINAL WHERE {calls}"
        related = f"trace_id IN (SELECT trace_id {selected}) OR duplicate_of IN (SELECT span_id {selected})"
        return f"{around} AND ({related})", parameters

    def of_judge_calls(self) -> tuple[str, dict[str, Any]]:
        """Condition and parameters for the judge's own calls in `spans`; `model` and `provider` are the judge's."""
        return self._where(["kind = 'judge'"], FILTERS)

    def of_scores(self) -> tuple[str, dict[str, Any]]:
        """Condition and parameters for the `scores` table, by the target call's columns. Only of counted calls."""
        own = ("project", "model", "session_id")
        other = [name for name in FILTERS if name not in own and getattr(self, name) is not None]
        if not other:
            return self._where(["counted"], own)
        calls, parameters = self._where(["counted"], FILTERS)
        where, _ = self._where(["counted"], own)
        return f"{where} AND target IN (SELECT span_id FROM spans FINAL WHERE {calls})", parameters

    def _where(self, conditions: list[str], columns: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
        parameters: dict[str, Any] = {}
        for bound, comparison in (("since", ">="), ("until", "<")):
            if (moment := getattr(self, bound)) is not None:
                conditions.append(f"started_at {comparison} fromUnixTimestamp64Micro({{{bound}:Int64}})")
                parameters[bound] = round(moment.timestamp() * 1e6)
        for name in columns:
            if (value := getattr(self, name)) is not None:
                conditions.append(f"{name} = {{{name}:String}}")
                parameters[name] = value
        return " AND ".join(conditions) or "1", parameters


def moment(text: str, now: datetime | None = None) -> datetime:
    """A point in time from "24h", "30m", "7d" (that long ago) or an ISO 8601 date or time (UTC if it names no zone).

    Raises AssayError with both forms in the message.
    """
    try:
        if match := re.fullmatch(r"(\d{1,6})([smhdw])", text.strip()):
            return (now or datetime.now(UTC)) - timedelta(**{_UNITS[match[2]]: int(match[1])})
        # A + that was not encoded in a URL arrives as a space.
        parsed = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text.strip())
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise AssayError(
            f"{text!r} is no point in time: write an age such as 30m, 24h or 7d, or a date such as 2026-11-23T08:00:00Z"
        ) from None
