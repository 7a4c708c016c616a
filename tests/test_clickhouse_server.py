"""A ClickHouse server as the store: answers as of the embedded engine, and nothing lost while it is away."""

from __future__ import annotations

import io
import math
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from dirty_equals import IsStr

from assay.client.monitor import Monitor, connect
from assay.errors import AssayError, ServerError, StoreError, StoreUnavailable
from assay.store.connect import open_store
from conftest import PATIENCE_SECONDS, Server, eventually, free_port, messages, otlp

INTERFACE = Path(__file__).with_name("clickhouse.py")
HOUR_NS = 3600 * 10**9


class ClickHouse:
    """A process that answers as a ClickHouse server does (clickhouse.py), and can be killed and started again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = free_port()
        self.url = f"clickhouse://127.0.0.1:{self._port}/assay"

    def start(self) -> ClickHouse:
        command = [sys.executable, str(INTERFACE), str(self._directory / "engine"), str(self._port)]
        with (self._directory / "clickhouse.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        eventually(self._answers)
        return self

    def _answers(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self._port}/ping").is_success
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    started = ClickHouse(tmp_path_factory.mktemp("clickhouse")).start()
    yield started
    started.kill()


@pytest.fixture(scope="module")
def servers(clickhouse: ClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """One with the embedded engine, one with a ClickHouse server, which were sent the same."""
    kept = tmp_path_factory.mktemp("embedded"), tmp_path_factory.mktemp("served")
    started = [Server(kept[0]).start(), Server(kept[1], ASSAY_STORE=clickhouse.url).start()]
    try:
        for body in _requests():
            for server in started:
                assert server.post(body).status_code == 200
        for server in started:
            _said_besides(server)
            with connect(server.url) as monitor:
                eventually(lambda monitor=monitor: _is_scored(monitor))
        yield started
    finally:
        for server in started:
            server.stop()


def _requests() -> list[bytes]:
    chance, now = random.Random(1), time.time_ns()
    kinds = ("Where is my refund for order {}?", "How do I reset the password of {}?", "返金はいつですか {}")
    spans = [
        {
            "trace_id": f"{number // 3 + 1:032x}",
            "span_id": f"{number + 1:016x}",
            "start_ns": now - chance.randint(0, 50 * HOUR_NS),
            "gen_ai.conversation.id": f"session-{number % 20}",
            "user.id": f"user-{number % 5}",
            "gen_ai.request.model": (model := chance.choice(["gpt-4o", "gpt-4o-mini", "claude-sonnet-4-5"])),
            "gen_ai.response.model": model,
            "gen_ai.input.messages": messages(user=chance.choice(kinds).format(number)),
            "gen_ai.output.messages": messages(assistant=f"It is late, we are sorry. It comes in {number} days."),
            **({"error": "too slow", "error.type": "Timeout"} if number % 9 == 0 else {}),
        }
        for number in range(120)
    ]
    return [otlp(*spans[start : start + 40], project="shop").SerializeToString() for start in (0, 40, 80)]


def _said_besides(server: Server) -> None:
    with connect(server.url) as monitor:
        for number in range(1, 20):
            eventually(lambda number=number: monitor.score(f"{number:016x}", "thumb", number % 2, author="ada"))
    given = {"predicted_at": f"{datetime.now(UTC):%Y-%m-%dT00:00:00Z}", "probabilities": {"0": 0.3, "1": 0.7}}
    rows = [{"prediction_id": f"p{n}", "key": f"k{n}", "features": {"age": float(n)}, **given} for n in range(30)]
    labels = [{"key": f"k{n}", "label": str(n % 2)} for n in range(30)]
    for path, name, sent in (("predictions", "rows", rows), ("labels", "labels", labels)):
        answer = httpx.post(f"{server.url}/api/{path}", json={"project": "shop", "model": "churn", name: sent})
        assert answer.is_success, answer.text


def _is_scored(monitor: Monitor) -> bool:
    """Whether each scorer has judged all of the 106 calls that did not fail, and kinds of question are found."""
    scores = monitor.quality(project="shop")["scores"]
    judged = {name: row["n"] + row["not_assessable"] for name, row in scores.items() if name != "thumb"}
    kinds = monitor.groups(project="shop")["groups"]
    return len(judged) > 2 and set(judged.values()) == {106} and sum(kind["calls"] for kind in kinds) == 120


RANGE = {"project": "shop", "since": "3d"}
ASKED: dict[str, Callable[[Monitor], Any]] = {
    "usage by user": lambda m: m.usage(**RANGE, group_by="user_id"),
    "quality by model": lambda m: m.quality(**RANGE, group_by="model"),
    "trends": lambda m: m.trends(**RANGE, bucket="1d", group_by="model"),
    "top sessions": lambda m: m.top("session_id", **RANGE),
    "top prompts": lambda m: m.top("prompt", by="latency", **RANGE),
    "sessions": lambda m: m.sessions(**RANGE, order="cost"),
    "a session": lambda m: m.session("session-3", project="shop"),
    "errors": lambda m: m.errors(**RANGE, group_by="model"),
    "costs": lambda m: m.costs(**RANGE, group_by="model"),
    "another model's costs": lambda m: m.what_if("gpt-4o-mini", **RANGE),
    "speed": lambda m: m.speed(**RANGE),
    "latencies": lambda m: m.latencies(**RANGE),
    "calls": lambda m: m.calls(**RANGE, order="latency", limit=20),
    "a word": lambda m: m.calls(project="shop", q="refund", limit=200),
    "a phrase": lambda m: m.calls(project="shop", q='"reset the"', limit=200),
    "a prefix, without a word": lambda m: m.calls(project="shop", q="pass* -7", limit=200),
    "characters": lambda m: m.calls(project="shop", q="返金は", limit=200),
    "a call": lambda m: m.call(f"{5:016x}"),
    "a trace": lambda m: m.trace(f"{2:032x}"),
    "similar": lambda m: m.similar(f"{5:016x}", **RANGE),
    "agreement": lambda m: m.agreement(**RANGE),
    "distribution": lambda m: m.distribution(**RANGE),
    "the worst": lambda m: m.worst("relevance", **RANGE),
    "SQL": lambda m: m.sql("SELECT model, count() FROM calls GROUP BY model ORDER BY model")["rows"],
    "scores in SQL": lambda m: m.sql("SELECT span_id, relevance FROM scores_wide ORDER BY span_id LIMIT 20")["rows"],
    "models": lambda m: m.models(project="shop"),
    "a model's drift": lambda m: m.model_drift("churn", project="shop"),
    "a model's performance": lambda m: m.model_performance("churn", project="shop"),
    "predictions": lambda m: m.predictions(project="shop", model="churn"),
    "kinds of question": lambda m: sorted(group["calls"] for group in m.groups(**RANGE)["groups"]),
    "CSV": lambda m: _exported(m, "csv", "started_at,span_id,prompt,cost_usd").decode().splitlines(),
    "Parquet": lambda m: pq.read_table(io.BytesIO(_exported(m, "parquet", "calls"))).to_pylist(),
}

_OF_EACH = frozenset({"labelled_at", "delay", "judged_at", "prompt_group"})
"""When each server got something, and what it calls a kind of question."""


def _exported(monitor: Monitor, format: str, columns: str) -> bytes:
    to = io.BytesIO()
    monitor.export(to, format, columns, **RANGE)
    return to.getvalue()


def _differing(found: Any, expected: Any, path: str = "") -> list[str]:
    """Where they differ. A model's scores depend a little on which texts it reads together."""
    if isinstance(found, dict) and isinstance(expected, dict):
        names = (found.keys() | expected.keys()) - _OF_EACH
        return [one for name in names for one in _differing(found.get(name), expected.get(name), f"{path}.{name}")]
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        pairs = enumerate(zip(found, expected, strict=True))
        return [one for place, pair in pairs for one in _differing(*pair, f"{path}[{place}]")]
    if isinstance(found, float) and isinstance(expected, float):
        return [] if math.isclose(found, expected, rel_tol=1e-5, abs_tol=1e-6) else [f"{path}: {found} {expected}"]
    return [] if found == expected else [f"{path}: {found} {expected}"]


@pytest.mark.parametrize("name", ASKED)
def test_answers_are_those_of_the_embedded_engine(servers: list[Server], name: str) -> None:
    with connect(servers[0].url) as embedded, connect(servers[1].url) as served:
        found, expected = ASKED[name](served), ASKED[name](embedded)
        assert expected
        assert not _differing(found, expected)


def test_a_query_of_a_reader_cannot_write_or_lift_its_limits(servers: list[Server]) -> None:
    with connect(servers[1].url) as monitor:
        for query in ("DROP TABLE spans", "SELECT 1 SETTINGS max_memory_usage = 0", "SELECT * FROM url('http://x')"):
            with pytest.raises(AssayError):
                monitor.sql(query)
        assert monitor.usage(project="shop")["total_calls"] == 120


def test_a_second_start_finds_all_of_it(servers: list[Server]) -> None:
    servers[1].stop()
    servers[1].start()
    with connect(servers[1].url) as monitor:
        assert monitor.usage(project="shop")["total_calls"] == 120


def test_what_is_sent_while_it_is_away_is_there_when_it_is_back(servers: list[Server], clickhouse: ClickHouse) -> None:
    server = servers[1]
    clickhouse.kill()
    for number in range(3):
        sent = otlp({"gen_ai.input.messages": messages(user="my secret")}, project="away")
        assert server.post(sent).status_code == 200, number
    asked = httpx.get(f"{server.url}/api/calls", params={"q": "secret"})
    assert (asked.status_code, asked.json()) == (
        503,
        {"error": IsStr(regex=r"the store at 127\.0\.0\.1 does not answer: .*Connection refused")},
    )
    assert httpx.get(f"{server.url}/api/health").json()["status"] != "ok"

    clickhouse.start()
    with connect(server.url) as monitor:
        eventually(lambda: _total(monitor, "away") == 3)
    assert "secret" not in server.log
    assert "Traceback" not in server.log


def _total(monitor: Monitor, project: str) -> int:
    try:
        return monitor.usage(project=project)["total_calls"]
    except ServerError:
        return 0


def test_a_store_that_is_lost_later_is_told_apart_from_a_wrong_question(clickhouse: ClickHouse) -> None:
    opened = open_store(f"{clickhouse.url}_2")  # a database that was not there
    try:
        with pytest.raises(StoreError, match="UNKNOWN_TABLE") as wrong:
            opened.query("SELECT 1 FROM nothing")
        assert not isinstance(wrong.value, StoreUnavailable)
        clickhouse.kill()
        with pytest.raises(StoreUnavailable, match="does not answer"):
            opened.query("SELECT 1")
    finally:
        opened.close()
        clickhouse.start()


@pytest.mark.parametrize("scheme", ["clickhouses", "https"])
def test_a_url_that_asks_for_tls_is_not_served_without(clickhouse: ClickHouse, scheme: str) -> None:
    with pytest.raises(StoreError, match="SSL"):
        open_store(clickhouse.url.replace("clickhouse", scheme, 1))


def test_a_server_that_is_not_there_is_told_in_a_sentence() -> None:
    with pytest.raises(StoreError) as away:
        open_store("clickhouse://ada:secret@127.0.0.1:1/db")
    assert str(away.value) == IsStr(regex=r"cannot open clickhouse://ada:\*\*\*@127\.0\.0\.1:1/db: [^?]*refused")
