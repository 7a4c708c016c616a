"""Write generated calls and their scores straight into a store, as fast as the engine takes them.

Thirty days with a daily rhythm, several projects, models and users, sessions of some minutes, heavy-tailed latency.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import pyarrow as pa

from assay.ingest.batch import SPAN_SCHEMA
from assay.quality.groups.grouping import cursor_name
from assay.store.connect import Store, open_store
from assay.store.cursors import write_cursor
from assay.store.housekeeping import merge_closed_days
from assay.store.rows import stamped
from assay.store.scores import SCORE_SCHEMA
from measuring import WORDS
from texts import Texts

BLOCK = 20_000
MODELS = [
    "gpt-4o-mini-2024-07-18",
    "gpt-4o-2024-08-06",
    "gpt-4.1-mini-2025-04-14",
    "o4-mini-2025-04-16",
    "acme-local-7b",
]
SCORES = ["relevance", "coherence", "toxicity", "groundedness"]
DAY_US = 86_400_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--text-bytes", type=int, default=2000)
    parser.add_argument("--varied", action="store_true", help="texts that are hardly ever alike, in several scripts")
    parser.add_argument("--labels", type=int, default=0, help="about so many thumbs of people; --calls 0 adds no calls")
    parser.add_argument("--unread", action="store_true", help="let no server read the prompts: ten millions take hours")
    options = parser.parse_args()
    began = time.perf_counter()
    store = open_store(options.store)
    seed(store, options.calls, options.days, options.text_bytes, varied=options.varied)
    if options.labels:
        label(store, options.labels)
    if options.unread:
        write_cursor(store, cursor_name(), (time.time_ns() // 1000, ""))
    store.close()
    print(f"{options.calls:,} calls in {time.perf_counter() - began:.0f} s")


def seed(store: Store, calls: int, days: int = 30, text_bytes: int = 2000, seed: int = 0, varied: bool = False) -> None:
    """Write the calls and merge the days that are over, as the server's housekeeping would have.

    Texts are drawn from 5,000; `varied` ones are hardly ever alike, and in several scripts (texts.py).
    """
    rng = np.random.default_rng(seed)
    texts = Texts(rng) if varied else SameTexts(rng)
    starts, sessions = _starts(rng, calls, days), _sessions(rng, calls)
    for first in range(0, calls, BLOCK):
        block = slice(first, first + BLOCK)
        spans = _spans(rng, starts[block], sessions[block], texts, text_bytes // 2)
        now = time.time_ns() // 1000
        store.insert("spans", stamped(spans, now))
        store.insert("scores", stamped(_scores(rng, spans), now))
    merge_closed_days(store)


def label(store: Store, labels: int) -> None:
    """Have people judge about so many of the calls that have a relevance: up where that is above 0.7."""
    store.command(
        """
        INSERT INTO scores SELECT * REPLACE ('thumb' AS name, 'human' AS source, 'ann' AS author, '' AS scorer,
            toFloat64(value > 0.7) AS value)
        FROM (
            SELECT * FROM scores WHERE name = 'relevance' AND source = 'scorer' AND rand() % (
                SELECT greatest(intDiv(count(), {labels:UInt64}), 1) FROM scores
                WHERE name = 'relevance' AND source = 'scorer') = 0)
        """,
        {"labels": labels},
    )
    merge_closed_days(store)


def _starts(rng: np.random.Generator, calls: int, days: int) -> np.ndarray:
    """In order of time; three times as many at noon as at midnight."""
    now = time.time_ns() // 1000
    hours = rng.triangular(0, 12, 24, calls) / 24
    starts = now - rng.integers(0, days, calls) * DAY_US - (hours * DAY_US).astype(np.int64)
    return np.sort(starts)


def _sessions(rng: np.random.Generator, calls: int) -> np.ndarray:
    """The number of each call's session: of fifty at a time, six calls in the mean, so some minutes long."""
    at_a_time, calls_each = 50, 6
    return np.arange(calls) // (at_a_time * calls_each) * at_a_time + rng.integers(0, at_a_time, calls)


class SameTexts:
    """A few texts over and over: quick to make."""

    def __init__(self, rng: np.random.Generator, different: int = 5000) -> None:
        self._rng = rng
        self._different = different
        self._pool: pa.Array | None = None

    def some(self, count: int, size: int) -> pa.Array:
        """`count` texts of `size` bytes."""
        if self._pool is None:
            words = np.array(WORDS)
            self._pool = pa.array([" ".join(self._rng.choice(words, size // 6))[:size] for _ in range(self._different)])
        return self._pool.take(pa.array(self._rng.integers(0, self._different, count)))

    def turns(self, prompts: pa.Array, size: int) -> pa.Array:
        """No message lists: conversations of one turn say all with their prompt."""
        del size
        return pa.repeat("", len(prompts))


def _spans(
    rng: np.random.Generator, started_at: np.ndarray, sessions: np.ndarray, texts: Texts | SameTexts, size: int
) -> pa.Table:
    count = len(started_at)
    tokens_in, tokens_out = rng.integers(50, 900, count), rng.integers(50, 400, count)
    model = pa.array(MODELS).take(pa.array(rng.choice(5, count, p=[0.5, 0.15, 0.2, 0.05, 0.1])))
    cost = tokens_in * 0.15e-6 + tokens_out * 0.6e-6
    columns: dict[str, Any] = {
        "trace_id": _hex(rng, count, 16),
        "span_id": _hex(rng, count, 8),
        "project": _named("project", sessions % 3),
        "service": _named("service", rng.integers(0, 5, count)),
        "kind": pa.repeat("llm", count),
        "name": pa.repeat("chat", count),
        "operation": pa.repeat("chat", count),
        "provider": pa.repeat("openai", count),
        "request_model": model,
        "response_model": model,
        "response_id": _hex(rng, count, 12),
        "session_id": _named("session", sessions),
        "user_id": _named("user", sessions * 7919 % 5000),
        "started_at": pa.array(started_at, pa.timestamp("us", "UTC")),
        "latency_ms": pa.array(rng.lognormal(6.7, 0.7, count)),
        "temperature": pa.array(rng.choice([0.0, 0.2, 0.7, 1.0], count)),
        "prompt": (prompts := texts.some(count, size)),
        "messages_in": texts.turns(prompts, size),
        "response": texts.some(count, size),
        "input_tokens": pa.array(tokens_in),
        "output_tokens": pa.array(tokens_out),
        "cost_usd": pa.array(np.where(rng.random(count) < 0.1, np.nan, cost), from_pandas=True),
        "status": pa.array(["ok", "error"]).take(pa.array((rng.random(count) < 0.02).astype(int))),
        "counted": pa.repeat(True, count),
    }
    return pa.table([columns[f.name] if f.name in columns else _empty(f.type, count) for f in SPAN_SCHEMA], SPAN_SCHEMA)


def _scores(rng: np.random.Generator, spans: pa.Table) -> pa.Table:
    count = spans.num_rows
    tables = list[pa.Table]()
    for name in SCORES:
        value = rng.beta(1, 30, count) if name == "toxicity" else rng.beta(8, 2, count)
        columns: dict[str, Any] = {
            "target": spans["span_id"],
            "name": pa.repeat(name, count),
            "value": pa.array(np.where(rng.random(count) < 0.1, np.nan, value), from_pandas=True),
            "scorer": pa.repeat("seed", count),
            "source": pa.repeat("scorer", count),
            "counted": pa.repeat(True, count),
            "project": spans["project"],
            "model": spans["response_model"],
            "session_id": spans["session_id"],
            "started_at": spans["started_at"],
        }
        arrays = [columns[f.name] if f.name in columns else _empty(f.type, count) for f in SCORE_SCHEMA]
        tables.append(pa.table(arrays, SCORE_SCHEMA))
    return pa.concat_tables(tables)


def _empty(type: pa.DataType, count: int) -> Any:
    if pa.types.is_string(type):
        return pa.repeat("", count)
    if pa.types.is_map(type):
        return pa.array([[]] * count, type)
    return pa.repeat(pa.scalar(False, type), count) if pa.types.is_boolean(type) else pa.nulls(count, type)


def _named(stem: str, numbers: np.ndarray) -> pa.Array:
    return pa.array([f"{stem}-{number}" for number in numbers.tolist()])


def _hex(rng: np.random.Generator, count: int, size: int) -> pa.Array:
    raw = rng.bytes(count * size)
    return pa.array([raw[i : i + size].hex() for i in range(0, count * size, size)])


if __name__ == "__main__":
    main()
