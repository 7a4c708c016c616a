"""Reports that are sent again and again: what is due goes into the outbox of alerting, once for each due time.

A message is known by its report, due time and channel, and looked for before it is added: so it is sent once, whatever
was restarted or killed in between. What fell due while nothing ran is made up for within a day. The document itself is
made when it is delivered, of the range that the message names.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from assay.alerts.channels import Document
from assay.alerts.notify import notification
from assay.alerts.rules import RuleBook
from assay.errors import AssayError, traced
from assay.reports.content import TITLE, stamp
from assay.reports.making import Circumstances, narrowed, report
from assay.reports.render import MEDIA_TYPES, render, summary
from assay.store.connect import Store
from assay.store.incidents import DeliveryAttempt, as_micros, insert_attempts, known_deliveries
from assay.timetable import ScheduledReport

SCHEMA = "assay.report/1"
POLL_SECONDS = 5.0
MADE_UP_FOR = timedelta(days=1)
"""What was missed for longer is not sent any more: the next one is near."""

log = logging.getLogger(__name__)


class Scheduler:
    """Puts reports into the outbox as they fall due, in a thread of its own until `stop`."""

    def __init__(self, store: Store, reports: Sequence[ScheduledReport], book: Callable[[], RuleBook]) -> None:
        self.last_error = ""
        self._store = store
        self._reports = reports
        self._book = book
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="assay-reports", daemon=True)

    def start(self) -> None:
        """Begin, where there is any report."""
        if self._reports:
            self._thread.start()

    def stop(self) -> None:
        """Finish what is in hand, then end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def problems(self) -> list[str]:
        """What is wrong, for health: reports without a channel that exists, and the last error."""
        known = self._book().channels
        return [
            *(lost_channel(one, name, known) for one in self._reports for name in one.channels if name not in known),
            *filter(None, [self.last_error]),
        ]

    def step(self, now: datetime | None = None) -> int:
        """Put what is due into the outbox; answers how many messages that were. Raises StoreError."""
        at = now or datetime.now(UTC)
        known = self._book().channels
        dues = [(one, one.timetable.last(at)) for one in self._reports]
        messages = [
            message(one, channel, due, at)
            for one, due in dues
            if at - due < MADE_UP_FOR
            for channel in one.channels
            if channel in known
        ]
        told = known_deliveries(self._store, [one.delivery_id for one in messages]) if messages else set[str]()
        new = [one for one in messages if one.delivery_id not in told]
        insert_attempts(self._store, new)
        return len(new)

    def _run(self) -> None:
        pause = 0.0
        while not self._stopping.wait(pause):
            try:
                self.step()
                pause, self.last_error = POLL_SECONDS, ""
            except Exception as error:
                self.last_error, pause = f"scheduling reports: {error}", min(max(pause, 1) * 2, 60.0)
                log.warning("scheduling reports tries again in %.0f s: %s", pause, error, exc_info=traced(error))


def send_now(store: Store, one: ScheduledReport, book: RuleBook) -> list[DeliveryAttempt]:
    """Put a report into the outbox at once, whatever its timetable. Raises AssayError for a channel there is not."""
    for name in one.channels:
        if name not in book.channels:
            raise AssayError(lost_channel(one, name, book.channels))
    now = datetime.now(UTC)
    messages = [message(one, channel, now, now) for channel in one.channels]
    insert_attempts(store, messages)
    return messages


def lost_channel(one: ScheduledReport, name: str, known: Mapping[str, object]) -> str:
    """What to do about a channel that a report names and the rules file has not."""
    there = f"there are: {', '.join(known)}" if known else "there is none"
    return f"report {one.name}: no channel {name!r} in the alert rules file ({there}): add [[channel]] there"


def message(one: ScheduledReport, channel: str, due: datetime, now: datetime) -> DeliveryAttempt:
    """The message about one report and due time to one channel."""
    since, until = one.covers.before(due, one.timetable.zone)
    key = "\0".join([channel, "report", one.name, stamp(due)])
    told = {
        "name": one.name,
        "title": one.title or TITLE,
        "format": one.format,
        "due": stamp(due),
        "since": stamp(since),
        "until": stamp(until),
        "filter": one.filter,
        "by": one.by,
    }
    delivery_id = hashlib.sha256(key.encode()).hexdigest()[:24]
    return notification(channel, delivery_id, "report", as_micros(now), schema=SCHEMA, report=told)


def document(store: Store, made: Circumstances, body: Mapping[str, Any]) -> Document | None:
    """The document of a message about a report, None of any other message. Raises AssayError."""
    told = body.get("report")
    if not told:
        return None
    since, until = (datetime.fromisoformat(told[bound]) for bound in ("since", "until"))
    found = report(store, narrowed(told["filter"], since, until), made, title=told["title"], by=told["by"])
    return Document(
        filename=f"{told['name']}-{told['due'][:10]}.{told['format']}",
        media_type=MEDIA_TYPES[told["format"]].partition(";")[0],
        content=render(found, told["format"]),
        title=f"{told['title']}: {since:%d %b} to {until:%d %b %Y}",
        summary=summary(found),
    )


def shown(one: ScheduledReport, now: datetime) -> dict[str, Any]:
    """One scheduled report for the API: what was configured, when it was due last and is due next, and what it told."""
    due = one.timetable
    since, until = one.covers.before(due.last(now), due.zone)
    return {**one.model_dump(), "last_due": due.last(now), "next_due": due.next(now), "since": since, "until": until}
