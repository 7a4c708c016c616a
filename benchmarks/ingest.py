"""Stored spans a second over HTTP, acknowledged after storing, beside the raw engine's inserts of the same rows.

Four connections send batches of 100 spans with 2 kB of text; the rows are counted in the store afterwards.
"""

from __future__ import annotations

import argparse
import http.client
import multiprocessing
import random
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from assay.client.monitor import connect
from assay.ingest.normalise import normalise
from assay.ingest.otlp import PROTOBUF, decode
from assay.ingest.pricing import Prices
from assay.ingest.writer import SPAN_SCHEMA
from assay.store.connect import open_store
from assay.store.rows import arrow_table, stamped
from measuring import chat_batch, cpu_seconds, memory_mb, server, show


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=60_000)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--text-bytes", type=int, default=2000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--scorers", default="off", help="local or lexical: score at the same time")
    options = parser.parse_args()

    runs = [_run(options) for _ in range(options.repeat)]
    rates = [run["stored spans/s"] for run in runs]
    raw = [run["raw engine rows/s"] for run in runs]
    show(
        "ingest",
        runs,
        median_spans_per_s=median(rates),
        median_share_of_raw=median(a / b for a, b in zip(rates, raw, strict=True)),
    )


def _run(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory, multiprocessing.Pool(options.connections) as pool:
        bodies_each = options.spans // options.batch // options.connections
        with server(Path(directory), ASSAY_QUALITY__SCORERS=options.scorers) as (url, pid):
            jobs = [(url, bodies_each, options.batch, options.text_bytes, seed) for seed in range(options.connections)]
            # Bodies are made in the workers before the clock starts.
            pool.map(_prepare, jobs, chunksize=1)
            began, spent = time.perf_counter(), cpu_seconds(pid)
            waits = [wait for each in pool.map(_send, jobs, chunksize=1) for wait in each]
            elapsed = time.perf_counter() - began
            spent = {name: seconds - spent.get(name, 0.0) for name, seconds in cpu_seconds(pid).items()}
            with connect(url) as monitor:
                stored = monitor.usage()["total_conversations"]
            memory = memory_mb(pid)
        raw = pool.apply(_raw_rate, (directory, stored, options.text_bytes))
    percentiles = quantiles(waits, n=100)
    return {
        "stored spans/s": stored / elapsed,
        "raw engine rows/s": raw,
        "share of raw": stored / elapsed / raw,
        "stored": stored,
        "sent": bodies_each * options.batch * options.connections,
        "ack p50 ms": percentiles[49] * 1000,
        "ack p99 ms": percentiles[98] * 1000,
        "server MB": memory,
        "CPU us a span": sum(spent.values()) / stored * 1e6,
        "Python": spent["python"] / stored * 1e6,
        "merges": spent.get("MergeMutate", 0.0) / stored * 1e6,
    }


_prepared: dict[int, list[bytes]] = {}


def _prepare(job: tuple[str, int, int, int, int]) -> None:
    _, bodies, batch, text_bytes, seed = job
    rng = random.Random(f"{seed}-{time.time_ns()}")
    template = [chat_batch(batch, text_bytes, rng) for _ in range(min(bodies, 20))]
    _prepared[seed] = [template[i] if i < len(template) else chat_batch(batch, text_bytes, rng) for i in range(bodies)]


def _send(job: tuple[str, int, int, int, int]) -> list[float]:
    url, *_, seed = job
    if seed not in _prepared:
        _prepare(job)
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    waits = list[float]()
    for body in _prepared[seed]:
        began = time.perf_counter()
        connection.request("POST", "/v1/traces", body, {"Content-Type": PROTOBUF})
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


if __name__ == "__main__":
    main()
