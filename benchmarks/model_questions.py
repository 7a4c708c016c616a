"""How long questions about a classical model take over many predictions, beside a plain count by the engine.

Seeds a store of its own: a model of twenty numbers and two categories over thirty days, half of it labelled.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from assay.alerts.model_series import read
from assay.alerts.rules import default_rules
from assay.ml.drift import drift
from assay.ml.inputs import data_quality
from assay.ml.models import models
from assay.ml.performance import estimate, performance
from assay.ml.window import Window
from assay.store.connect import Store, open_store
from assay.store.predictions import LABEL_SCHEMA, PREDICTION_SCHEMA, insert_labels, insert_predictions
from measuring import show

BLOCK, NUMBERS, DAYS, STEP = 50_000, 20, 30, 30
PLANS = np.array(["basic", "plus", "gold"], object)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictions", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        store = open_store(directory)
        seed(store, options.predictions)
        show("questions about one model", asked(store), predictions=options.predictions)
        store.close()


def seed(store: Store, size: int) -> None:
    """The predictions up to now, and 5,000 labelled reference rows."""
    rng, now = np.random.default_rng(0), time.time()
    for first in range(0, size, BLOCK):
        many = min(BLOCK, size - first)
        at = now - DAYS * 86_400 + (first + np.arange(many)) * DAYS * 86_400 / size
        _insert(store, rng, at, f"p{first}", labelled=many // 2, reference=False)
    _insert(store, rng, np.full(5000, now - 2 * DAYS * 86_400), "r", labelled=5000, reference=True)


def asked(store: Store) -> list[dict[str, Any]]:
    """Each question's time by the clock and of CPU, the second time it is asked."""
    whole = Window(model="churn", project="bench")
    week = Window(model="churn", project="bench", since=datetime.now(UTC) - timedelta(days=7))
    rules = [default_rules().rules[name] for name in ("features-drifted", "accuracy-probably-fell", "accuracy-fell")]
    until = int(time.time()) // STEP * STEP

    def rule(one: Any, seconds: int) -> Callable[[], object]:
        return lambda: read(store, [one], until - seconds, until, STEP)

    questions: dict[str, Callable[[], object]] = {
        "count(), avg of a feature, by the engine": lambda: store.query(
            "SELECT count(), avg(numbers['f0']) FROM predictions FINAL WHERE project = 'bench'"
        ),
        "models": lambda: models(store, "bench"),
        "performance, all": lambda: performance(store, whole),
        "performance, 7 days": lambda: performance(store, week),
        "estimated, 7 days": lambda: estimate(store, week),
        "drift, 7 days, with the classifier": lambda: drift(store, week),
        "drift, 7 days, without": lambda: drift(store, week, joint=False),
        "data quality, 7 days": lambda: data_quality(store, week),
        "rule features-drifted, first look (2 days)": rule(rules[0], 2 * 86_400),
        "the same, each round (30 minutes)": rule(rules[0], 1800),
        "rule accuracy-probably-fell, each round": rule(rules[1], 1800),
        "rule accuracy-fell, each round": rule(rules[2], 1800),
    }
    rows = list[dict[str, Any]]()
    for name, question in questions.items():
        question()
        began, worked = time.perf_counter(), time.process_time()
        question()
        rows.append(
            {
                "question": name,
                "ms": 1e3 * (time.perf_counter() - began),
                "cpu ms": 1e3 * (time.process_time() - worked),
            }
        )
    return rows


def _insert(store: Store, rng: Any, at: np.ndarray, prefix: str, *, labelled: int, reference: bool) -> None:
    many = len(at)
    features = rng.normal(size=(many, NUMBERS))
    chance = 1 / (1 + np.exp(-1.5 * features[:, 0]))
    ids = [f"{prefix}-{i}" for i in range(many)]
    names = np.tile([f"f{i}" for i in range(NUMBERS)], many)
    columns: dict[str, Any] = {
        "prediction_id": ids,
        "key": ids,
        "project": ["bench"] * many,
        "model": ["churn"] * many,
        "model_version": ["1"] * many,
        "task": ["classification"] * many,
        "reference": [reference] * many,
        "predicted_at": pa.array((at * 1e6).astype(np.int64), pa.timestamp("us", "UTC")),
        "numbers": _map(names, features.ravel(), NUMBERS, pa.float64()),
        "categories": _map(np.tile(["plan", "area"], many), rng.choice(PLANS, 2 * many), 2, pa.string()),
        "prediction": np.where(chance > 0.5, "leaves", "stays").tolist(),
        "probabilities": _map(
            np.tile(["leaves", "stays"], many), np.stack([chance, 1 - chance], 1).ravel(), 2, pa.float64()
        ),
        "confidence": np.maximum(chance, 1 - chance),
        "latency_ms": rng.gamma(4, 0.2, many),
        "input_hash": rng.integers(1, 2**60, many),
        "status": ["ok"] * many,
    }
    table = pa.table(
        [
            pa.array(columns[field.name], field.type) if field.name in columns else _default(field, many)
            for field in PREDICTION_SCHEMA
        ],
        schema=PREDICTION_SCHEMA,
    )
    insert_predictions(store, table, time.time_ns() // 1000)
    told: dict[str, Any] = {
        "project": ["bench"] * labelled,
        "model": ["churn"] * labelled,
        "prediction_id": ids[:labelled],
        "key": [""] * labelled,
        "label": np.where(rng.random(labelled) < chance[:labelled], "leaves", "stays").tolist(),
        "label_value": [None] * labelled,
        "labelled_at": pa.array(((at[:labelled] + 3600) * 1e6).astype(np.int64), pa.timestamp("us", "UTC")),
    }
    labels = pa.table([pa.array(told[field.name], field.type) for field in LABEL_SCHEMA], schema=LABEL_SCHEMA)
    insert_labels(store, labels, time.time_ns() // 1000)


def _map(names: Any, values: Any, each: int, kind: pa.DataType) -> Any:
    offsets = np.arange(0, len(names) + 1, each, dtype=np.int32)
    return pa.MapArray.from_arrays(offsets, pa.array(names.tolist(), pa.string()), pa.array(values.tolist(), kind))


def _default(field: pa.Field[Any], many: int) -> Any:
    return pa.nulls(many, field.type) if field.type != pa.string() else pa.array([""] * many, pa.string())


if __name__ == "__main__":
    main()
