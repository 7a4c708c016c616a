"""How long after a call's end its scores are stored, at a steady rate of calls; and how fast a backlog is caught up.

A sender ends `--rate` calls a second, evenly, for `--seconds`; each call's lag is taken from the store afterwards: the
time of its last score's commit less the end of the call in its sender. Then a server without scorers takes
`--backlog` calls, and is started anew with them: the clock runs from its start until all are scored.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from assay.store.connect import open_store
from measuring import chat_batch, memory_mb, server, show

BATCH = 10
PROTOBUF = {"Content-Type": "application/x-protobuf"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--text-bytes", type=int, default=1000)
    parser.add_argument("--backlog", type=int, default=20_000)
    parser.add_argument("--scorers", default="local")
    options = parser.parse_args()
    rows = [_live(options)]
    show("scoring", rows, caught_up=_caught_up(options))


def _live(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        with server(Path(directory), ASSAY_QUALITY__SCORERS=options.scorers) as (url, pid):
            waits = _send(url, options)
            sent = len(waits) * BATCH
            _await_scored(url, sent)
            memory = memory_mb(pid)
        return {
            "calls/s": options.rate,
            "calls": sent,
            **_lags(directory),
            "ack p99 ms": sorted(waits)[len(waits) * 99 // 100] * 1000,
            "server MB": memory,
        }


def _send(url: str, options: argparse.Namespace) -> list[float]:
    rng, waits, due = random.Random(time.time_ns()), list[float](), time.perf_counter()
    with httpx.Client() as client:
        for _ in range(options.rate * options.seconds // BATCH):
            time.sleep(max(due - time.perf_counter(), 0.0))
            due += BATCH / options.rate
            body = chat_batch(BATCH, options.text_bytes, rng)
            began = time.perf_counter()
            client.post(f"{url}/v1/traces", content=body, headers=PROTOBUF).raise_for_status()
            waits.append(time.perf_counter() - began)
    return waits


def _await_scored(url: str, calls: int, seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while _scored(url) < calls:
        assert time.monotonic() < deadline, f"{_scored(url)} of {calls} calls are scored after {seconds} s"
        time.sleep(0.2)


def _scored(url: str) -> int:
    return httpx.get(f"{url}/api/health", timeout=60).json()["quality"]["scored_calls"]


def _lags(directory: str) -> dict[str, float]:
    store = open_store(f"{directory}/data")
    [row] = store.query(
        """
        SELECT count() AS scored, quantiles(0.5, 0.99)(lag) AS lags, max(lag) AS longest FROM (
            SELECT target, max(toUnixTimestamp64Micro(scores.ingested_at))
                - any(toUnixTimestamp64Micro(spans.started_at) + spans.latency_ms * 1000) AS lag
            FROM scores FINAL JOIN spans FINAL ON scores.target = spans.span_id
            GROUP BY target
        )
        """
    )
    store.close()
    p50, p99 = (lag / 1e6 for lag in row["lags"])
    return {"scored": row["scored"], "lag p50 s": p50, "lag p99 s": p99, "longest s": row["longest"] / 1e6}


def _caught_up(options: argparse.Namespace) -> dict[str, float]:
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as directory:
        with server(Path(directory), ASSAY_QUALITY__SCORERS="off") as (url, _), httpx.Client(timeout=60) as client:
            for _ in range(options.backlog // 500):
                body = chat_batch(500, options.text_bytes, rng)
                client.post(f"{url}/v1/traces", content=body, headers=PROTOBUF).raise_for_status()
            client.get(f"{url}/api/usage").raise_for_status()
        began = time.perf_counter()
        with server(Path(directory), ASSAY_QUALITY__SCORERS=options.scorers) as (url, _):
            _await_scored(url, options.backlog)
            elapsed = time.perf_counter() - began
    return {"calls": options.backlog, "seconds": elapsed, "calls/s": options.backlog / elapsed}


if __name__ == "__main__":
    main()
