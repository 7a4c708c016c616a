"""Messages delivered for real: to a mail server and to HTTP receivers on loopback, some of which fail."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from alerting import NOON, Receiver, engine, forget_alerts, receiver, write_calls
from assay.alerts.channels import CannotDeliver, ping, text
from assay.alerts.engine import Engine
from assay.alerts.notify import Courier, event_of, trial
from assay.alerts.rules import parse_rules
from assay.store.connect import Store
from assay.store.incidents import (
    Silence,
    deliveries,
    incidents,
    insert_attempts,
    insert_events,
    insert_silence,
)
from conftest import free_port

RULES = """
[[rule]]
name = "slow"
metric = "latency"
above = 1000
window = "5m"
resolve_after = "2m"
severity = "HIGH"
runbook = "https://runbooks.example/slow"
filter = {{ project = "{project}" }}

[[rule]]
name = "dear"
metric = "cost"
above = 1
window = "5m"
filter = {{ project = "{project}" }}

[[channel]]
name = "hook"
webhook = "{url}"
secret = "a long random text"
"""


@pytest.fixture(autouse=True)
def _clean(store: Store) -> Iterator[None]:
    forget_alerts(store)
    yield
    forget_alerts(store)


@pytest.fixture
def trouble(store: Store, project: str) -> str:
    """A project whose calls are slow and dear for five minutes from noon on, but never before or after."""
    write_calls(
        store,
        project,
        [
            {
                "at": NOON + second,
                "latency_ms": (5000.0 if 0 <= second < 300 else 100.0) + second % 7,
                "cost_usd": (5.0 if 0 <= second < 300 else 0.1) + second % 7 / 100,
            }
            for second in range(-120, 1000, 2)
        ],
    )
    return project


def run(watching: Engine, courier: Courier, first: int, last: int, step: int = 60) -> None:
    for at in range(first, last, step):
        watching.round(at)
        courier.step(at)


def test_simultaneous_incidents_go_as_one_signed_message_and_so_does_their_end(
    store: Store, trouble: str, tmp_path: Path
) -> None:
    with receiver() as hook:
        watching = engine(store, tmp_path, RULES.format(project=trouble, url=hook.url))
        run(watching, Courier(store, lambda: watching.book), NOON - 60, NOON + 990)
    told = [[(one["event"], one["rule"]) for one in message["incidents"]] for message in hook.messages]
    assert told[0] == [("firing", "slow"), ("firing", "dear")]
    assert sorted(chain(*told[1:])) == [("resolved", "dear"), ("resolved", "slow")]
    headers, body = hook.headers[0], hook.bodies[0]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.new(b"a long random text", signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    assert headers["webhook-id"] == json.loads(body)["id"]
    slow = next(one for one in hook.messages[0]["incidents"] if one["rule"] == "slow")
    assert slow["runbook"] == "https://runbooks.example/slow"
    assert len(slow["worst_calls"]) == 10


def test_two_rules_that_fire_in_one_round_are_one_message(store: Store, trouble: str, tmp_path: Path) -> None:
    with receiver() as hook:
        watching = engine(store, tmp_path, RULES.format(project=trouble, url=hook.url))
        watching.round(NOON + 270)
        Courier(store, lambda: watching.book).step(NOON + 270)
    [message] = hook.messages
    assert [(one["rule"], one["severity"]) for one in message["incidents"]] == [("slow", "HIGH"), ("dear", "MEDIUM")]


def test_a_failing_receiver_is_tried_again_with_longer_pauses_and_the_log_tells(
    store: Store, trouble: str, tmp_path: Path
) -> None:
    with receiver(500, 503, 429) as hook:
        watching = engine(store, tmp_path, RULES.format(project=trouble, url=hook.url))
        watching.round(NOON + 270)
        courier = Courier(store, lambda: watching.book)
        sent_at = [second for second in range(0, 200, 5) if courier.step(NOON + 270 + second)]
        assert len(hook.bodies) == 4
        assert sent_at == [70], "after pauses of 10, 20 and 40 seconds"
    assert len({header["webhook-id"] for header in hook.headers}) == 1
    [row] = deliveries(store)
    assert (row["state"], row["attempts"], row["channel"]) == ("sent", 4, "hook")
    log = store.query("SELECT attempt, state, error FROM deliveries FINAL ORDER BY attempt")
    assert [(one["state"], one["error"]) for one in log] == [
        ("due", ""),
        ("failed", "the receiver answered 500"),
        ("failed", "the receiver answered 503"),
        ("failed", "the receiver answered 429"),
        ("sent", ""),
    ]


def test_a_receiver_that_is_gone_is_given_up_in_the_end_and_no_address_is_stored(
    store: Store, trouble: str, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{free_port()}/token-hunter2"
    watching = engine(store, tmp_path, RULES.format(project=trouble, url=url) + '[delivery]\ngive_up_after = "1h"\n')
    watching.round(NOON + 270)
    courier = Courier(store, lambda: watching.book)
    for later in range(0, 5000, 100):
        courier.step(NOON + 270 + later)
    [row] = deliveries(store)
    assert row["state"] == "gave_up"
    assert "hook" in courier.failing_since
    rows = store.query("SELECT concat(body, error) AS text FROM deliveries")
    assert not [one for one in rows if "hunter2" in one["text"] or "a long random text" in one["text"]]


def test_a_crash_between_storing_and_sending_loses_nothing_and_sends_once(
    store: Store, trouble: str, tmp_path: Path
) -> None:
    """Every round and every delivery by an engine and a courier that have just started."""
    with receiver() as hook:
        rules = RULES.format(project=trouble, url=hook.url)
        for at in range(NOON - 60, NOON + 1000, 150):
            engine(store, tmp_path, rules).round(at)
            watching = engine(store, tmp_path, rules)
            watching.round(at)
            Courier(store, lambda book=watching.book: book).step(at)
    events = [(one["rule"], one["event"]) for message in hook.messages for one in message["incidents"]]
    assert sorted(events) == [("dear", "firing"), ("dear", "resolved"), ("slow", "firing"), ("slow", "resolved")]


def test_a_crash_while_sending_sends_again_under_the_same_id(store: Store, tmp_path: Path) -> None:
    with receiver() as hook:
        watching = engine(store, tmp_path, RULES.format(project="x", url=hook.url))

        class Crash(BaseException): ...

        class Crashing(Store):
            def __init__(self) -> None: ...
            def query(self, *given: Any) -> Any:
                return store.query(*given)

            def insert(self, table: str, rows: Any) -> None:
                if rows["state"][0].as_py() == "sent":
                    raise Crash
                store.insert(table, rows)

        insert_attempts(store, [trial("hook", NOON * 1_000_000)])
        with pytest.raises(Crash):
            Courier(Crashing(), lambda: watching.book).step(NOON)
        Courier(store, lambda: watching.book).step(NOON + 1)
        Courier(store, lambda: watching.book).step(NOON + 2)
    assert len(hook.bodies) == 2
    assert len({header["webhook-id"] for header in hook.headers}) == 1, "by which the receiver knows it"


def test_what_is_silenced_is_told_once_the_silence_is_over_and_only_while_it_fires(
    store: Store, trouble: str, tmp_path: Path
) -> None:
    insert_silence(
        store,
        Silence(
            silence_id="s",
            matchers='{"rule": "sl*"}',
            starts=(NOON - 600) * 1_000_000,
            ends=(NOON + 240) * 1_000_000,
        ),
    )
    with receiver() as hook:
        watching = engine(store, tmp_path, RULES.format(project=trouble, url=hook.url))
        courier = Courier(store, lambda: watching.book)
        run(watching, courier, NOON, NOON + 240, 60)
        before = [one["rule"] for message in hook.messages for one in message["incidents"]]
        assert before == ["dear"]
        run(watching, courier, NOON + 240, NOON + 300)
        assert [one["rule"] for message in hook.messages for one in message["incidents"]] == ["dear", "slow"]


def test_what_is_over_before_its_silence_is_never_told(store: Store, trouble: str, tmp_path: Path) -> None:
    insert_silence(store, Silence(silence_id="s", matchers='{"rule": "*"}', starts=0, ends=(NOON + 3000) * 1_000_000))
    with receiver() as hook:
        watching = engine(store, tmp_path, RULES.format(project=trouble, url=hook.url))
        run(watching, Courier(store, lambda: watching.book), NOON, NOON + 990, 150)
        watching.round(NOON + 3001)
        Courier(store, lambda: watching.book).step(NOON + 3001)
        assert {row["phase"] for row in incidents(store)} == {"resolved"}
        assert hook.bodies == []


def test_an_inhibited_incident_is_kept_and_not_told(store: Store, trouble: str, tmp_path: Path) -> None:
    with receiver() as hook:
        rules = RULES.format(project=trouble, url=hook.url) + '[[inhibit]]\nsource = "slow"\ntargets = ["de*"]\n'
        watching = engine(store, tmp_path, rules)
        watching.round(NOON + 270)
        Courier(store, lambda: watching.book).step(NOON + 270)
    assert {row["rule"] for row in incidents(store, phases=["firing"])} == {"slow", "dear"}
    assert [one["rule"] for message in hook.messages for one in message["incidents"]] == ["slow"]


def test_maintenance_keeps_quiet(store: Store, trouble: str, tmp_path: Path) -> None:
    window = (
        '[[maintenance]]\nname = "move"\nrules = ["slow"]\nstarts = 2026-01-05T11:00:00Z\nends = 2026-01-05T13:00:00Z\n'
    )
    with receiver() as hook:
        watching = engine(store, tmp_path, RULES.format(project=trouble, url=hook.url) + window)
        watching.round(NOON + 270)
        Courier(store, lambda: watching.book).step(NOON + 270)
    assert [one["rule"] for message in hook.messages for one in message["incidents"]] == ["dear"]


def test_an_open_incident_is_told_again_until_somebody_acknowledges_it(
    store: Store, project: str, tmp_path: Path
) -> None:
    write_calls(store, project, [{"at": NOON + i, "latency_ms": 5000.0 + i % 5} for i in range(0, 4000, 5)])
    with receiver() as hook:
        rules = RULES.format(project=project, url=hook.url) + '[delivery]\nrepeat_every = "10m"\n'
        watching = engine(store, tmp_path, rules)
        courier = Courier(store, lambda: watching.book)
        run(watching, courier, NOON + 60, NOON + 1501, 240)
        events = [one["event"] for message in hook.messages for one in message["incidents"]]
        assert events == ["firing", "reminder", "reminder"]
        insert_events(store, [event_of(incidents(store)[0], "acknowledged", (NOON + 1500) * 1_000_000, author="ann")])
        run(watching, courier, NOON + 1500, NOON + 3900, 600)
        assert len(hook.messages) == 3
    [row] = incidents(store)
    assert (row["acknowledged"], row["acknowledged_by"], row["phase"]) == (1, "ann", "firing")


def test_mail_arrives_through_apprise_and_a_mail_server_that_refuses_is_tried_again(
    store: Store, trouble: str, tmp_path: Path
) -> None:
    class Mailbox:
        def __init__(self) -> None:
            self.mails: list[bytes] = []
            self.refusals = 1

        async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
            if self.refusals:
                self.refusals -= 1
                return "451 try again later"
            self.mails.append(envelope.content)
            return "250 OK"

    mailbox = Mailbox()
    smtp = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    smtp.start()
    try:
        url = f"mailto://127.0.0.1:{smtp.port}?from=assay@example.org&to=oncall@example.org&mode=insecure"
        rules = RULES.format(project=trouble, url="http://127.0.0.1:9/").replace(
            'webhook = "http://127.0.0.1:9/"\nsecret = "a long random text"', f'url = "{url}"'
        )
        watching = engine(store, tmp_path, rules)
        watching.round(NOON + 270)
        courier = Courier(store, lambda: watching.book)
        assert [courier.step(NOON + 270), courier.step(NOON + 290)] == [0, 1]
    finally:
        smtp.stop()
    [mail] = map(message_from_bytes, mailbox.mails)
    assert "[HIGH] firing: slow and 1 more" in str(mail["subject"])
    parts = [part.get_payload(decode=True) for part in mail.walk() if not part.is_multipart()]
    assert "99% interval" in b"\n".join(part for part in parts if isinstance(part, bytes)).decode()
    [row] = deliveries(store)
    assert (row["state"], row["attempts"]) == ("sent", 2)


def test_names_of_users_call_nobody_and_link_nowhere() -> None:
    incident = {
        "event": "firing",
        "rule": "slow",
        "group": "<!channel> @here\n*x*",
        "severity": "HIGH",
        "message": "m",
        "began": "2026-01-05T12:00:00",
        "url": "http://assay.test",
        "worst_calls": [],
        "runbook": "",
    }
    said = text({"incidents": [incident]})
    assert "<!channel>" not in said
    assert "@here" not in said
    assert said.count("\n") == 2


def test_the_heartbeat_is_heard_while_all_is_well_and_not_otherwise(store: Store) -> None:
    with receiver() as hook:
        book = parse_rules(f'defaults = false\n[delivery]\nheartbeat_url = "{hook.url}"\nheartbeat_every = "1m"\n')
        well = [True]
        courier = Courier(store, lambda: book, lambda: well[0])
        for at in range(0, 180, 10):
            courier.step(NOON + at)
        assert len(hook.headers) == 3
        well[0] = False
        courier.step(NOON + 600)
        assert len(hook.headers) == 3


def test_an_address_that_answers_not_is_named_without_its_secret() -> None:
    with pytest.raises(CannotDeliver) as raised:
        ping(f"http://127.0.0.1:{free_port()}/beat/hunter2-token")
    assert "hunter2" not in str(raised.value)


def test_a_channel_hears_only_what_is_grave_enough_for_it(store: Store, trouble: str, tmp_path: Path) -> None:
    with receiver() as hook:
        watching = engine(store, tmp_path, RULES.format(project=trouble, url=hook.url) + 'min_severity = "HIGH"\n')
        watching.round(NOON + 270)
        Courier(store, lambda: watching.book).step(NOON + 270)
    assert [one["rule"] for message in hook.messages for one in message["incidents"]] == ["slow"]


def test_a_receiver_is_told_when_an_incident_began(store: Store, trouble: str, tmp_path: Path) -> None:
    with receiver() as hook:
        watching = engine(store, tmp_path, RULES.format(project=trouble, url=hook.url))
        watching.round(NOON + 270)
        Courier(store, lambda: watching.book).step(NOON + 270)
    began = datetime.fromisoformat(hook.messages[0]["incidents"][0]["began"])
    assert timedelta() <= began - datetime.fromtimestamp(NOON, UTC) <= timedelta(minutes=5)
    assert isinstance(hook, Receiver)
