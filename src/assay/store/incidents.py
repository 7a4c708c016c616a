"""Writes and reads of `incident_events`, `silences` and `deliveries`: what alerting remembers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from assay.records import UnixMicros
from assay.store.connect import Row, Store
from assay.store.rows import arrow_schema, arrow_table, stamped

EventKind = Literal["pending", "cleared", "firing", "resolved", "reminder", "acknowledged", "comment"]
DeliveryState = Literal["due", "sending", "sent", "failed", "gave_up"]


class IncidentEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to an incident. `evidence` is JSON; `author` a person, "" for Assay itself."""

    incident_id: str
    event_id: str
    rule: str
    group: str = ""
    kind: EventKind
    severity: str
    began: UnixMicros
    at: UnixMicros
    author: str = ""
    message: str = ""
    evidence: str = ""


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """No messages from `starts` until `ends` about incidents that match; `matchers` is JSON {rule, group, severity}."""

    silence_id: str
    matchers: str
    starts: UnixMicros
    ends: UnixMicros
    author: str = ""
    comment: str = ""


class DeliveryAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to deliver a message, numbered from 0, which only says that it is due. `body` is JSON."""

    delivery_id: str
    attempt: int
    channel: str
    state: DeliveryState
    body: str
    error: str = ""
    at: UnixMicros
    next_at: UnixMicros


EVENT_SCHEMA = arrow_schema(IncidentEvent)
SILENCE_SCHEMA = arrow_schema(Silence)
ATTEMPT_SCHEMA = arrow_schema(DeliveryAttempt)


def insert_events(store: Store, events: Sequence[IncidentEvent]) -> None:
    """Store events at once, all or none; one stored before replaces itself."""
    if events:
        store.insert("incident_events", stamped(arrow_table(events, EVENT_SCHEMA), time.time_ns() // 1000))


def insert_silence(store: Store, silence: Silence) -> None:
    """Store a silence, in place of one with its id."""
    store.insert("silences", stamped(arrow_table([silence], SILENCE_SCHEMA), time.time_ns() // 1000))


def insert_attempts(store: Store, attempts: Sequence[DeliveryAttempt]) -> None:
    """Store attempts at once, all or none."""
    if attempts:
        store.insert("deliveries", stamped(arrow_table(attempts, ATTEMPT_SCHEMA), time.time_ns() // 1000))


_PHASES = "e.kind IN ('pending', 'firing', 'resolved', 'cleared')"

_INCIDENTS = f"""
    SELECT e.incident_id AS incident_id, any(e.rule) AS rule, any(e.group) AS group, any(e.severity) AS severity,
        argMaxIf(e.kind, (e.at, e.kind = 'firing'), {_PHASES}) AS phase, maxIf(e.at, {_PHASES}) AS changed_at,
        min(e.began) AS began, minIf(e.at, e.kind = 'firing') AS firing_at, countIf(e.kind = 'firing') > 0 AS fired,
        countIf(e.kind = 'acknowledged') > 0 AS acknowledged,
        argMaxIf(e.author, e.at, e.kind = 'acknowledged') AS acknowledged_by,
        argMaxIf(e.message, (e.at, e.kind = 'firing'), {_PHASES}) AS message,
        argMaxIf(e.evidence, e.at, e.kind = 'firing') AS evidence
    FROM incident_events AS e FINAL"""


def incidents(
    store: Store, *, phases: Iterable[str] = (), rule: str = "", limit: int = 100, since: int = 0
) -> list[Row]:
    """Incidents with their present phase, newest first; only in `phases` and of `rule` where these are given.

    `since` (Unix microseconds) leaves out those that changed last before it.
    """
    return store.query(
        f"""
        SELECT * FROM ({_INCIDENTS} WHERE {{rule:String}} = '' OR e.rule = {{rule:String}} GROUP BY incident_id)
        WHERE (empty({{phases:Array(String)}}) OR has({{phases:Array(String)}}, phase))
            AND changed_at >= fromUnixTimestamp64Micro({{since:Int64}})
        ORDER BY began DESC, incident_id LIMIT {{limit:UInt32}}
        """,
        {"phases": list(phases), "rule": rule, "limit": limit, "since": since},
    )


def incident(store: Store, incident_id: str) -> Row | None:
    """One incident as in `incidents`, with all its `events`, or None."""
    rows = store.query(f"{_INCIDENTS} WHERE e.incident_id = {{id:String}} GROUP BY incident_id", {"id": incident_id})
    if not rows:
        return None
    events = store.query(
        "SELECT event_id, kind, at, author, message, evidence FROM incident_events FINAL"
        " WHERE incident_id = {id:String} ORDER BY at, kind != 'pending'",
        {"id": incident_id},
    )
    return {**rows[0], "events": events}


def last_incidents(store: Store) -> list[Row]:
    """The newest incident of every rule and group."""
    return store.query(
        f"SELECT * FROM ({_INCIDENTS} GROUP BY incident_id) ORDER BY began DESC, changed_at DESC LIMIT 1 BY rule, group"
    )


def silences(store: Store, *, at: int | None = None) -> list[Row]:
    """Silences, newest first; only those in force at a moment (Unix microseconds) where one is given."""
    return store.query(
        """
        SELECT silence_id, matchers, starts, ends, author, comment FROM silences FINAL
        WHERE {at:Int64} < 0
            OR (toUnixTimestamp64Micro(starts) <= {at:Int64} AND {at:Int64} < toUnixTimestamp64Micro(ends))
        ORDER BY starts DESC LIMIT 1000
        """,
        {"at": -1 if at is None else at},
    )


def told_of(store: Store, incident_ids: Iterable[str]) -> list[Row]:
    """The messages that these incidents are in, delivered or not: delivery_id, channel, event_ids."""
    return store.query(
        """
        SELECT delivery_id, channel, JSONExtract(body, 'event_ids', 'Array(String)') AS event_ids FROM deliveries FINAL
        WHERE attempt = 0 AND hasAny(JSONExtract(body, 'incident_ids', 'Array(String)'), {ids:Array(String)})
        """,
        {"ids": list(incident_ids)},
    )


_LAST = """
    SELECT delivery_id, max(attempt) AS attempts, argMax(channel, attempt) AS channel, argMax(state, attempt) AS state,
        argMax(body, attempt) AS body, argMax(error, attempt) AS error, min(at) AS due_at, max(at) AS last_at,
        argMax(next_at, attempt) AS next_at
    FROM deliveries FINAL GROUP BY delivery_id"""


def due_deliveries(store: Store) -> list[Row]:
    """Messages that are not delivered and not given up, as they stand after the last attempt, oldest first."""
    return store.query(f"SELECT * FROM ({_LAST}) WHERE state NOT IN ('sent', 'gave_up') ORDER BY due_at LIMIT 1000")


def deliveries(store: Store, limit: int = 100) -> list[Row]:
    """The log: the newest messages with the outcome of their last attempt."""
    return store.query(f"SELECT * FROM ({_LAST}) ORDER BY due_at DESC LIMIT {{limit:UInt32}}", {"limit": limit})


def known_deliveries(store: Store, delivery_ids: Iterable[str]) -> set[str]:
    """Those of the messages that are in the outbox, or were."""
    rows = store.query(
        "SELECT DISTINCT delivery_id FROM deliveries WHERE delivery_id IN {ids:Array(String)}",
        {"ids": list(delivery_ids)},
    )
    return {row["delivery_id"] for row in rows}


def as_micros(moment: Any) -> int:
    """A stored moment as Unix microseconds."""
    return round(moment.timestamp() * 1e6)
