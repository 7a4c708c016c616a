"""Which calls a question is about, as one bound WHERE clause, and what they can be grouped by."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from assay.errors import AssayError
from assay.records import FILTERS
from assay.store.prompt_groups import OTHER

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

DIMENSIONS = FILTERS
"""What calls can be grouped by, beside `tag:KEY`."""

TAG = "tag:"

_OF_SCORES = ("project", "model", "session_id")
"""What scores themselves carry of their call."""

_OF_EMBEDDINGS = (*_OF_SCORES, "status")
"""And what embeddings do."""

LATENCIES = {"min_latency_ms": ">=", "max_latency_ms": "<"}
"""The filters by latency, and how it compares to each."""

_SHORT = {
    "user": "user_id",
    "users": "user_id",
    "session": "session_id",
    "sessions": "session_id",
    **{f"{name}s": name for name in ("model", "project", "provider", "service", "release", "operation", "environment")},
}


class Dimension(NamedTuple):
    """What calls are grouped by: its name, and SQL with parameters for its value (text, "" for none) of a span."""

    name: str
    sql: str
    parameters: dict[str, Any]


def dimension(name: str) -> Dimension:
    """One of DIMENSIONS (also as `users`, `models` ...), or `tag:KEY`. Raises AssayError with all of them."""
    if name.startswith(TAG) and len(name) > len(TAG):
        return Dimension(name, "attributes[{dimension:String}]", {"dimension": name.removeprefix(TAG)})
    full = _SHORT.get(name, name)
    if full not in DIMENSIONS:
        known = ", ".join(DIMENSIONS)
        raise AssayError(f"cannot group by {name!r}: choose one of {known}, or tag:KEY for an attribute of the calls")
    return Dimension(full, f"spans.{full}", {})


def tag(text: str) -> tuple[str, str]:
    """KEY:VALUE as a pair; the first colon parts them. Raises AssayError."""
    key, colon, value = text.partition(":")
    if not key or not colon:
        raise AssayError(f"{text!r} is no tag: write KEY:VALUE, for example team:search")
    return key, value


EARLIEST, LATEST = (moment.replace(tzinfo=UTC) for moment in (datetime.min, datetime.max))


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Counted calls that started in [since, until) and match every filter that is set.

    `release` is the resource's service.version; `tags` are attributes of the calls, as (key, value) each;
    `prompt_group` is the id of a kind of question, or "other". Latencies are from the least on, and below the most.
    `apart` are days (UTC) that are left out.
    """

    since: datetime | None = None
    until: datetime | None = None
    project: str | None = None
    environment: str | None = None
    service: str | None = None
    release: str | None = None
    model: str | None = None
    provider: str | None = None
    operation: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    status: str | None = None
    error_type: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    prompt_group: str | None = None
    min_latency_ms: float | None = None
    max_latency_ms: float | None = None
    apart: tuple[date, ...] = ()

    def of_calls(self) -> tuple[str, dict[str, Any]]:
        """Condition and parameters for the `spans` table."""
        return self._of_spans("counted")

    def of_starts(self, some: str) -> tuple[str, dict[str, Any]]:
        """Condition and parameters, for any table: what started when one of these calls with `some` did.

        For few calls: starts are part of each table's sorting key, so it may go before FINAL, and no columns of other
        rows are read.
        """
        where, parameters = self.of_calls()
        return f"started_at IN (SELECT started_at FROM spans WHERE {where} AND {some})", parameters

    def of_traces(self) -> tuple[str, dict[str, Any]]:
        """Condition and parameters for all spans, counted or not, of the time range that are about these calls.

        Where a filter is one of calls alone, those are the spans of their traces, and their duplicates in others.
        """
        origin = ("project", "environment", "service")
        around, parameters = self._where(["1"], origin)
        if self._asks_only(origin):
            return around, parameters
        calls, parameters = self.of_calls()
        selected = f"FROM spans FINAL WHERE {calls}"
        related = f"trace_id IN (SELECT trace_id {selected}) OR duplicate_of IN (SELECT span_id {selected})"
        return f"{around} AND ({related})", parameters

    def of_judge_calls(self) -> tuple[str, dict[str, Any]]:
        """Condition and parameters for the judge's own calls in `spans`; `model` and `provider` are the judge's."""
        return self._of_spans("kind = 'judge'")

    def of_scores(self) -> tuple[str, dict[str, Any]]:
        """Condition and parameters for the `scores` table, by the target call's columns. Only of counted calls."""
        own, parameters = self._where(["counted"], _OF_SCORES)
        if self._asks_only(_OF_SCORES):
            grouped, more = self._in_group("target")
            return own + grouped, parameters | more
        calls, parameters = self.of_calls()
        return f"{own} AND target IN (SELECT span_id FROM spans FINAL WHERE {calls})", parameters

    def of_embeddings(self) -> tuple[str, dict[str, Any]]:
        """Condition and parameters for the `embeddings` table, which has the calls with a prompt."""
        conditions, group = ["counted"], {}
        if self.prompt_group is not None:
            conditions.append("prompt_group = {prompt_group:String}")
            group = self._in_group("")[1]
        own, parameters = self._where(conditions, _OF_EMBEDDINGS)
        if self._asks_only(_OF_EMBEDDINGS):
            return own, parameters | group
        calls, parameters = msgspec.structs.replace(self, prompt_group=None).of_calls()
        return f"{own} AND span_id IN (SELECT span_id FROM spans FINAL WHERE {calls})", parameters | group

    def scores_by(self, by: Dimension | None, names: Sequence[str] = ()) -> tuple[str, str, dict[str, Any]]:
        """What stands after FROM for the scores of these calls, the SQL of their group, and parameters.

        `names` keeps scores with those names only. Quick where scores carry the dimension themselves; else they are
        joined with their calls.
        """
        named = " AND name IN {names:Array(String)}" if names else ""
        asked = {"names": list(names)} if names else {}
        if by is None or by.name in _OF_SCORES:
            where, parameters = self.of_scores()
            group = by.name if by else "''"
            return f"scores FINAL WHERE {where}{named}", group, parameters | asked
        own, _ = self._where(["counted"], _OF_SCORES)
        calls, parameters = self.of_calls()
        # Joined by a hash: half the time of joining by the texts.
        source = f"""
            (
                SELECT cityHash64(project, target) AS call, name, source, value, sample, started_at
                FROM scores FINAL WHERE {own}{named}
            ) AS scores
            LEFT SEMI JOIN (
                SELECT cityHash64(project, span_id) AS call, {by.sql} AS of_call FROM spans FINAL WHERE {calls}
            ) AS calls ON scores.call = calls.call"""
        return source, "of_call", parameters | by.parameters | asked

    def _of_spans(self, condition: str) -> tuple[str, dict[str, Any]]:
        where, parameters = self._where([condition], FILTERS)
        for number, (key, value) in enumerate(self.tags):
            where += f" AND attributes[{{tag_{number}:String}}] = {{tag_{number}_value:String}}"
            parameters |= {f"tag_{number}": key, f"tag_{number}_value": value}
        for bound, comparison in LATENCIES.items():
            if (value := getattr(self, bound)) is not None:
                where += f" AND latency_ms {comparison} {{{bound}:Float64}}"
                parameters[bound] = value
        grouped, more = self._in_group("span_id")
        return where + grouped, parameters | more

    def _asks_only(self, names: tuple[str, ...]) -> bool:
        others = (*(name for name in FILTERS if name not in names), *LATENCIES)
        return not self.tags and all(getattr(self, name) is None for name in others)

    def _in_group(self, call: str) -> tuple[str, dict[str, Any]]:
        """Further condition and parameters that keep the calls of `prompt_group`; `call` names the column of the id."""
        if self.prompt_group is None:
            return "", {}
        embedded, _ = self._where(["prompt_group = {prompt_group:String}"], ("project",))
        group = "" if self.prompt_group == OTHER else self.prompt_group
        return f" AND {call} IN (SELECT span_id FROM embeddings FINAL WHERE {embedded})", {"prompt_group": group}

    def _where(self, conditions: list[str], names: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
        parameters: dict[str, Any] = {}
        for bound, comparison in (("since", ">="), ("until", "<")):
            if (moment := getattr(self, bound)) is not None:
                conditions.append(f"started_at {comparison} fromUnixTimestamp64Micro({{{bound}:Int64}})")
                parameters[bound] = round(moment.timestamp() * 1e6)
        if self.apart:
            conditions.append("toDate(started_at) NOT IN {apart:Array(Date)}")
            parameters["apart"] = list(self.apart)
        for name in names:
            if (value := getattr(self, name)) is not None:
                conditions.append(f"{name} = {{{name}:String}}")
                parameters[name] = value
        return " AND ".join(conditions), parameters


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
