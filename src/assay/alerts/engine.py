"""Watch the rules while the server runs: judge what is new, store what changed, put messages into the outbox.

All state is in the store: each round reads the last incidents, judges the newest buckets and goes on from there, so
that a restart at any point loses nothing and says nothing twice. Only the series are kept in memory, to be extended.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from assay.alerts.evaluate import Judgement, judge, sentence
from assay.alerts.incidents import Known, Step, incident_id, steps
from assay.alerts.notify import messages, notices
from assay.alerts.recent import RecentSeries
from assay.alerts.rules import (
    DRIFT,
    ESTIMATES,
    MODEL_METRICS,
    AbsentRule,
    AlertRule,
    BaselineRule,
    ShiftRule,
    ThresholdRule,
    load_rules,
)
from assay.alerts.series import sharing_calls, worst_calls
from assay.alerts.watch import Condition
from assay.errors import traced
from assay.store.connect import Row, Store
from assay.store.incidents import (
    IncidentEvent,
    as_micros,
    insert_attempts,
    insert_events,
    last_incidents,
    silences,
    told_of,
)

POLL_SECONDS = 5.0
HORIZON_BUCKETS = 20
"""So far back, beside what a rule waits for, a condition is looked for that nothing is known of yet."""
SLOW_RESTS = 10
"""A rule that is too slow rests this many times as long as it took."""
GONE_SECONDS = 86_400
"""An incident of a group without any call is over after a day."""

log = logging.getLogger(__name__)


class RuleState(msgspec.Struct):
    """How one rule is doing, for the page: when it was judged, how long that took, what it found, what went wrong."""

    judged_at: datetime | None = None
    seconds: float = 0.0
    groups: int = 0
    calls: int = 0
    message: str = ""
    error: str = ""
    rests_until: float = 0.0


class Engine:
    """Judges the rules of a file every few seconds until `stop`. The file is read again whenever it changes.

    `conditions` are Assay's own parts as they are now; `url` is where the dashboard is, for links.
    """

    def __init__(
        self,
        store: Store,
        rules: Path,
        url: str,
        conditions: Callable[[Engine, float], Sequence[Condition]] = lambda _engine, _now: (),
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self.last_error = ""
        self.went_well_at = time.monotonic()
        self.book = load_rules(rules)
        self.states: dict[str, RuleState] = {}
        self._store = store
        self._path = rules
        self._read_at = _changed_at(rules)
        self._url = url
        self._conditions = conditions
        self._poll_seconds = poll_seconds
        self._recent = RecentSeries(store)
        self._judged_until = 0
        self._started = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="assay-alerts", daemon=True)

    @property
    def stalled_seconds(self) -> float:
        """How long ago a round last ended well."""
        return time.monotonic() - self.went_well_at

    def start(self) -> None:
        """Begin to watch."""
        self.went_well_at = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Finish the round in hand, then end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def round(self, now: float | None = None) -> list[IncidentEvent]:
        """Judge once, store, and make messages due; answers the new events. Raises StoreError."""
        at = time.time() if now is None else now
        self._started = self._started or at
        self._read_rules()
        last = {(row["rule"], row["group"]): row for row in last_incidents(self._store)}
        events = [*self._of_rules(at, last), *self._of_parts(at, last), *self._over(at, last)]
        insert_events(self._store, events)
        self._tell(at)
        return events

    def _of_rules(self, now: float, last: dict[tuple[str, str], Row]) -> list[IncidentEvent]:
        step = self.book.engine.every
        until = int(now - self.book.engine.delay) // step * step
        if until <= self._judged_until:
            return []
        events = list[IncidentEvent]()
        rules = [rule for rule in self.book.rules.values() if rule.enabled and self._awake(rule, now)]
        for sharing in sharing_calls(rules):
            began, known = time.perf_counter(), self._recent.knows(sharing)
            try:
                series = self._recent.series(sharing, until, step)
                for rule in sharing:
                    events += self._of_rule(rule, series[rule.name], until, now, last)
                problem = ""
            except Exception as error:  # whatever is wrong with one rule, the others are judged
                problem = f"cannot be judged: {error}"
                log.warning("alert rules %s: %s", ", ".join(rule.name for rule in sharing), error)
            # The first look reads weeks, and once: only what is slow every time is too slow.
            self._note(sharing, problem, time.perf_counter() - began if known else 0.0, now)
            self.went_well_at = time.monotonic()
        self._judged_until = until
        return events

    def _of_rule(
        self, rule: AlertRule, by_group: dict[str, Any], until: int, now: float, last: dict[tuple[str, str], Row]
    ) -> list[IncidentEvent]:
        step, state = self.book.engine.every, self.states.setdefault(rule.name, RuleState())
        reach = rule.hold_seconds + rule.resolve_after + HORIZON_BUCKETS * step
        events, messages_now = list[IncidentEvent](), list[str]()
        for group, series in by_group.items():
            judged = judge(rule, series, reach // step + 1)
            if len(judged.state):
                messages_now.append(sentence(rule, judged, len(judged.state) - 1))
            known = last.get((rule.name, group))
            horizon = until - rule.hold_seconds - HORIZON_BUCKETS * step
            events += [self._event(rule, group, change, judged) for change in _changes(rule, judged, known, horizon)]
        state.judged_at, state.groups = datetime.fromtimestamp(now, UTC), len(by_group)
        state.message = messages_now[0] if messages_now else "no calls yet"
        return events

    def _event(self, rule: AlertRule, group: str, change: Step, judged: Judgement) -> IncidentEvent:
        key = incident_id(rule.name, group, change.began)
        return IncidentEvent(
            incident_id=key,
            event_id=f"{key}-{change.phase}",
            rule=rule.name,
            group=group,
            kind=change.phase,
            severity=rule.severity,
            began=change.began * 1_000_000,
            at=change.at * 1_000_000,
            message=sentence(rule, judged, change.bucket),
            evidence=self._evidence(rule, group, change, judged) if change.phase == "firing" else "",
        )

    def _evidence(self, rule: AlertRule, group: str, change: Step, judged: Judgement) -> str:
        names = ("value", "low", "high", "n", "usual")
        figures = {name: float(getattr(judged, name)[change.bucket]) for name in names}
        known = {name: value if np.isfinite(value) else None for name, value in figures.items()}
        worst = list[Row]()
        if not isinstance(rule, AbsentRule) and rule.metric not in ("volume", DRIFT, *ESTIMATES):
            since = change.at - judged.window
            worst = worst_calls(self._store, rule, group, since, change.at, highest=_highest(rule))
        where = "api/predictions?prediction_id=" if rule.metric in MODEL_METRICS else "conversations?call="
        calls = [
            {
                **call,
                "started_at": call["started_at"].isoformat(),
                "url": f"{self._url}/{where}{call['span_id']}",
            }
            for call in worst
        ]
        told: dict[str, Any] = {"figures": {**known, "window_seconds": judged.window}, "worst_calls": calls}
        if judged.drifts:
            told["column"] = judged.columns[int(judged.drifts.leading[change.bucket])]
            told["drifted"] = int(judged.drifts.drifted[change.bucket])
        return json.dumps(told)

    def _of_parts(self, now: float, last: dict[tuple[str, str], Row]) -> list[IncidentEvent]:
        """Incidents of Assay's own parts: what holds fires at once, and ends when it holds no more."""
        found = {(one.rule, one.group): one for one in self._conditions(self, now)}
        at, events = int(now), list[IncidentEvent]()
        for (name, group), row in last.items():
            if row["phase"] == "firing" and name.startswith("assay:") and (name, group) not in found:
                began = as_micros(row["began"]) // 1_000_000
                events.append(_own(Condition(name, group, row["severity"], "it is over"), "resolved", began, at))
        for key, condition in found.items():
            if key not in last or last[key]["phase"] != "firing":
                events.append(_own(condition, "firing", at, at))
        return events

    def _over(self, now: float, last: dict[tuple[str, str], Row]) -> list[IncidentEvent]:
        """Incidents that no judgement can end any more: their rule is gone, or all calls of their group."""
        events = list[IncidentEvent]()
        for (name, group), row in last.items():
            rule = self.book.rules.get(name)
            if row["phase"] not in ("pending", "firing") or name.startswith("assay:"):
                continue
            removed = rule is None or not rule.enabled
            gone = not removed and group != "" and self._gone(rule, group, row, now)
            if removed or gone:
                phase = "resolved" if row["phase"] == "firing" else "cleared"
                why = "its rule was removed or switched off" if removed else "no call of this group for a day"
                began = as_micros(row["began"]) // 1_000_000
                events.append(_own(Condition(name, group, row["severity"], why), phase, began, int(now)))
        return events

    def _gone(self, rule: AlertRule | None, group: str, row: Row, now: float) -> bool:
        known = self._recent.groups(rule) if rule else None
        return known is not None and group not in known and now - row["changed_at"].timestamp() > GONE_SECONDS

    def _tell(self, now: float) -> None:
        if not self.book.channels:
            return
        moment, micros = datetime.fromtimestamp(now, UTC), round(now * 1e6)
        last = [row for row in last_incidents(self._store) if row["fired"]]
        told: dict[str, set[str]] = {}
        for row in told_of(self._store, [one["incident_id"] for one in last]) if last else []:
            told.setdefault(row["channel"], set()).update(row["event_ids"])
        found = notices(last, told, silences(self._store, at=micros), self.book, moment)
        insert_attempts(self._store, messages(found, self.book, self._url, micros))

    def _awake(self, rule: AlertRule, now: float) -> bool:
        if now < self.states.setdefault(rule.name, RuleState()).rests_until:
            return False
        # While this server was away no call could come in: that is no absence.
        return not isinstance(rule, AbsentRule) or now - self._started >= rule.window

    def _note(self, sharing: Sequence[AlertRule], problem: str, seconds: float, now: float) -> None:
        limit = self.book.engine.slow_after
        slow = seconds > limit
        for rule in sharing:
            state = self.states.setdefault(rule.name, RuleState())
            state.seconds = round(seconds, 3)
            state.error = problem or (
                f"took {seconds:.1f} s, more than slow_after = {limit} s: it rests" if slow else ""
            )
            state.rests_until = now + SLOW_RESTS * seconds if slow else 0.0

    def _read_rules(self) -> None:
        changed = _changed_at(self._path)
        if changed != self._read_at:
            self.book, self._read_at = load_rules(self._path), changed
            self.states = {name: state for name, state in self.states.items() if name in self.book.rules}
            self._recent = RecentSeries(self._store)
            self._judged_until = 0

    def _run(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            try:
                self.round()
                self.last_error, self.went_well_at = "", time.monotonic()
            except Exception as error:
                self.last_error = f"watching alerts: {error}"
                log.warning("alert rules are tried again: %s", error, exc_info=traced(error))


def _changes(rule: AlertRule, judged: Judgement, row: Row | None, horizon: int) -> list[Step]:
    known = None
    if row:
        known = Known(row["phase"], as_micros(row["began"]) // 1_000_000, as_micros(row["changed_at"]) // 1_000_000)
    is_open = known is not None and known.phase in ("pending", "firing")
    since = 0 if is_open else horizon
    return steps(judged.state, judged.start, judged.step, rule.hold_seconds, rule.resolve_after, known, since)


def _own(condition: Condition, kind: Any, began: int, at: int) -> IncidentEvent:
    key = incident_id(condition.rule, condition.group, began)
    return IncidentEvent(
        incident_id=key,
        event_id=f"{key}-{kind}",
        rule=condition.rule,
        group=condition.group,
        kind=kind,
        severity=condition.severity,
        began=began * 1_000_000,
        at=at * 1_000_000,
        message=condition.message,
    )


def _highest(rule: AlertRule) -> bool:
    """Whether the worst calls are those with the highest values."""
    match rule:
        case ThresholdRule():
            return rule.under is None and (rule.over is not None or rule.above is not None)
        case BaselineRule():
            return rule.under is None and rule.direction != "below"
        case ShiftRule():
            return rule.direction == "up"
        case _:
            return rule.under is None


def _changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
