"""Who is told what: incidents become messages, one a channel and moment, kept in the store until they are delivered.

Routing is a function of what the store says, so a crash at any point loses no message, and none is made twice: a
message is known by the events in it. `Courier` delivers what is due, in a thread of its own.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from assay.alerts.channels import CannotDeliver, Document, ping, send
from assay.alerts.rules import SEVERITIES, Channel, Inhibition, Maintenance, RuleBook
from assay.errors import AssayError, traced
from assay.store.connect import Row, Store
from assay.store.incidents import DeliveryAttempt, IncidentEvent, as_micros, due_deliveries, insert_attempts

SCHEMA = "assay.alert/1"
FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 600.0
POLL_SECONDS = 1.0

log = logging.getLogger(__name__)


class Notice(msgspec.Struct, frozen=True):
    """One event of one incident that a channel is to be told of."""

    channel: str
    incident: Row
    kind: str
    event_id: str


def unsaid(incident: Row, fired: Iterable[Row], silences: Iterable[Row], book: RuleBook, now: datetime) -> str:
    """Why nobody is told of this incident at present: a silence, planned maintenance, inhibition; "" to tell."""
    for silence in silences:
        if matches(json.loads(silence["matchers"]), incident):
            return f"silenced until {silence['ends']:%Y-%m-%d %H:%M} UTC"
    for window in book.maintenance:
        if _named(window, incident["rule"]) and window.covers(now):
            return f"maintenance: {window.name}"
    for other in fired:
        if any(_inhibits(rule, other, incident, book) for rule in book.inhibitions):
            return f"inhibited by {other['rule']}"
    return ""


def matches(matchers: Mapping[str, str], incident: Row) -> bool:
    """Whether all matchers (rule, group, severity, incident_id; * is a wildcard) fit the incident."""
    return all(fnmatch.fnmatchcase(str(incident[name]), pattern) for name, pattern in matchers.items())


def notices(
    incidents: Iterable[Row], told: Mapping[str, set[str]], silences: Sequence[Row], book: RuleBook, now: datetime
) -> list[Notice]:
    """What is to be said now. `incidents` are the last of each rule and group, `told` the event ids by channel."""
    last = list(incidents)
    fired = [one for one in last if one["phase"] == "firing"]
    found = list[Notice]()
    for incident in last:
        due = _events_due(incident, book, now)
        if not due or unsaid(incident, fired, silences, book, now):
            continue
        for channel in channels_of(incident, book):
            found += [
                Notice(channel.name, incident, *event) for event in _new(due, told.get(channel.name, set()), incident)
            ]
    return found


def channels_of(incident: Row, book: RuleBook) -> list[Channel]:
    """The channels that the incident's rule names (all, where it names none that exist), if it is grave enough."""
    rule = book.rules.get(incident["rule"])
    named = [book.channels[name] for name in rule.channels if name in book.channels] if rule else []
    grave = SEVERITIES.index(incident["severity"])
    return [channel for channel in named or book.channels.values() if grave <= SEVERITIES.index(channel.min_severity)]


def messages(found: Iterable[Notice], book: RuleBook, url: str, now: int) -> list[DeliveryAttempt]:
    """One message a channel, due now (Unix microseconds): simultaneous incidents are told of together."""
    by_channel: dict[str, list[Notice]] = {}
    for notice in found:
        by_channel.setdefault(notice.channel, []).append(notice)
    return [_message(channel, of, book, url, now) for channel, of in by_channel.items()]


def _message(channel: str, told: Sequence[Notice], book: RuleBook, url: str, now: int) -> DeliveryAttempt:
    ordered = sorted(
        told, key=lambda one: (SEVERITIES.index(one.incident["severity"]), one.incident["rule"], one.event_id)
    )
    delivery_id = _digest(channel, *(one.event_id for one in ordered))
    body = {
        "schema": SCHEMA,
        "id": delivery_id,
        "at": datetime.fromtimestamp(now / 1e6, UTC).isoformat(),
        "status": "resolved" if all(one.kind == "resolved" for one in ordered) else "firing",
        "incidents": [_told(one, book, url) for one in ordered],
        "incident_ids": [one.incident["incident_id"] for one in ordered],
        "event_ids": [one.event_id for one in ordered],
    }
    return due(channel, delivery_id, body, now)


def due(channel: str, delivery_id: str, body: Mapping[str, Any], now: int) -> DeliveryAttempt:
    """A message as it goes into the outbox."""
    return DeliveryAttempt(
        delivery_id=delivery_id, attempt=0, channel=channel, state="due", body=json.dumps(body), at=now, next_at=now
    )


def trial(channel: str, now: int) -> DeliveryAttempt:
    """A message that tells only that messages arrive."""
    return notification(channel, _digest(channel, "test", str(now)), "test", now)


def notification(channel: str, delivery_id: str, status: str, now: int, **more: Any) -> DeliveryAttempt:
    """A message about no incident, due now (Unix microseconds); `more` goes into its body."""
    body = {
        "schema": SCHEMA,
        "id": delivery_id,
        "at": datetime.fromtimestamp(now / 1e6, UTC).isoformat(),
        "status": status,
        "incidents": [],
        "incident_ids": [],
        "event_ids": [],
        **more,
    }
    return due(channel, delivery_id, body, now)


class Courier:
    """Delivers what is due until `stop`. `url` is where the dashboard is, for links; `alive` tells if all goes well.

    An attempt is written down before and after: after a crash in between the message is sent again under the same id
    (`webhook-id`), by which a receiver knows it. `enclose` makes what a message brings beside its text, from its body.
    """

    def __init__(
        self,
        store: Store,
        book: Callable[[], RuleBook],
        alive: Callable[[], bool] = lambda: True,
        enclose: Callable[[Mapping[str, Any]], Document | None] = lambda _: None,
    ) -> None:
        self.last_error = ""
        self.failing_since: dict[str, float] = {}
        self._store = store
        self._book = book
        self._alive = alive
        self._enclose = enclose
        self._heartbeat_at = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="assay-courier", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the message in hand, then end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def step(self, now: float | None = None) -> int:
        """Deliver what is due; answers how many messages were sent. Raises StoreError."""
        at = time.time() if now is None else now
        self._beat(at)
        return sum(
            self._deliver(row, at) for row in due_deliveries(self._store) if as_micros(row["next_at"]) <= at * 1e6
        )

    def _deliver(self, row: Row, now: float) -> bool:
        book = self._book()
        moment, body = round(now * 1e6), json.loads(row["body"])
        number = row["attempts"] + (row["state"] != "sending")
        began = as_micros(row["due_at"]) / 1e6

        def attempt(state: Any, error: str = "", pause: float = 0.0) -> DeliveryAttempt:
            return DeliveryAttempt(
                delivery_id=row["delivery_id"],
                attempt=max(number, 1),
                channel=row["channel"],
                state=state,
                body=row["body"],
                error=error,
                at=moment,
                next_at=moment + round(pause * 1e6),
            )

        insert_attempts(self._store, [attempt("sending")])
        channel = book.channels.get(row["channel"])
        try:
            if channel is None:
                raise CannotDeliver("this channel is no longer in the rules file")
            send(channel, body, self._enclosed(body))
        except CannotDeliver as error:
            self.failing_since.setdefault(row["channel"], now)
            over = now - began > book.delivery.give_up_after or channel is None
            pause = min(FIRST_PAUSE_SECONDS * 2 ** min(number, 20), LONGEST_PAUSE_SECONDS)
            insert_attempts(self._store, [attempt("gave_up" if over else "failed", str(error), pause)])
            log.warning("could not deliver to %s: %s", row["channel"], error)
            return False
        self.failing_since.pop(row["channel"], None)
        insert_attempts(self._store, [attempt("sent")])
        return True

    def _enclosed(self, body: Mapping[str, Any]) -> Document | None:
        try:
            return self._enclose(body)
        except AssayError as error:
            raise CannotDeliver(f"what it should bring cannot be made: {error}") from error

    def _beat(self, now: float) -> None:
        """The dead man's switch: a monitor elsewhere misses this call when we are gone, or not well."""
        delivery = self._book().delivery
        if delivery.heartbeat_url and now - self._heartbeat_at >= delivery.heartbeat_every and self._alive():
            self._heartbeat_at = now
            try:
                ping(delivery.heartbeat_url.get_secret_value())
            except CannotDeliver as error:
                log.warning("the heartbeat did not arrive: %s", error)

    def _run(self) -> None:
        pause = POLL_SECONDS
        while not self._stopping.wait(pause):
            try:
                self.step()
                pause, self.last_error = POLL_SECONDS, ""
            except Exception as error:
                self.last_error, pause = f"delivering alerts: {error}", min(pause * 2, 30.0)
                log.warning("delivery tries again in %.0f s: %s", pause, error, exc_info=traced(error))


def event_of(incident: Row, kind: Any, at: int, **more: str) -> IncidentEvent:
    """One more event of a stored incident, at Unix microseconds."""
    number = f"-{at}" if kind in ("comment", "acknowledged", "reminder") else ""
    return IncidentEvent(
        incident_id=incident["incident_id"],
        event_id=f"{incident['incident_id']}-{kind}{number}",
        rule=incident["rule"],
        group=incident["group"],
        kind=kind,
        severity=incident["severity"],
        began=as_micros(incident["began"]),
        at=at,
        **more,
    )


def _events_due(incident: Row, book: RuleBook, now: datetime) -> list[tuple[str, str]]:
    """(kind, event id) of everything that can be said of the incident: its firing, reminders of it, its end."""
    key = incident["incident_id"]
    if not incident["fired"]:
        return []
    found = [("firing", f"{key}-firing")]
    if incident["phase"] == "resolved":
        return [*found, ("resolved", f"{key}-resolved")]
    times = (
        int((now - incident["firing_at"]).total_seconds() // book.delivery.repeat_every)
        if book.delivery.repeat_every
        else 0
    )
    return [*found, ("reminder", f"{key}-reminder-{times}")] if times > 0 and not incident["acknowledged"] else found


def _new(due: Sequence[tuple[str, str]], told: set[str], incident: Row) -> list[tuple[str, str]]:
    """Of what can be said, the one thing that is news: who was not told of the firing needs no reminder and no end."""
    firing, *later = due
    if firing[1] not in told:
        return [] if incident["phase"] == "resolved" else [firing]
    return [event for event in later if event[1] not in told]


def _told(notice: Notice, book: RuleBook, url: str) -> dict[str, Any]:
    incident, rule = notice.incident, book.rules.get(notice.incident["rule"])
    evidence = json.loads(incident["evidence"] or "{}")
    return {
        "incident_id": incident["incident_id"],
        "event": notice.kind,
        "rule": incident["rule"],
        "group": incident["group"],
        "severity": incident["severity"],
        "message": incident["message"],
        "began": incident["began"].isoformat(),
        "firing_at": incident["firing_at"].isoformat(),
        "runbook": rule.runbook if rule else "",
        "url": f"{url}/alerts?incident={incident['incident_id']}",
        "figures": evidence.get("figures", {}),
        "worst_calls": evidence.get("worst_calls", []),
    }


def _inhibits(rule: Inhibition, source: Row, target: Row, book: RuleBook) -> bool:
    if source["incident_id"] == target["incident_id"] or not fnmatch.fnmatchcase(source["rule"], rule.source):
        return False
    if not any(fnmatch.fnmatchcase(target["rule"], pattern) for pattern in rule.targets):
        return False
    grouped = [book.rules[one["rule"]].group_by if one["rule"] in book.rules else None for one in (source, target)]
    return all(grouped != [name, name] or source["group"] == target["group"] for name in rule.same)


def _named(window: Maintenance, rule: str) -> bool:
    return any(fnmatch.fnmatchcase(rule, pattern) for pattern in window.rules)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
