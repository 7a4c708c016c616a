"""Series of classical models that the store counts first: drift, and accuracy estimated before labels come."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np

from assay.alerts.rules import DRIFT, ESTIMATES, AlertRule
from assay.alerts.series import MAX_GROUPS, NO_BINS, Floats, Series, Source, read_series, series_of, source_of
from assay.ml.estimate import FEWEST_LABELLED, Calibration, calibrated
from assay.ml.performance import labelled_source
from assay.ml.shapes import Shapes, counted, shapes_of
from assay.ml.window import Window
from assay.store.connect import Store

T = TypeVar("T")

KEPT_SECONDS = 600.0
_STEPS = 500
"""So finely is confidence counted."""


class Taught(NamedTuple):
    """What a model's confidence is worth, and how often its labelled reference rows are right."""

    calibration: Calibration
    usual: float


class References:
    """What models are held against, kept for ten minutes: reading it takes longer than counting new rows.

    Not thread-safe.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._shapes: dict[Window, tuple[float, Shapes | None]] = {}
        self._taught: dict[Window, tuple[float, Taught | None]] = {}

    def shapes(self, window: Window) -> Shapes | None:
        """The reference's histograms. Raises StoreError."""
        return _kept(self._shapes, window, lambda: shapes_of(self._store, window))

    def taught(self, window: Window) -> Taught | None:
        """What is learned from labelled rows; None where those are too few. Raises StoreError."""
        return _kept(self._taught, window, lambda: _taught(self._store, window))


def read(
    store: Store,
    rules: Sequence[AlertRule],
    since: int,
    until: int,
    step: int,
    references: References | None = None,
) -> dict[Source, dict[str, Series]]:
    """As `read_series`, of whatever the rules (of one set of `sharing_calls`) look at."""
    sources = list(dict.fromkeys(map(source_of, rules)))
    if sources[0].metric not in (DRIFT, *ESTIMATES):
        return read_series(store, rules, since, until, step)
    known = references or References(store)
    found: dict[Source, dict[str, Series]] = {source: {} for source in sources}
    span = _Span(since, until, step)
    for name, window in _models(store, sources[0], span):
        for source in sources:
            if source.metric == DRIFT:
                series = _drift(store, window, span, known.shapes(window))
            else:
                series = _estimated(store, window, span, known.taught(window), source.metric)
            if series is not None:
                found[source][name] = series
    return found


class _Span(NamedTuple):
    """What is read: [since, until) in Unix seconds, in buckets of `step`."""

    since: int
    until: int
    step: int

    within = "predicted_at >= toDateTime64({from:Int64}, 6) AND predicted_at < toDateTime64({to:Int64}, 6)"

    @property
    def asked(self) -> dict[str, Any]:
        return {"from": self.since, "to": self.until}

    @property
    def first(self) -> int:
        return self.since // self.step

    @property
    def length(self) -> int:
        return (self.until - self.since) // self.step


def _kept(known: dict[Window, tuple[float, T]], window: Window, make: Callable[[], T]) -> T:
    until, found = known.get(window, (0.0, None))
    if found is None or time.monotonic() > until:
        made = make()
        known[window] = time.monotonic() + KEPT_SECONDS, made
        return made
    return found


def _taught(store: Store, window: Window) -> Taught | None:
    _, teachers = labelled_source(store, msgspec.structs.replace(window, environment=None))
    teachers = teachers.taken(~np.isnan(teachers.confidence))
    if teachers.n < FEWEST_LABELLED:
        return None
    right = teachers.prediction == teachers.label
    return Taught(calibrated(teachers.confidence, right, draws=0), float(right.mean()))


def _models(store: Store, source: Source, span: _Span) -> list[tuple[str, Window]]:
    """The models that the source is about, by the name of their group, those with most rows first."""
    own = {f"value_{name}": value for name, value in source.filter}
    filters = [f"{name} = {{value_{name}:String}}" for name, _ in source.filter]
    rows = store.query(
        f"SELECT project, model FROM predictions WHERE {' AND '.join([span.within, 'NOT reference', *filters])}"
        f" GROUP BY project, model ORDER BY count() DESC, project, model LIMIT {MAX_GROUPS}",
        {**span.asked, **own},
    )
    environment = dict(source.filter).get("environment")
    return [
        (
            f"{row['project']}/{row['model']}",
            Window(model=row["model"], project=row["project"], environment=environment),
        )
        for row in rows
    ]


def _drift(store: Store, window: Window, span: _Span, shapes: Shapes | None) -> Series | None:
    if shapes is None:
        return None
    sizes, bins = counted(store, shapes, window, span.within, span.asked, span.step)
    rows = np.zeros((5, span.length))
    rows[0, sizes[:, 0] - span.first] = sizes[:, 1]
    series = series_of(span.since, span.step, rows, bins - np.array([span.first, 0, 0]))
    return msgspec.structs.replace(series, against=shapes)


def _estimated(store: Store, window: Window, span: _Span, taught: Taught | None, metric: str) -> Series | None:
    """Calibrated confidence: its mean is the estimated accuracy, and each row counts as a case that holds by chance."""
    if taught is None:
        return None
    where, own = window.where()
    table = store.arrow(
        f"SELECT intDiv(toUnixTimestamp(predicted_at), {span.step}) AS bucket,"
        f" toInt32(round(confidence * {_STEPS})) AS place, count() AS n FROM predictions FINAL"
        f" WHERE {where} AND {span.within} AND status = 'ok' AND confidence IS NOT NULL GROUP BY bucket, place",
        {**span.asked, **own},
    )
    bucket, place, n = (table.column(name).to_numpy().astype(np.int64) for name in ("bucket", "place", "n"))
    chance = taught.calibration.of(place / _STEPS)
    # A case is usual + sign * y, where y is 1 with this chance.
    usual, sign = (taught.usual, -1.0) if metric.endswith("_drop") else (0.0, 1.0)

    def summed(values: Floats) -> Floats:
        return np.bincount(bucket - span.first, n * values, span.length).astype(float)

    total = summed(usual + sign * chance)
    squares = summed(usual**2 + (2 * usual * sign + 1) * chance)
    nothing = np.zeros(span.length)
    return Series(span.since, span.step, summed(np.ones(len(n))), total, squares, nothing, nothing, NO_BINS)
