"""What days that are over sum up to, kept question by question, so that only newer calls are read again.

A day's sums hold as long as the day has the same parts: the engine never changes a part, it makes another. They live in
tables of the embedded engine beside the store's own, one a question, whose comment says what they hold: so a process
takes over what the one before it kept.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from math import inf
from typing import Any, NamedTuple

import msgspec

from assay.errors import StoreError

DATABASE = "kept"

MOST_BYTES = 256 << 20
MOST_BYTES_EACH = 64 << 20
MOST_QUESTIONS = 200
MOST_KNOWN = 10_000
"""So many questions are remembered, most of which are not worth it to be kept."""
REST_SECONDS = 600.0
LONG_REST_SECONDS = 86_400.0
"""So long a question is not kept after an error, and where its sums are too many or too large."""

_FIRST, _END = datetime(1970, 1, 2, tzinfo=UTC), datetime(2149, 6, 6, tzinfo=UTC)
"""The days that have a partition of their own: what came before or after is all in one."""

# The engine may call a part by the name of one that was there before the last start: its content tells them apart.
_DAYS = """
    SELECT partition AS day, groupBitXor(cityHash64(table, name, hash_of_all_files)) AS parts, sum(rows) AS rows
    FROM system.parts
    WHERE active AND database = currentDatabase() AND table IN ('spans', 'scores', 'embeddings')
        AND partition > {before:String} AND partition < {end:String}
    GROUP BY day HAVING toUnixTimestamp(max(modification_time)) <= {quiet:Float64} ORDER BY day"""

_TABLES = """
    SELECT concat(database, '.', name) AS name, comment, ifNull(total_rows, 0) AS rows
    FROM system.tables WHERE database = {database:String}"""

log = logging.getLogger(__name__)


class Least(NamedTuple):
    """From where on it is worth it to keep sums.

    Of fewer `rows` of calls, scores and embeddings, and where a sum stands for fewer than `rows_each` on average, the
    rows are read in about the same time. To a day nothing must have been written for `quiet_seconds`: what is inserted
    comes in many parts, and those are merged.
    """

    rows: int = 1_000_000
    rows_each: int = 100
    quiet_seconds: float = 60.0


class Day(NamedTuple):
    """A hash of the parts that a day (UTC) has, and how many rows these have."""

    parts: int
    rows: int


Days = dict[str, Day]
"""By their partitions' names: 2026-11-30."""

Sums = Callable[[list[str]], tuple[str, dict[str, Any]]]
"""A SELECT of the sums of these days, with the day first and as `day`, and its parameters."""


class Table(NamedTuple):
    """Where sums are: of each day those rows of the table `name` whose `turn` is the one named here."""

    name: str
    turns: dict[str, int]


class _Summed(NamedTuple):
    """A day as it was when it was summed up, in which turn that was, and to how many rows."""

    day: Day
    turn: int
    sums: int


class _Note(msgspec.Struct):
    """What the comment of a table says of it.

    `made_by` tells versions of the engine and of the store's own tables; `rows` also counts those of days as they were
    before they changed.
    """

    question: str
    made_by: str
    rows: int
    days: dict[str, _Summed]


class _Question:
    def __init__(self, table: str = "", days: dict[str, _Summed] | None = None, rows: int = 0) -> None:
        self.lock = threading.Lock()
        self.table = table
        self.days = days or {}
        self.rows = rows
        self.asked = 0.0
        self.rests_until = 0.0


class Kept:
    """The sums of one store. Thread-safe."""

    def __init__(
        self,
        query: Callable[[str, Mapping[str, Any]], list[dict[str, Any]]],
        command: Callable[[str, Mapping[str, Any]], None],
        kept_free_bytes: int = 0,
    ) -> None:
        self._query = query
        self._command = command
        self._kept_free_bytes = kept_free_bytes
        self._lock = threading.Lock()
        self._questions: dict[str, _Question] = {}
        self._turns = count(time.time_ns())  # never one that another process had
        self._made_by = ""
        self.least = Least()

    def begin(self) -> None:
        """Takes over what another process kept of days that are still the same. Raises StoreError."""
        [made_by] = self._query("SELECT concat(version(), ' ', max(number)) AS made_by FROM schema_migrations", {})
        self._made_by = made_by["made_by"]
        try:
            self._take_over()
        except StoreError as error:
            log.warning("what days sum up to is kept anew, questions are slower at first: %s", error)
            self._questions = {}
            self._command(f"DROP DATABASE IF EXISTS {DATABASE} SYNC", {})

    def _take_over(self) -> None:
        tables = self._query(_TABLES, {"database": DATABASE})
        days = self._days_between(str(_FIRST.date()), str(_END.date()), inf) if tables else {}
        for table in tables:
            note = _noted(table["comment"])
            same = {day: summed for day, summed in note.days.items() if days.get(day) == summed.day}
            # All rows are there, or those of days as they were are gone by now; otherwise some were lost.
            whole = table["rows"] in (note.rows, _sums(note.days))
            if not (same and whole and note.made_by == self._made_by):
                self._command(f"DROP TABLE {table['name']}", {})
                continue
            asked = self._questions[note.question] = _Question(table["name"], same, table["rows"])
            if asked.rows != _sums(same):
                self._remove_others(asked)
                self._note(note.question, asked)

    def days(self, since: datetime, until: datetime) -> Days:
        """The days that lie in [since, until) as a whole and are not written to now; none where they have few rows."""
        before = (max(since, _FIRST) - timedelta(microseconds=1)).astimezone(UTC).date()
        end = min(until, _END).astimezone(UTC).date()
        if end - before <= timedelta(days=1):
            return {}
        days = self._days_between(str(before), str(end), time.time() - self.least.quiet_seconds)
        return days if sum(day.rows for day in days.values()) >= self.least.rows else {}

    def _days_between(self, before: str, end: str, quiet: float) -> Days:
        rows = self._query(_DAYS, {"before": before, "end": end, "quiet": quiet})
        return {row["day"]: Day(row["parts"], row["rows"]) for row in rows}

    def table(self, question: str, days: Days, sums: Sums) -> Table | None:
        """Where the sums of these days are, the missing ones added; None where it is not worth it to keep them.

        `question` tells it from others: whatever the sums depend on but for the days.
        """
        with self._lock:
            if len(self._questions) > MOST_KNOWN:
                self._questions = {name: one for name, one in self._questions.items() if one.table}
            asked = self._questions.setdefault(question, _Question())
            asked.asked = now = time.monotonic()
        with asked.lock:
            if asked.rests_until > now:
                return None
            try:
                # The largest day tells whether the others are worth it.
                largest = max(days, key=lambda day: days[day].rows)
                is_new = not asked.table
                for some in ({largest: days[largest]}, days) if is_new else (days,):
                    if not self._add(asked, some, sums):
                        continue
                    if not self._is_worth_it(asked):
                        # An old one is full of days as they were, or long ago: it is begun anew the next time.
                        asked.rests_until = now + LONG_REST_SECONDS if is_new else 0.0
                        return None
                    self._note(question, asked)
            except StoreError as error:
                log.warning("what days sum up to is not kept, questions are slower for now: %s", error)
                asked.rests_until = now + REST_SECONDS
                self._drop(asked)
            return Table(asked.table, {day: asked.days[day].turn for day in days}) if asked.table else None

    def forget(self, question: str) -> None:
        """Away with its sums, which cannot be read."""
        with self._lock:
            asked = self._questions.get(question)
        if asked:
            with asked.lock:
                self._drop(asked)

    def _add(self, asked: _Question, days: Days, sums: Sums) -> bool:
        """Sums up the days that are not there as they are now; answers whether there were any."""
        missing = [day for day, own in days.items() if day not in asked.days or asked.days[day].day != own]
        if not missing:
            return False
        turn = next(self._turns)
        sql, parameters = sums(missing)
        summed = f"SELECT {turn}::UInt64 AS turn, * FROM ({sql})"
        if not asked.table:
            asked.table = self._create(f"{DATABASE}.question_{turn}", summed, parameters)
        self._command(f"INSERT INTO {asked.table} {summed}", parameters)
        rows = self._query(
            f"SELECT toString(day) AS day, count() AS sums FROM {asked.table} WHERE turn = {turn} GROUP BY day", {}
        )
        sums_of = {row["day"]: row["sums"] for row in rows}
        asked.days |= {day: _Summed(days[day], turn, sums_of.get(day, 0)) for day in missing}
        asked.rows += sum(sums_of.values())
        return True

    def _note(self, question: str, asked: _Question) -> None:
        note = msgspec.json.encode(_Note(question, self._made_by, asked.rows, asked.days)).decode()
        self._command(f"ALTER TABLE {asked.table} MODIFY COMMENT '{note}'", {})

    def _remove_others(self, asked: _Question) -> None:
        """Away, soon, with sums of days as they were: nobody reads them any more."""
        days, turns = list(asked.days), [summed.turn for summed in asked.days.values()]
        self._command(
            f"ALTER TABLE {asked.table} DELETE WHERE (day, turn) NOT IN"
            " (SELECT arrayJoin(arrayZip({days:Array(Date)}, {turns:Array(UInt64)})))",
            {"days": days, "turns": turns},
        )

    def _create(self, table: str, summed: str, parameters: Mapping[str, Any]) -> str:
        self._command(f"CREATE DATABASE IF NOT EXISTS {DATABASE}", {})
        self._command(
            f"CREATE TABLE {table} ENGINE = MergeTree ORDER BY day"
            f" SETTINGS min_free_disk_bytes_to_perform_insert = {self._kept_free_bytes} EMPTY AS {summed}",
            parameters,
        )
        return table

    def _is_worth_it(self, last: _Question) -> bool:
        """Whether to keep what was added last; if so, what was not asked for longest makes room."""
        rows = self._query(
            "SELECT concat(database, '.', table) AS table, sum(bytes_on_disk) AS bytes, sum(rows) AS rows"
            " FROM system.parts WHERE active AND database = {database:String} GROUP BY table",
            {"database": DATABASE},
        )
        size = {row["table"]: row["bytes"] for row in rows}
        sums = sum(row["rows"] for row in rows if row["table"] == last.table)
        of_rows = sum(summed.day.rows for summed in last.days.values())
        if size.get(last.table, 0) > MOST_BYTES_EACH or sums * self.least.rows_each > of_rows:
            self._drop(last)
            return False
        self._make_room(last, size)
        return True

    def _make_room(self, last: _Question, size: dict[str, int]) -> None:
        with self._lock:
            others = [one for one in self._questions.values() if one.table and one is not last]
        total, many = sum(size.values()), len(others) + 1
        for one in sorted(others, key=lambda one: one.asked):
            if total <= MOST_BYTES and many <= MOST_QUESTIONS:
                break
            # One that is being summed up is not the one to go, and to wait for it could be to wait for each other.
            if one.lock.acquire(blocking=False):
                try:
                    total, many = total - size.get(one.table, 0), many - 1
                    self._drop(one)
                finally:
                    one.lock.release()

    def _drop(self, asked: _Question) -> None:
        """Whoever reads the table right now meets an error, and asks the calls themselves."""
        table, asked.table, asked.days, asked.rows = asked.table, "", {}, 0
        if table:
            with suppress(StoreError):  # then it is taken over, or removed, at the next start
                self._command(f"DROP TABLE IF EXISTS {table}", {})


def _noted(comment: str) -> _Note:
    try:
        return msgspec.json.decode(comment, type=_Note)
    except msgspec.DecodeError:  # of a table that was not summed up to its end
        return _Note("", "", 0, {})


def _sums(days: Mapping[str, _Summed]) -> int:
    return sum(summed.sums for summed in days.values())
