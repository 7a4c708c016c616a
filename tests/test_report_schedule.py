"""Scheduled reports delivered for real: once for each due time, whatever was killed or away in between."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from alerting import forget_alerts, receiver, write_calls
from assay.alerts.notify import Courier
from assay.alerts.rules import RuleBook, parse_rules
from assay.client.monitor import connect
from assay.errors import AssayError
from assay.reports.making import Circumstances
from assay.reports.schedule import Scheduler, document, send_now
from assay.store.connect import Store
from assay.store.incidents import deliveries
from assay.timetable import ScheduledReport
from conftest import Server, eventually, free_port

MONDAY = datetime(2026, 1, 5, 8, tzinfo=UTC)
MADE = Circumstances(version="9.9.9", url="http://assay.test")
SECRET = "a long random text"


@pytest.fixture(autouse=True)
def _clean(store: Store) -> Iterator[None]:
    forget_alerts(store)
    yield
    forget_alerts(store)


def channel(name: str, **address: str) -> str:
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in address.items())
    return f'[[channel]]\nname = "{name}"\n{lines}\n'


def rule_book(*channels: str) -> RuleBook:
    book = parse_rules("defaults = false\n" + "".join(channels))
    assert book.problems == []
    return book


def weekly(project: str, **more: Any) -> ScheduledReport:
    told: dict[str, Any] = {"name": "weekly", "every": "monday 08:00", "channels": ["hook"], "title": "Weekly"}
    return ScheduledReport(**told | {"filter": {"project": project}} | more)


def scheduler(store: Store, book: RuleBook, *reports: ScheduledReport) -> Scheduler:
    return Scheduler(store, reports, lambda: book)


def courier(store: Store, book: RuleBook) -> Courier:
    return Courier(store, lambda: book, enclose=partial(document, store, MADE))


def test_a_report_is_sent_once_for_each_due_time_however_often_the_server_starts(store: Store, project: str) -> None:
    write_calls(store, project, [{"at": MONDAY.timestamp() - 86_400, "prompt": "hello"}])
    with receiver() as hook:
        book = rule_book(channel("hook", webhook=hook.url, secret=SECRET))
        due = [MONDAY + timedelta(minutes=minutes) for minutes in (-5, 0, 1, 2, 600, 7 * 1440, 7 * 1440 + 5)]
        for at in due:
            scheduler(store, book, weekly(project)).step(at)
            courier(store, book).step(at.timestamp())
    told = [(message["status"], message["report"]["due"]) for message in hook.messages]
    assert told == [("report", "2026-01-05T08:00:00Z"), ("report", "2026-01-12T08:00:00Z")]
    message, headers = hook.messages[0], hook.headers[0]
    assert (message["schema"], message["report"]["since"]) == ("assay.report/1", "2025-12-29T00:00:00Z")
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + hook.bodies[0]
    digest = hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    page = base64.b64decode(message["document"]["base64"]).decode()
    assert message["document"]["filename"] == "weekly-2026-01-05.html"
    assert "<h1>Weekly</h1>" in page
    assert 'data-key="usage.total_conversations">1<' in page


def test_what_fell_due_while_nothing_ran_is_made_up_for_within_a_day(store: Store, project: str) -> None:
    book = rule_book(channel("hook", webhook="http://127.0.0.1:9/", secret=SECRET))
    assert scheduler(store, book, weekly(project)).step(MONDAY + timedelta(hours=24)) == 0
    assert scheduler(store, book, weekly(project)).step(MONDAY + timedelta(hours=23)) == 1
    assert scheduler(store, book, weekly(project)).step(MONDAY + timedelta(hours=23)) == 0


def test_a_crash_before_the_outbox_has_it_loses_nothing(store: Store, project: str) -> None:
    class Crash(BaseException): ...

    class Crashing(Store):
        def __init__(self) -> None: ...
        def query(self, *given: Any) -> Any:
            return store.query(*given)

        def insert(self, *_: Any) -> None:
            raise Crash

    book = rule_book(channel("hook", webhook="http://127.0.0.1:9/", secret=SECRET))
    with pytest.raises(Crash):
        scheduler(Crashing(), book, weekly(project)).step(MONDAY)
    assert scheduler(store, book, weekly(project)).step(MONDAY) == 1


def test_a_report_arrives_by_mail_with_its_figures_as_text_and_itself_attached(store: Store, project: str) -> None:
    class Mailbox:
        def __init__(self) -> None:
            self.mails: list[bytes] = []

        async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
            self.mails.append(envelope.content)
            return "250 OK"

    write_calls(store, project, [{"at": MONDAY.timestamp() - 86_400, "cost_usd": 0.5}])
    mailbox = Mailbox()
    smtp = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    smtp.start()
    try:
        url = f"mailto://127.0.0.1:{smtp.port}?from=assay@example.org&to=lead@example.org&mode=insecure"
        book = rule_book(channel("mail", url=url))
        scheduler(store, book, weekly(project, channels=["mail"])).step(MONDAY)
        assert courier(store, book).step(MONDAY.timestamp()) == 1
    finally:
        smtp.stop()
    [mail] = [message_from_bytes(content, policy=policy.default) for content in mailbox.mails]
    assert mail["subject"] == "Weekly: 29 Dec to 05 Jan 2026"
    text = next(part for part in mail.walk() if part.get_content_type() == "text/plain").get_content()
    assert "- Conversations: 1" in text
    assert "- Cost: $0.5000" in text
    assert f"assay report --since=2025-12-29T00:00:00Z --until=2026-01-05T00:00:00Z --project={project}" in text
    [attached] = list(mail.iter_attachments())
    assert (attached.get_filename(), attached.get_content_type()) == ("weekly-2026-01-05.html", "text/html")
    assert "<h1>Weekly</h1>" in attached.get_content()


def test_a_report_that_cannot_be_made_is_tried_again_and_the_log_says_why(
    store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> Any:
        raise AssayError("PDF needs WeasyPrint")

    monkeypatch.setattr("assay.reports.pdf._weasyprint", missing)
    with receiver() as hook:
        book = rule_book(channel("hook", webhook=hook.url, secret=SECRET))
        scheduler(store, book, weekly(project, format="pdf")).step(MONDAY)
        sending = courier(store, book)
        assert sending.step(MONDAY.timestamp()) == 0
        [row] = deliveries(store)
        assert (row["state"], row["error"]) == ("failed", "what it should bring cannot be made: PDF needs WeasyPrint")
        assert hook.bodies == []


def test_a_channel_that_is_not_there_is_told_and_the_others_are_served(store: Store, project: str) -> None:
    book = rule_book(channel("hook", webhook="http://127.0.0.1:9/", secret=SECRET))
    one = weekly(project, channels=["hook", "mial"])
    made = scheduler(store, book, one)
    assert made.step(MONDAY) == 1
    said = "report weekly: no channel 'mial' in the alert rules file (there are: hook): add [[channel]] there"
    assert made.problems == [said]
    with pytest.raises(AssayError) as raised:
        send_now(store, one, book)
    assert str(raised.value) == said


def test_a_server_sends_what_it_missed_once_even_if_it_is_killed(
    own_server: Callable[..., Server], tmp_path: Path
) -> None:
    due = datetime.now(UTC) - timedelta(minutes=5)
    daily = (
        f'[[report]]\nname = "daily"\nevery = "day {due:%H:%M}"\nperiod = "24h"\nchannels = ["hook"]\nformat = "md"\n'
    )
    with receiver() as hook:
        rules, settings = tmp_path / "alerts.toml", tmp_path / "assay.toml"
        rules.write_text("defaults = false\n" + channel("hook", webhook=hook.url, secret=SECRET))
        settings.write_text(daily)
        server = own_server(rules, settings)
        with connect(server.url) as monitor:

            def sent() -> int:
                return [(one["status"], one["state"]) for one in monitor.deliveries()].count(("report", "sent"))

            eventually(lambda: sent() == 1)
            server.kill()
            server.start()
            [one] = monitor.reports()["reports"]
            assert (one["name"], one["last_due"][:16]) == ("daily", f"{due:%Y-%m-%dT%H:%M}")
            assert [row["channel"] for row in monitor.send_report("daily")] == ["hook"]
            eventually(lambda: sent() == 2)
            with pytest.raises(AssayError, match="no report is named 'dayly'; there are: daily"):
                monitor.send_report("dayly")
    assert len({header["webhook-id"] for header in hook.headers}) == len(hook.bodies) == 2
    first = base64.b64decode(hook.messages[0]["document"]["base64"]).decode()
    assert "No call was recorded in this time" in first
