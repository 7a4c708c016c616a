"""What the tests of alerting share: calls with scores written straight into a store, and receivers on loopback."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from assay.alerts.engine import Engine
from assay.records import Score, Span
from assay.store.connect import Store
from assay.store.rows import arrow_schema, arrow_table, stamped
from assay.store.scores import insert_scores

NOON = 1_767_614_400  # 2026-01-05T12:00:00Z, a Monday


def write_calls(store: Store, project: str, calls: Sequence[dict[str, Any]]) -> list[str]:
    """Store calls, each {"at": Unix seconds, fields of a Span ..., "scores": {name: value}}; answers their ids."""
    spans, scores = list[Span](), list[Score]()
    for call in calls:
        told = dict(call)
        at, given = told.pop("at"), told.pop("scores", {})
        fields = {"kind": "llm", "counted": True, "latency_ms": 100.0, "cost_usd": 0.01, "project": project, **told}
        span = Span(trace_id=secrets.token_hex(16), span_id=secrets.token_hex(8), started_at=round(at * 1e6), **fields)
        spans.append(span)
        scores += [
            Score(target=span.span_id, name=name, value=value, project=project, started_at=span.started_at)
            for name, value in given.items()
        ]
    store.insert("spans", stamped(arrow_table(spans, arrow_schema(Span)), time.time_ns() // 1000))
    insert_scores(store, scores)
    return [span.span_id for span in spans]


def forget_alerts(store: Store) -> None:
    """Empty the tables of alerting."""
    for table in ("incident_events", "silences", "deliveries"):
        store.command(f"TRUNCATE TABLE {table}")


def engine(store: Store, directory: Path, text: str) -> Engine:
    """An engine over these rules and no default ones; it acts only when a test says `round(now)`."""
    path = directory / "alerts.toml"
    path.write_text("defaults = false\n" + text)
    made = Engine(store, path, "http://assay.test")
    assert made.book.problems == []
    return made


class Receiver:
    """Takes webhooks; answers with each of `answers` in turn and with 200 from then on."""

    def __init__(self, url: str, answers: list[int]) -> None:
        self.url = url
        self.answers = answers
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.bodies]


@contextmanager
def receiver(*answers: int) -> Iterator[Receiver]:
    """A real HTTP server on loopback that keeps what it is sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            got.headers.append({name.lower(): value for name, value in self.headers.items()})
            self._answer()

        def do_GET(self) -> None:
            got.headers.append({"path": self.path})
            self._answer()

        def _answer(self) -> None:
            self.send_response(got.answers.pop(0) if got.answers else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    got = Receiver(f"http://127.0.0.1:{server.server_port}/hook", list(answers))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
