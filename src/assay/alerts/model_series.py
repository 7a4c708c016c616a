"""Series of classical models that the store counts first: drift, and accuracy estimated before labels come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from assay.alerts.rules import DRIFT, ESTIMATES, AlertRule
from assay.alerts.series import MAX_GROUPS, NO_BINS, Floats, Series, Source, read_series, source_of
from assay.ml.estimate import FEWEST_LABELLED, calibrated
from assay.ml.performance import labelled_source
from assay.ml.shapes import counted, shapes_of
from assay.ml.window import Window
from assay.store.connect import Store

_STEPS = 500
"""So finely is confidence counted."""


def read(
    store: Store, rules: Sequence[AlertRule], since: int, until: int, step: int
) -> dict[Source, dict[str, Series]]:
    """As `read_series`, of whatever the rules (of one set of `sharing_calls`) look at."""
    sources = list(dict.fromkeys(map(source_of, rules)))
    if sources[0].metric not in (DRIFT, *ESTIMATES):
        return read_series(store, rules, since, until, step)
    found: dict[Source, dict[str, Series]] = {source: {} for source in sources}
    within = "predicted_at >= toDateTime64({from:Int64}, 6) AND predicted_at < toDateTime64({to:Int64}, 6)"
    asked = {"from": since, "to": until}
    for name, window in _models(store, sources[0], within, asked):
        for source in sources:
            if source.metric == DRIFT:
                series = _drift(store, window, within, asked, since, until, step)
            else:
                series = _estimated(store, window, within, asked, since, until, step, source.metric)
            if series is not None:
                found[source][name] = series
    return found


def _models(store: Store, source: Source, within: str, asked: dict[str, Any]) -> list[tuple[str, Window]]:
    """The models that the source is about, by the name of their group, those with most rows first."""
    own = {f"value_{name}": value for name, value in source.filter}
    where = " AND ".join([within, "NOT reference", *(f"{name} = {{value_{name}:String}}" for name, _ in source.filter)])
    rows = store.query(
        f"SELECT project, model FROM predictions WHERE {where} GROUP BY project, model"
        f" ORDER BY count() DESC, project, model LIMIT {MAX_GROUPS}",
        {**asked, **own},
    )
    filters = {name: value for name, value in source.filter if name == "environment"}
    return [
        (f"{row['project']}/{row['model']}", Window(model=row["model"], project=row["project"], **filters))
        for row in rows
    ]


def _drift(
    store: Store, window: Window, within: str, asked: dict[str, Any], since: int, until: int, step: int
) -> Series | None:
    shapes = shapes_of(store, window)
    if shapes is None:
        return None
    sizes, bins = counted(store, shapes, window, within, asked, step)
    first, length = since // step, (until - since) // step
    rows = np.zeros((5, length))
    rows[0, sizes[:, 0] - first] = sizes[:, 1]
    return Series(since, step, *rows, bins - np.array([first, 0, 0]), shapes)


def _estimated(
    store: Store,
    window: Window,
    within: str,
    asked: dict[str, Any],
    since: int,
    until: int,
    step: int,
    metric: str,
) -> Series | None:
    """Calibrated confidence: its mean is the estimated accuracy, and each row counts as a case that holds by chance."""
    _, teachers = labelled_source(store, msgspec.structs.replace(window, environment=None))
    teachers = teachers.taken(~np.isnan(teachers.confidence))
    if teachers.n < FEWEST_LABELLED:
        return None
    right = teachers.prediction == teachers.label
    where, own = window.where()
    table = store.arrow(
        f"SELECT intDiv(toUnixTimestamp(predicted_at), {step}) AS bucket,"
        f" toInt32(round(confidence * {_STEPS})) AS place, count() AS n FROM predictions FINAL"
        f" WHERE {where} AND {within} AND status = 'ok' AND confidence IS NOT NULL GROUP BY bucket, place",
        {**asked, **own},
    )
    bucket, place, n = (table.column(name).to_numpy().astype(np.int64) for name in ("bucket", "place", "n"))
    chance = calibrated(teachers.confidence, right, draws=0).of(place / _STEPS)
    usual = float(right.mean()) if metric.endswith("_drop") else 0.0
    sign = -1.0 if metric.endswith("_drop") else 1.0
    # A case is usual + sign * y, where y is 1 with this chance.
    first, length = since // step, (until - since) // step

    def summed(values: Floats) -> Floats:
        return np.bincount(bucket - first, n * values, length).astype(float)

    total = summed(usual + sign * chance)
    squares = summed(usual**2 + (2 * usual * sign + 1) * chance)
    nothing = np.zeros(length)
    return Series(since, step, summed(np.ones(len(n))), total, squares, nothing, nothing, NO_BINS)
