"""The routes of alerting: incidents, silences, rules, replay and deliveries.

They read and write the store alone, so that they answer the same where no engine runs.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import Body, FastAPI, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from assay.alerts.engine import Engine
from assay.alerts.notify import event_of, trial, unsaid
from assay.alerts.replay import replay
from assay.alerts.rules import RuleBook, load_rules, parse_rules
from assay.analytics.selection import moment
from assay.errors import AssayError, NotFound
from assay.server.asking import as_json
from assay.store.connect import Row, Store
from assay.store.incidents import (
    Silence,
    deliveries,
    incident,
    incidents,
    insert_attempts,
    insert_events,
    insert_silence,
    silences,
)

LONGEST_RULES = 1 << 20
PHASES = ("pending", "firing", "resolved", "cleared")


class Said(BaseModel):
    """Who says what of an incident."""

    model_config = ConfigDict(extra="forbid")
    author: Annotated[str, Field(max_length=200)] = ""
    text: Annotated[str, Field(max_length=10_000)] = ""


class NewSilence(BaseModel):
    """No messages about incidents that match, until a moment ("2h" from now, or ISO 8601). * is a wildcard."""

    model_config = ConfigDict(extra="forbid")
    rule: Annotated[str, Field(max_length=200)] = ""
    group: Annotated[str, Field(max_length=1000)] = ""
    severity: Annotated[str, Field(max_length=10)] = ""
    until: str
    author: Annotated[str, Field(max_length=200)] = ""
    comment: Annotated[str, Field(max_length=10_000)] = ""


class Replaying(BaseModel):
    """Rules to run over history: the text of a rules file, or the server's own where none is given."""

    model_config = ConfigDict(extra="forbid")
    rules: Annotated[str, Field(max_length=LONGEST_RULES)] | None = None
    only: list[str] = []
    since: str = "30d"
    until: str | None = None
    at_most_a_week: Annotated[float, Field(ge=0)] = 1.0
    points: Annotated[int, Field(ge=0, le=1000)] = 0


def add_alert_routes(app: FastAPI, store: Store, rules: Path, engine: Engine | None = None) -> None:
    """Add the routes to the API. `rules` is the rules file, `engine` what judges it, where one runs."""

    def book() -> RuleBook:
        return engine.book if engine else load_rules(rules)

    @app.get("/incidents")
    def get_incidents(
        phase: Annotated[list[str] | None, Query(description=f"of {', '.join(PHASES)}")] = None,
        rule: str = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        since: str | None = None,
    ) -> Response:
        """Incidents, newest first, each with why nobody is told of it (`unsaid`), if so."""
        if unknown := set(phase or ()) - set(PHASES):
            raise AssayError(f"no phase {min(unknown)!r}: choose of {', '.join(PHASES)}")
        start = round(moment(since).timestamp() * 1e6) if since else 0
        rows = incidents(store, phases=phase or (), rule=rule, limit=limit, since=start)
        now = datetime.now(UTC)
        fired = incidents(store, phases=["firing"], limit=1000)
        in_force = silences(store, at=round(now.timestamp() * 1e6))
        held = book()
        return as_json({"incidents": [_shown(row, unsaid(row, fired, in_force, held, now)) for row in rows]})

    @app.get("/incidents/{incident_id}")
    def get_incident(incident_id: str) -> Response:
        """One incident with its evidence and all that happened to it."""
        return as_json(_shown(_incident(store, incident_id), ""))

    @app.post("/incidents/{incident_id}/acknowledge", status_code=201)
    def post_acknowledge(incident_id: str, said: Annotated[Said, Body()]) -> Response:
        """Say that somebody is at it: no reminders follow."""
        _add(store, incident_id, "acknowledged", said)
        return as_json({"incident_id": incident_id, "acknowledged": True}, 201)

    @app.post("/incidents/{incident_id}/comment", status_code=201)
    def post_comment(incident_id: str, said: Annotated[Said, Body()]) -> Response:
        """Write something down beside an incident."""
        if not said.text.strip():
            raise AssayError("a comment needs a text")
        _add(store, incident_id, "comment", said)
        return as_json({"incident_id": incident_id}, 201)

    @app.post("/incidents/{incident_id}/silence", status_code=201)
    def post_incident_silence(
        incident_id: str, said: Annotated[Said, Body()], until: Annotated[str, Query()] = "4h"
    ) -> Response:
        """Silence the incident's rule and group."""
        row = _incident(store, incident_id)
        matchers = {"rule": _literal(row["rule"]), "group": _literal(row["group"])}
        return as_json(_silence(store, matchers, until, said.author, said.text), 201)

    @app.get("/silences")
    def get_silences(active: bool = True) -> Response:
        """Silences in force; with active=false also those that are over."""
        rows = silences(store, at=time.time_ns() // 1000 if active else None)
        return as_json({"silences": [{**row, "matchers": json.loads(row["matchers"])} for row in rows]})

    @app.post("/silences", status_code=201)
    def post_silence(new: Annotated[NewSilence, Body()]) -> Response:
        """Silence whatever matches."""
        given = {name: getattr(new, name) for name in ("rule", "group", "severity")}
        matchers = {name: pattern for name, pattern in given.items() if pattern}
        if not matchers:
            raise AssayError('say what to silence: rule, group or severity; {"rule": "*"} is everything')
        return as_json(_silence(store, matchers, new.until, new.author, new.comment), 201)

    @app.delete("/silences/{silence_id}")
    def delete_silence(silence_id: str) -> Response:
        """End a silence now."""
        row = next((one for one in silences(store) if one["silence_id"] == silence_id), None)
        if row is None:
            raise NotFound(f"there is no silence {silence_id!r}")
        now = time.time_ns() // 1000
        starts = min(round(row["starts"].timestamp() * 1e6), now)
        texts = {name: row[name] for name in ("silence_id", "matchers", "author", "comment")}
        insert_silence(store, Silence(**texts, starts=starts, ends=now))
        return as_json({"silence_id": silence_id, "ended": True})

    @app.get("/rules")
    def get_rules() -> Response:
        """Every rule as it holds and how it is doing, and what is wrong with the rules file."""
        held, states = book(), engine.states if engine else {}
        shown = [{**rule.model_dump(by_alias=True), "state": states.get(rule.name)} for rule in held.rules.values()]
        channels = [
            {
                "name": channel.name,
                "kind": "webhook" if channel.webhook else "apprise",
                "min_severity": channel.min_severity,
            }
            for channel in held.channels.values()
        ]
        problems = [str(problem) for problem in held.problems]
        return as_json({"file": str(rules.name), "rules": shown, "channels": channels, "problems": problems})

    @app.post("/replay")
    def post_replay(asked: Annotated[Replaying, Body()]) -> Response:
        """What rules would have done over stored history; the course of each in so many `points`. Nobody is told."""
        held = parse_rules(asked.rules) if asked.rules is not None else book()
        if unknown := set(asked.only) - set(held.rules):
            raise AssayError(f"no rule {min(unknown)!r} in these rules")
        if asked.only:
            chosen = {name: held.rules[name].model_copy(update={"enabled": True}) for name in asked.only}
            held = held.model_copy(update={"rules": chosen})
        now = datetime.now(UTC)
        since = int(moment(asked.since, now).timestamp())
        until = int(moment(asked.until, now).timestamp()) if asked.until else int(now.timestamp())
        found = replay(store, held, since, until, asked.at_most_a_week, points=asked.points)
        return as_json({**msgspec.structs.asdict(found), "problems": [str(problem) for problem in held.problems]})

    @app.get("/deliveries")
    def get_deliveries(limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Response:
        """The delivery log, newest first: channel, state, attempts, last error."""
        return as_json({"deliveries": [_delivery(row) for row in deliveries(store, limit)]})

    @app.post("/alerts/test", status_code=201)
    def post_test(channel: str | None = None) -> Response:
        """Make a test message due for one channel or all; the delivery log tells what became of it."""
        names = [channel] if channel else list(book().channels)
        if not names:
            raise AssayError("there is no channel: add [[channel]] to the rules file")
        if unknown := set(names) - set(book().channels):
            raise AssayError(f"no channel {min(unknown)!r}; there are: {', '.join(book().channels) or 'none'}")
        if engine is None:
            raise AssayError("messages are sent by a running server: start `assay serve`")
        due = [trial(name, time.time_ns() // 1000) for name in names]
        insert_attempts(store, due)
        return as_json({"deliveries": [{"delivery_id": one.delivery_id, "channel": one.channel} for one in due]}, 201)


def _shown(row: Row, why_unsaid: str) -> dict[str, Any]:
    times = {name: row[name] for name in ("began", "changed_at")}
    fired = {"firing_at": row["firing_at"] if row["fired"] else None}
    return {**row, **times, **fired, "evidence": json.loads(row["evidence"] or "{}"), "unsaid": why_unsaid}


def _incident(store: Store, incident_id: str) -> Row:
    row = incident(store, incident_id)
    if row is None:
        raise NotFound(f"there is no incident {incident_id!r}")
    return row


def _add(store: Store, incident_id: str, kind: str, said: Said) -> None:
    row = _incident(store, incident_id)
    insert_events(store, [event_of(row, kind, time.time_ns() // 1000, author=said.author, message=said.text)])


def _silence(store: Store, matchers: Mapping[str, str], until: str, author: str, comment: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    past = moment(until, now)
    # An age is a length of time from now on here.
    ends = past if "T" in until or "-" in until else now + (now - past)
    if ends <= now:
        raise AssayError(f"{until!r} is over: give a time to come, or a length such as 2h")
    silence = Silence(
        silence_id=secrets.token_hex(8),
        matchers=json.dumps(matchers),
        starts=round(now.timestamp() * 1e6),
        ends=round(ends.timestamp() * 1e6),
        author=author,
        comment=comment,
    )
    insert_silence(store, silence)
    return {"silence_id": silence.silence_id, "matchers": matchers, "ends": ends}


def _literal(text: str) -> str:
    """A pattern that fits this text alone."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in text)


def _delivery(row: Row) -> dict[str, Any]:
    body = json.loads(row.pop("body"))
    told = [{"rule": one["rule"], "group": one["group"], "event": one["event"]} for one in body["incidents"]]
    return {**row, "status": body["status"], "incidents": told}
