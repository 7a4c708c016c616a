"""Stored spans a second over HTTP, beside the raw engine's inserts of the same rows, and beside the peers.

Four connections send batches of 100 spans with 2 kB of text; the clock stops when all rows can be read, and they are
counted in the store. Then 1,000 spans a second are sent evenly, for the time until an acknowledgement. With
`--peers-venv`, the same load goes to Phoenix and MLflow, where their rows are counted in their databases.
"""

from __future__ import annotations

import argparse
import http.client
import multiprocessing
import os
import random
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from multiprocessing.pool import Pool
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import httpx

from assay.client.monitor import connect
from assay.ingest.batch import SPAN_SCHEMA
from assay.ingest.normalise import normalise
from assay.ingest.otlp import PROTOBUF, decode
from assay.ingest.pricing import Prices
from assay.store.connect import open_store
from assay.store.rows import arrow_table, stamped
from measuring import chat_batch, cpu_seconds, memory_mb, server, show

STEADY_SPANS_PER_S = 1000
STEADY_BATCH = 50
PEER_SECONDS = 120


class Job(NamedTuple):
    """What one connection sends: `pause_s` from the start of one request to the next, 0 for as fast as it can."""

    url: str
    bodies: int
    batch: int
    text_bytes: int
    seed: int
    pause_s: float = 0.0
    headers: tuple[tuple[str, str], ...] = ()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--text-bytes", type=int, default=2000)
    parser.add_argument("--steady-seconds", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--scorers", default="off", help="local or lexical: score at the same time")
    parser.add_argument("--peers-venv", type=Path, help="a virtual environment with arize-phoenix or mlflow")
    parser.add_argument("--peer-spans", type=int, default=4_000)
    options = parser.parse_args()

    runs = [_run(options) for _ in range(options.repeat)]
    show(
        "ingest",
        runs,
        median_spans_per_s=median(run["stored spans/s"] for run in runs),
        median_share_of_raw=median(run["share of raw"] for run in runs),
        peers={name: _peer_rate(options, name) for name in PEERS},
    )


def _run(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory, _senders(options, options.spans) as pool:
        with server(Path(directory), ASSAY_QUALITY__SCORERS=options.scorers) as (url, pid):
            began, spent = time.perf_counter(), cpu_seconds(pid)
            waits = _waits(pool, _jobs(options, url, options.spans))
            answered = time.perf_counter() - began
            _await_all(lambda: not _pending_spans(url))
            elapsed = time.perf_counter() - began
            spent = {name: seconds - spent.get(name, 0.0) for name, seconds in cpu_seconds(pid).items()}
            stored, memory = _stored(url), memory_mb(pid)
            steady = _waits(pool, _steady_jobs(options, url))
        raw = pool.apply(_raw_rate, (directory, stored, options.text_bytes))
    return {
        "stored spans/s": stored / elapsed,
        "raw engine rows/s": raw,
        "share of raw": stored / elapsed / raw,
        "stored": stored,
        "sent": options.spans // options.batch // options.connections * options.connections * options.batch,
        "last stored after last ack s": elapsed - answered,
        **_percentiles("ack", waits),
        **_percentiles("ack at 1,000 spans/s", steady),
        "server MB": memory,
        "CPU us a span": sum(spent.values()) / stored * 1e6,
        "Python": spent["python"] / stored * 1e6,
        "merges": spent.get("MergeMutate", 0.0) / stored * 1e6,
    }


@contextmanager
def _senders(options: argparse.Namespace, spans: int) -> Generator[Pool]:
    """Processes that send, each of which has all bodies: none is made while the clock runs."""
    jobs = [*_jobs(options, "", spans), *_steady_jobs(options, "")]
    with multiprocessing.Pool() as makers:
        _prepared.update(zip((job.seed for job in jobs), makers.map(_bodies, jobs, chunksize=1), strict=True))
    with multiprocessing.Pool(options.connections) as senders:
        yield senders


def _jobs(options: argparse.Namespace, url: str, spans: int, **headers: str) -> list[Job]:
    bodies = spans // options.batch // options.connections
    own = tuple(headers.items())
    return [Job(url, bodies, options.batch, options.text_bytes, n, headers=own) for n in range(options.connections)]


def _steady_jobs(options: argparse.Namespace, url: str) -> list[Job]:
    pause_s = STEADY_BATCH * options.connections / STEADY_SPANS_PER_S
    bodies = int(options.steady_seconds / pause_s)
    return [Job(url, bodies, STEADY_BATCH, options.text_bytes, 100 + n, pause_s) for n in range(options.connections)]


def _waits(pool: Pool, jobs: list[Job]) -> list[float]:
    return [wait for each in pool.map(_send, jobs, chunksize=1) for wait in each]


def _percentiles(name: str, waits: list[float]) -> dict[str, float]:
    percentiles = quantiles(waits, n=100)
    return {f"{name} p50 ms": percentiles[49] * 1000, f"{name} p99 ms": percentiles[98] * 1000}


def _pending_spans(url: str) -> int:
    return httpx.get(f"{url}/api/health", timeout=60).json()["ingest"]["pending_spans"]


def _stored(url: str) -> int:
    with connect(url) as monitor:
        return monitor.usage()["total_conversations"]


def _await_all(done: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(0.02)


_prepared: dict[int, list[bytes]] = {}


def _bodies(job: Job) -> list[bytes]:
    rng = random.Random(f"{job.seed}-{time.time_ns()}")
    return [chat_batch(job.batch, job.text_bytes, rng) for _ in range(job.bodies)]


def _send(job: Job) -> list[float]:
    connection = http.client.HTTPConnection(job.url.removeprefix("http://"))
    waits, due = list[float](), time.perf_counter()
    for body in _prepared[job.seed]:
        time.sleep(max(due - time.perf_counter(), 0.0))
        due += job.pause_s
        began = time.perf_counter()
        connection.request("POST", "/v1/traces", body, {"Content-Type": PROTOBUF, **dict(job.headers)})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        waits.append(time.perf_counter() - began)
    return waits


def _raw_rate(directory: str, rows: int, text_bytes: int) -> float:
    """Rows a second that the engine takes from one thread in blocks of 10,000, ready made."""
    rng, prices = random.Random(0), Prices()
    blocks = list[Any]()
    for _ in range(-(-rows // 10_000)):
        raw = decode(chat_batch(10_000, text_bytes, rng), PROTOBUF).spans
        spans = [normalise(span, prices) for span in raw]
        blocks.append(stamped(arrow_table(spans, SPAN_SCHEMA), time.time_ns() // 1000))
    store = open_store(f"{directory}/raw")
    began = time.perf_counter()
    for block in blocks:
        store.insert("spans", block)
    elapsed = time.perf_counter() - began
    store.close()
    return len(blocks) * 10_000 / elapsed


class Peer(NamedTuple):
    """How a peer is started and where its spans are: `{port}` and `{directory}` are filled in."""

    program: str
    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    database: str
    headers: tuple[tuple[str, str], ...] = ()


PEERS = {
    "Phoenix": Peer(
        "phoenix",
        ("serve",),
        (
            ("PHOENIX_PORT", "{port}"),
            ("PHOENIX_GRPC_PORT", "{other_port}"),
            ("PHOENIX_WORKING_DIR", "{directory}"),
            ("PHOENIX_TELEMETRY_ENABLED", "false"),
        ),
        "phoenix.db",
    ),
    "MLflow": Peer(
        "mlflow",
        ("server", "--port", "{port}", "--backend-store-uri", "sqlite:///{directory}/mlflow.db", "--workers", "1"),
        (),
        "mlflow.db",
        (("x-mlflow-experiment-id", "0"),),
    ),
}


def _peer_rate(options: argparse.Namespace, name: str) -> dict[str, float] | str:
    """Stored spans a second of a peer under the same load, or why there is no figure."""
    peer = PEERS[name]
    program = options.peers_venv and options.peers_venv / "bin" / peer.program
    if not (program and program.exists()):
        return "not installed: give its environment with --peers-venv"
    with (
        tempfile.TemporaryDirectory() as directory,
        _senders(options, options.peer_spans) as pool,
        _peer_at_work(program, peer, Path(directory)) as url,
    ):
        jobs = _jobs(options, url, options.peer_spans, **dict(peer.headers))
        sent = sum(job.bodies * job.batch for job in jobs)
        began = time.perf_counter()
        _waits(pool, jobs)
        database = Path(directory) / peer.database
        _await_all(lambda: _rows_of_spans(database) >= sent, PEER_SECONDS)
        elapsed, stored = time.perf_counter() - began, _rows_of_spans(database)
    return {"stored spans/s": stored / elapsed, "stored": stored, "sent": sent}


@contextmanager
def _peer_at_work(program: Path, peer: Peer, directory: Path) -> Generator[str]:
    names = {"port": str(_free_port()), "other_port": str(_free_port()), "directory": str(directory)}
    command = [str(program), *(argument.format(**names) for argument in peer.arguments)]
    settings = {key: value.format(**names) for key, value in peer.environment}
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": "", **settings}
    process = subprocess.Popen(command, env=environment, cwd=directory, stdout=-3, stderr=-3, start_new_session=True)
    url = f"http://127.0.0.1:{names['port']}"
    try:
        _await_all(lambda: _answers(url), PEER_SECONDS)
        yield url
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def _rows_of_spans(database: Path) -> int:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as opened:
        return opened.execute("SELECT count(*) FROM spans").fetchone()[0]


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


if __name__ == "__main__":
    main()
