"""Wires everything into one ASGI application: OTLP routes, the API at /api, the dashboard at /."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import msgspec
import streamlit
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Mount
from starlette.types import ASGIApp

from assay.config import Config
from assay.errors import StoreError
from assay.ingest.batch import SPAN_SCHEMA, Batch, commit
from assay.ingest.figures import figures
from assay.ingest.grpc import grpc_server
from assay.ingest.journal import Journal, journal_directory
from assay.ingest.prediction_receiver import PredictionReceiver
from assay.ingest.pricing import Prices
from assay.ingest.reader import Reader
from assay.ingest.readers import Readers, Settings
from assay.ingest.receiver import Receiver
from assay.ingest.settler import Settler
from assay.ingest.writer import Writer, newest_commit
from assay.quality.groups.grouping import Grouping
from assay.quality.groups.live import LiveGroups
from assay.quality.judge.judging import LiveJudge, live_judge
from assay.quality.live import LiveScoring
from assay.records import Span
from assay.reports.making import Circumstances
from assay.server.alerting import Alerting
from assay.server.alerts_api import add_alert_routes
from assay.server.api import api
from assay.server.auth import RequireKey
from assay.server.files_api import add_import
from assay.server.groups_api import add_group_routes
from assay.server.predictions_api import add_predictions
from assay.server.reports_api import add_reports
from assay.store.connect import Store, open_store
from assay.store.housekeeping import Housekeeper
from assay.store.rows import arrow_table, stamped

LOOPBACK_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
VERSION = version("assay")


@contextmanager
def running(config: Config, url: str) -> Generator[ASGIApp]:
    """Everything at work, as an ASGI application that is reached at `url`.

    On leaving, what was accepted is written, then the store is closed. Raises StoreError.
    """
    with ExitStack() as stack:
        store = _opened(stack, config, url)
        journal = Journal(journal_directory(config.store))
        writer = Writer(store, journal)
        stack.callback(writer.close)
        readers = Readers(Settings(config.prices, config.ingest.max_future_seconds))
        stack.callback(readers.close)
        receiver = Receiver(writer, readers, config.ingest)
        writer.replay(readers.take)
        predictions = PredictionReceiver(store, config.ingest)
        stack.callback(predictions.close)
        prices = Prices(config.prices)
        settler = Settler(store, writer.rewrite, lambda span: figures(span, prices), lambda: writer.committed_at)
        stack.callback(settler.stop)
        settler.start()
        scoring = LiveScoring(store, config.quality, lambda: settler.settled_at)
        stack.callback(scoring.stop)
        scoring.start()
        groups = LiveGroups(store, lambda: settler.settled_at, config.quality.poll_seconds)
        stack.callback(groups.stop)
        groups.start()
        judge = live_judge(store, config, writer.rewrite, lambda: settler.settled_at)
        if judge:
            stack.callback(judge.stop)
            judge.start()
        if config.grpc_port is not None:
            stack.enter_context(grpc_server(receiver, config.host, config.grpc_port, config.keys))
        housekeeper = Housekeeper(store)
        stack.callback(housekeeper.stop)
        housekeeper.start()
        health = Health(store, journal, writer, receiver, readers, settler, scoring, judge, groups, predictions)
        circumstances = Circumstances(version=VERSION, url=url, prices=prices, health=lambda: health.figures()[1])
        alerting = Alerting(store, config, url, health.figures, circumstances)
        stack.callback(alerting.stop)
        alerting.start()
        health.alerting = alerting
        dashboard = streamlit.App(
            str(files("assay.dashboard") / "app.py"),
            secrets={"assay_url": url, "assay_key": next(iter(config.keys), "")},
        )
        answers = api(
            store,
            health.figures,
            VERSION,
            rewrite=writer.rewrite,
            prices=prices,
            config=config,
            caught_up=writer.caught_up,
        )
        add_alert_routes(answers, store, config.alerts.rules, alerting.engine)
        add_group_routes(answers, store, groups.grouping, lambda: None)
        add_import(
            answers, store, readers.take, lambda batch: writer.submit(batch).result(), config.ingest.max_body_bytes
        )
        add_predictions(answers, store, predictions)
        add_reports(answers, store, circumstances, config.report, lambda: alerting.engine.book)
        # Spans and questions do not pass through the dashboard's own middleware.
        yield Starlette(
            routes=[
                *receiver.routes(),
                Mount("/api", answers),
                Mount("/", dashboard),
            ],
            middleware=_guards(config),
            lifespan=dashboard.lifespan(),
        )


@contextmanager
def answering(config: Config, url: str) -> Generator[ASGIApp]:
    """The API alone over the store, for a command that asks where no server runs. Raises StoreError."""
    with ExitStack() as stack:
        store = _opened(stack, config, url)
        answers = api(
            store,
            lambda: (True, {"problems": []}),
            VERSION,
            rewrite=partial(rewritten, store),
            prices=Prices(config.prices),
            config=config,
        )
        add_alert_routes(answers, store, config.alerts.rules)
        grouping = Grouping(store)
        stack.callback(grouping.close)
        add_group_routes(answers, store, grouping, lambda: grouping.catch_up(newest_commit(store)))
        reader = Reader(Prices(config.prices), config.ingest.max_future_seconds)
        add_import(answers, store, reader.take, partial(kept, store), config.ingest.max_body_bytes)
        predictions = PredictionReceiver(store, config.ingest)
        stack.callback(predictions.close)
        add_predictions(answers, store, predictions)
        add_reports(answers, store, Circumstances(version=VERSION, prices=Prices(config.prices)), config.report)
        yield Starlette(routes=[Mount("/api", answers)])


def rewritten(store: Store, spans: Sequence[Span]) -> None:
    """Store spans anew in place of their former rows, where no writer runs. Raises StoreUnavailable."""
    store.insert("spans", stamped(arrow_table(spans, SPAN_SCHEMA), time.time_ns() // 1000))


def kept(store: Store, batch: Batch) -> None:
    """Store a batch at once, where no writer runs. Raises StoreUnavailable."""
    commit(store, batch.tables, time.time_ns() // 1000)


class Health:
    """What GET /api/health tells."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        writer: Writer,
        receiver: Receiver,
        readers: Readers,
        settler: Settler,
        scoring: LiveScoring,
        judge: LiveJudge | None,
        groups: LiveGroups,
        predictions: PredictionReceiver,
    ) -> None:
        self._journal = journal
        self._settler = settler
        self._store = store
        self._writer = writer
        self._receiver = receiver
        self._readers = readers
        self._scoring = scoring
        self._judge = judge
        self._groups = groups
        self._predictions = predictions
        self.alerting: Alerting | None = None
        self._started = time.monotonic()

    def figures(self) -> tuple[bool, dict[str, Any]]:
        """Whether the store answers and scoring works, and all counters."""
        writing = self._writer.last_error and f"writing: {self._writer.last_error}"
        scoring = [*self._scoring.last_errors, self._judge.problem if self._judge else ""]
        watched = self.alerting.problems if self.alerting else []
        followers = self._settler.last_error, self._groups.last_error
        problems = list(filter(None, [self._store_problem(), writing, *followers, *scoring, *watched]))
        return not problems, {
            "version": VERSION,
            "uptime_seconds": round(time.monotonic() - self._started, 1),
            "problems": problems,
            "ingest": {
                **msgspec.structs.asdict(self._receiver.counts),
                "pending_bytes": self._receiver.pending_bytes,
                "pending_spans": self._writer.pending_rows,
                "journal_bytes": self._journal.size_bytes,
                "reading_processes": len(self._readers.process_ids),
                "last_commit_at": self._writer.committed_at / 1e6 or None,
            },
            "predictions": self._predictions.figures(),
            "settle": {"lag_seconds": self._settler.lag_seconds},
            "quality": self._scoring.figures(),
            "judge": self._judge.figures() if self._judge else None,
            "groups": self._groups.figures(),
        }

    def _store_problem(self) -> str:
        try:
            self._store.query("SELECT 1")
        except StoreError as error:
            return str(error)
        return ""


def _opened(stack: ExitStack, config: Config, url: str) -> Store:
    store = open_store(config.store, answers_at=url)
    stack.callback(store.close)
    return store


def _guards(config: Config) -> list[Middleware]:
    if config.keys:
        return [Middleware(RequireKey, keys=config.keys)]
    # Without keys only this machine is trusted; a foreign Host means a web page that had its name rebound.
    return [Middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK_HOSTS, config.host])]
