"""Predictions and labels for tests, put straight into the store."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from assay.records import Label, Prediction
from assay.store.connect import Store
from assay.store.rows import arrow_schema, arrow_table, stamped

_numbers = itertools.count()
NOW = 1_780_000_000
"""Unix seconds; predictions are a second apart from here on."""


def predictions(project: str, columns: dict[str, Any], **same: Any) -> list[Prediction]:
    """A row each; `columns` are features by name (arrays), `same` is a value or an array of any other field."""
    size = len(next(iter(columns.values())))
    start = same.pop("start", NOW)
    rows = list[Prediction]()
    for i in range(size):
        own = {name: values[i] if isinstance(values, (list, np.ndarray)) else values for name, values in same.items()}
        features = {name: values[i] for name, values in columns.items()}
        rows.append(
            Prediction(
                prediction_id=f"p{next(_numbers):08d}",
                project=project,
                predicted_at=int((start + i * same.get("apart", 1)) * 1e6),
                numbers={name: float(value) for name, value in features.items() if not isinstance(value, str)},
                categories={name: value for name, value in features.items() if isinstance(value, str)},
                **{"model": "churn", **{name: value for name, value in own.items() if name != "apart"}},
            )
        )
    return rows


def labels(rows: Iterable[Prediction], values: Iterable[str], late_seconds: float = 60.0, **more: Any) -> list[Label]:
    """A label of each prediction's id."""
    return [
        Label(
            project=row.project,
            model=row.model,
            prediction_id=row.prediction_id,
            label=str(value),
            label_value=float(value) if row.task == "regression" else None,
            labelled_at=row.predicted_at + int(late_seconds * 1e6),
            **more,
        )
        for row, value in zip(rows, values, strict=True)
    ]


def keep(store: Store, *groups: Iterable[Prediction | Label]) -> None:
    """Store them."""
    for rows in map(list, groups):
        table = "predictions" if isinstance(rows[0], Prediction) else "labels"
        store.insert(table, stamped(arrow_table(rows, arrow_schema(type(rows[0]))), time.time_ns() // 1000))
