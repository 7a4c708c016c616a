"""Classical models: what MonitoredModel costs a row, and how many predictions a second are stored.

The first is measured in the application's own thread, in batches of 1,000 rows, beside the bare model in the same run,
with a server that takes them and with none. The second sends ready made Arrow streams of rows with ten features over
several connections and counts what is stored, beside the raw engine's insert of the same rows; then single rows as
JSON, which share inserts.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import Pool
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

import assay
from assay.client.monitor import connect
from assay.ingest.arrow_columns import ARROW
from assay.ingest.predictions import read_predictions
from assay.store.connect import open_store
from assay.store.predictions import insert_predictions
from measuring import server, show

FEATURES = 10
BATCH = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--batch", type=int, default=10_000, help="rows of a request")
    parser.add_argument("--connections", type=int, default=2)
    parser.add_argument("--singles", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--wrapping", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.wrapping:
        show("models: what wrapping costs", _wrapping(options.rounds))
        return
    with tempfile.TemporaryDirectory() as directory, server(Path(directory), ASSAY_QUALITY__SCORERS="off") as (url, _):
        _run_wrapping(options, url, "server there")
    _run_wrapping(options, "http://127.0.0.1:9", "server away")
    runs = [_storing(options) for _ in range(options.repeat)]
    show(
        "models: stored predictions",
        runs,
        median_rows_per_s=median(run["stored rows/s"] for run in runs),
        median_share_of_raw=median(run["share of raw"] for run in runs),
    )


def _run_wrapping(options: argparse.Namespace, url: str, title: str) -> None:
    """In a process of its own, since a process sends to one server."""
    with tempfile.TemporaryDirectory() as spool:
        own = {"ASSAY_URL": url, "ASSAY_SPOOL_DIR": spool, "OMP_NUM_THREADS": "1"}
        sys.stderr.write(f"{title}\n")
        sys.stderr.flush()
        command = [sys.executable, __file__, "--wrapping", url, "--rounds", str(options.rounds)]
        os.spawnve(os.P_WAIT, sys.executable, command, {**os.environ, **own})


def _wrapping(rounds: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    given = rng.normal(size=(BATCH, FEATURES))
    names = [f"feature {number}" for number in range(FEATURES)]
    truth = given[:, 0] + given[:, 1] > 0
    linear = LogisticRegression().fit(given, truth)
    forest = RandomForestClassifier(100, n_jobs=1, random_state=42).fit(given, truth)
    framed = LogisticRegression().fit(pd.DataFrame(given, columns=names), truth)
    ways: dict[str, tuple[Any, Any]] = {
        "logistic regression, numpy": (linear, given),
        "logistic regression, lists": (linear, given.tolist()),
        "logistic regression, pandas": (framed, pd.DataFrame(given, columns=names)),
        "logistic regression, polars": (framed, pl.DataFrame(given, schema=names)),
        "forest of 100 trees, numpy": (forest, given),
    }
    return [_cost(name, model, rows, rounds) for name, (model, rows) in ways.items()]


def _cost(name: str, model: Any, rows: Any, rounds: int) -> dict[str, Any]:
    monitored = assay.MonitoredModel(model, name)
    asking = assay.MonitoredModel(model, name, probabilities=True)
    ways: dict[str, Callable[[], Any]] = {
        "bare": lambda: model.predict(rows),
        "monitored": lambda: monitored.predict(rows),
        "with probabilities": lambda: asking.predict(rows),
    }
    costs: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, call in ways.items():
            began = time.perf_counter()
            call()
            costs[way].append((time.perf_counter() - began) / BATCH * 1e6)
    assay.flush()
    cost = {way: median(spent) for way, spent in costs.items()}
    return {
        "model": name,
        "bare us/row": cost["bare"],
        "monitored us/row": cost["monitored"],
        "wrapping us/row": cost["monitored"] - cost["bare"],
        "probabilities us/row": cost["with probabilities"] - cost["bare"],
        "not logged": monitored.monitoring["not_logged"] + asking.monitoring["not_logged"],
    }


def _storing(options: argparse.Namespace) -> dict[str, Any]:
    requests = options.rows // options.batch
    with tempfile.TemporaryDirectory() as directory, Pool(options.connections) as senders:
        with server(Path(directory), ASSAY_QUALITY__SCORERS="off") as (url, _):
            jobs = [(url, options.batch, requests // options.connections, n) for n in range(options.connections)]
            senders.map(_prepare, jobs)
            began = time.perf_counter()
            waits = [wait for each in senders.map(_send, jobs, chunksize=1) for wait in each]
            elapsed = time.perf_counter() - began
            with connect(url) as monitor:
                stored = monitor.health()["predictions"]["stored_predictions"]
            singles = _singles(url, options.singles)
        raw = senders.apply(_raw_rate, (directory, stored, options.batch))
    return {
        "stored rows/s": stored / elapsed,
        "raw engine rows/s": raw,
        "share of raw": stored / elapsed / raw,
        "stored": stored,
        **_percentiles(f"ack of {options.batch:,}", waits),
        **singles,
    }


_bodies: list[bytes] = []


def _prepare(job: tuple[str, int, int, int]) -> None:
    _, batch, requests, seed = job
    _bodies[:] = [_body(batch, seed * 10_000 + number) for number in range(requests)]


def _send(job: tuple[str, int, int, int]) -> list[float]:
    waits = list[float]()
    with httpx.Client(timeout=60) as client:
        for body in _bodies:
            began = time.perf_counter()
            answer = client.post(f"{job[0]}/api/predictions", content=body, headers={"content-type": ARROW})
            waits.append(time.perf_counter() - began)
            assert answer.json()["refused_rows"] == 0, answer.text
    return waits


def _singles(url: str, requests: int) -> dict[str, float]:
    """Requests of one row each as JSON, from eight connections."""

    def send(count: int) -> list[float]:
        waits = list[float]()
        with httpx.Client(timeout=60) as client:
            for number in range(count):
                row = {"features": {f"f{i}": number + i / 10 for i in range(FEATURES)}, "prediction": number % 2}
                began = time.perf_counter()
                assert client.post(f"{url}/api/predictions", json={"model": "single", "rows": [row]}).is_success
                waits.append(time.perf_counter() - began)
        return waits

    began = time.perf_counter()
    with ThreadPoolExecutor(8) as threads:
        waits = [wait for each in threads.map(send, [requests // 8] * 8) for wait in each]
    rate = len(waits) / (time.perf_counter() - began)
    return {"single rows/s": rate, **_percentiles("single", waits)}


def _percentiles(name: str, waits: list[float]) -> dict[str, float]:
    percentiles = quantiles(waits, n=100)
    return {f"{name} p50 ms": percentiles[49] * 1000, f"{name} p99 ms": percentiles[98] * 1000}


def _body(rows: int, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    features = [pa.array(rng.normal(size=rows)) for _ in range(FEATURES)]
    share = rng.random(rows)
    table = pa.table(
        {
            "prediction_id": [f"pred-{seed:08x}{row:024x}" for row in range(rows)],
            "predicted_at": pa.array(np.full(rows, time.time_ns() // 1000), pa.timestamp("us", "UTC")),
            "features": pa.StructArray.from_arrays(features, [f"feature {number}" for number in range(FEATURES)]),
            "prediction": (share > 0.5).astype(np.int64),
            "probabilities": pa.StructArray.from_arrays([pa.array(1 - share), pa.array(share)], ["0", "1"]),
            "latency_ms": rng.random(rows),
        }
    ).replace_schema_metadata({"model": "benchmark", "model_version": "1"})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


def _raw_rate(directory: str, rows: int, batch: int) -> float:
    """Rows a second that the engine takes from one thread in blocks of a request, ready made."""
    blocks = [read_predictions(_body(batch, 10**6 + n), ARROW, 86_400).rows for n in range(rows // batch)]
    store = open_store(f"{directory}/raw")
    began = time.perf_counter()
    for block in blocks:
        insert_predictions(store, block, time.time_ns() // 1000)
    elapsed = time.perf_counter() - began
    store.close()
    return len(blocks) * batch / elapsed


if __name__ == "__main__":
    main()
