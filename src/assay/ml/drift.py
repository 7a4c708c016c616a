"""Have a model's inputs, predictions or confidence moved away from the reference? Feature by feature, and jointly.

The reference is the model's reference rows (such as a test set); where it has none, another window that is named, else
its first 2,000 predictions. A feature has drifted where a difference so large is unlikely by chance (Holm's correction
over all that are looked at) and it is large enough to matter (PSI): of huge windows any trifle is significant.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from assay.ml.distances import (
    Floats,
    Test,
    Texts,
    category_counts,
    chi_squared,
    decile_edges,
    holm,
    jensen_shannon,
    known_categories,
    kolmogorov_smirnov,
    number_counts,
    population_stability_index,
    wasserstein,
)
from assay.ml.domain import told_apart
from assay.ml.window import Rows, Window, known_model, read_rows
from assay.store.connect import Store

ALPHA = 0.05
"""Of the corrected p-values."""
MODERATE, MAJOR = 0.1, 0.25
"""PSI that is called moderate, and major. Siddiqi (2006), ch. 10."""
FEWEST = 30
"""Values of each sample below which a feature is not judged."""
FIRST_ROWS = 2000
MOST_FEATURES = 200
PREDICTION, CONFIDENCE = "(prediction)", "(confidence)"

Kind = Literal["number", "category"]


class Reference(NamedTuple):
    """Rows that others are held against, and what they are in words."""

    rows: Rows
    what: str


class Column(NamedTuple):
    """A feature's values in both samples."""

    name: str
    kind: Kind
    reference: Any
    current: Any


class Shape(msgspec.Struct, frozen=True):
    """Both samples of one column in the same bins: `labels` name them, the counts are those of each."""

    labels: list[str]
    reference: list[int]
    current: list[int]


class Drifted(msgspec.Struct, frozen=True, kw_only=True):
    """How far one column moved. `p_value` is that of `test`, `corrected` allows for all columns; None is not known.

    `size` is what the PSI is usually called: none, moderate (0.1) or major (0.25). `wasserstein` is in standard
    deviations of the reference.
    """

    feature: str
    kind: Kind
    n_reference: int
    n: int
    psi: float | None = None
    jensen_shannon: float | None = None
    ks: float | None = None
    wasserstein: float | None = None
    chi_squared: float | None = None
    test: Literal["Kolmogorov-Smirnov", "chi-squared", ""] = ""
    p_value: float | None = None
    corrected: float | None = None
    size: Literal["none", "moderate", "major", "unknown"] = "unknown"
    drifted: bool = False
    shape: Shape | None = None


def drift(store: Store, window: Window, versus: Window | None = None, *, joint: bool = True) -> dict[str, Any]:
    """`features`, the most drifted first, how many of them `drifted`, and `joint`: whether a classifier tells the
    samples apart (`auroc` with its interval, 0.5 is not at all; `by` the most telling features).

    Raises NotFound for a model without any prediction.
    """
    known_model(store, window)
    rows, reference = read_rows(store, window), reference_of(store, window, versus)
    columns = compared(reference.rows, rows)
    judged = judge([measured(column) for column in columns])
    told = joint_drift(columns) if joint else None
    return {
        "reference": {"what": reference.what, "n": reference.rows.n, "total": reference.rows.total},
        "n": rows.n,
        "total": rows.total,
        "alpha": ALPHA,
        "correction": "Holm",
        "drifted": sum(one.drifted for one in judged),
        "features": sorted(judged, key=lambda one: (not one.drifted, -(one.psi or 0.0), one.feature)),
        "joint": told,
    }


def reference_of(store: Store, window: Window, versus: Window | None = None) -> Reference:
    """What the window is held against: `versus` where it is given, else reference rows, else the first predictions."""
    if versus is not None:
        return Reference(read_rows(store, versus), "the other window")
    rows = read_rows(store, window.as_reference())
    if rows.n:
        return Reference(rows, "reference rows")
    everything = msgspec.structs.replace(window, since=None, until=None)
    where, parameters = everything.where()
    [edge] = store.query(
        "SELECT toDateTime64(max(predicted_at), 6, 'UTC') AS last, count() AS n FROM (SELECT predicted_at"
        f" FROM predictions FINAL WHERE {where} ORDER BY predicted_at LIMIT {FIRST_ROWS})",
        parameters,
    )
    first = msgspec.structs.replace(everything, until=edge["last"]) if edge["n"] else everything
    return Reference(read_rows(store, first), f"the first {edge['n']:,} predictions")


def compared(reference: Rows, current: Rows) -> list[Column]:
    """Features, prediction and confidence of both samples, of rows that did not fail."""
    reference, current = (rows.taken(~rows.failed) for rows in (reference, current))
    names = sorted({*reference.numbers, *reference.categories, *current.numbers, *current.categories})[:MOST_FEATURES]
    found = [_column(name, reference, current) for name in names]
    if not np.isnan(current.value).all():
        found.append(Column(PREDICTION, "number", reference.value, current.value))
    elif current.n:
        found.append(Column(PREDICTION, "category", reference.prediction, current.prediction))
    if not np.isnan(current.confidence).all():
        found.append(Column(CONFIDENCE, "number", reference.confidence, current.confidence))
    return found


def _column(name: str, reference: Rows, current: Rows) -> Column:
    """A feature is a category where the reference has it as text, or else (a new one) where it came as text."""
    of = reference if name in reference.categories or name in reference.numbers else current
    texts = of.categories.get(name)
    if texts is not None and (texts != "").any():
        return Column(name, "category", *(as_categories(rows, name) for rows in (reference, current)))
    return Column(name, "number", *(as_numbers(rows, name) for rows in (reference, current)))


def as_numbers(rows: Rows, name: str) -> Floats:
    """The feature's numbers in the rows that have it; NaN where it is missing."""
    values = rows.numbers.get(name, np.full(rows.n, np.nan))
    return values[~rows.absent.get(name, np.ones(rows.n, bool))]


def as_categories(rows: Rows, name: str) -> Texts:
    """The feature's texts in the rows that have it; "" where it is missing. A number counts as its text."""
    texts = rows.categories.get(name, np.full(rows.n, "", object)).copy()
    numbers = rows.numbers.get(name)
    if numbers is not None:
        came = (texts == "") & np.isfinite(numbers)
        texts[came] = [f"{number:g}" for number in numbers[came]]
    return texts[~rows.absent.get(name, np.ones(rows.n, bool))]


def measured(column: Column) -> Drifted:
    """All distances of one column, not yet judged."""
    name, kind, reference, current = column
    nothing = Drifted(feature=name, kind=kind, n_reference=len(reference), n=len(current))
    if min(len(reference), len(current)) < FEWEST:
        return nothing
    shape, one, other = _binned(column)
    chi = chi_squared(one, other)
    numeric = kind == "number"
    ks = kolmogorov_smirnov(reference, current) if numeric else None
    # What is missing has no place among numbers: where it came or went, the bins tell.
    missing = numeric and bool(one[-1] or other[-1])
    test = _surest(ks, chi) if missing else ks if numeric else chi
    psi = population_stability_index(one, other)
    return msgspec.structs.replace(
        nothing,
        psi=psi,
        jensen_shannon=jensen_shannon(one, other),
        ks=ks.statistic if ks else None,
        wasserstein=wasserstein(reference, current) if numeric else None,
        chi_squared=chi.statistic if chi else None,
        test="" if test is None else "Kolmogorov-Smirnov" if test is ks else "chi-squared",
        p_value=None if test is None else min(test.p_value * (2 if missing else 1), 1.0),
        size="major" if psi >= MAJOR else "moderate" if psi >= MODERATE else "none",
        shape=shape,
    )


def judge(columns: list[Drifted], alpha: float = ALPHA, least_psi: float = MODERATE) -> list[Drifted]:
    """Which of them drifted: corrected p-value below `alpha`, and PSI from `least_psi` on."""
    known = [place for place, one in enumerate(columns) if one.p_value is not None]
    corrected = dict(zip(known, holm([columns[place].p_value or 0.0 for place in known]), strict=True))
    return [
        msgspec.structs.replace(
            one,
            corrected=corrected.get(place),
            drifted=corrected.get(place, 1.0) < alpha and (one.psi or 0.0) >= least_psi,
        )
        for place, one in enumerate(columns)
    ]


def joint_drift(columns: list[Column]) -> dict[str, Any] | None:
    """What the domain classifier tells of features alone, without prediction and confidence; None for too few rows."""
    own = [one for one in columns if not one.name.startswith("(") and len(one.reference) and len(one.current)]
    lengths = {(len(one.reference), len(one.current)) for one in own}
    if len(lengths) > 1:  # features that not all rows have cannot stand side by side
        most = max(lengths, key=lambda pair: sum((len(one.reference), len(one.current)) == pair for one in own))
        own = [one for one in own if (len(one.reference), len(one.current)) == most]
    if not own:
        return None
    sides = [np.stack([_coded(one)[side] for one in own], axis=1) for side in (0, 1)]
    told = told_apart([one.name for one in own], sides[0], sides[1])
    if told is None:
        return None
    return {"auroc": told.area.told(), "by": [{"feature": name, "share": share} for name, share in told.by]}


def _coded(column: Column) -> tuple[Floats, Floats]:
    """Numbers as they are; categories as their place among the reference's, most frequent first."""
    if column.kind == "number":
        return column.reference, column.current
    places = {name: float(place) for place, name in enumerate(known_categories(column.reference))}
    rest = float(len(places))
    coded = [np.array([places.get(value, rest) for value in side]) for side in (column.reference, column.current)]
    return coded[0], coded[1]


def _binned(column: Column) -> tuple[Shape, Floats, Floats]:
    if column.kind == "category":
        known = known_categories(column.reference)
        one, other = (category_counts(side, known) for side in (column.reference, column.current))
        labels = [name or "(missing)" for name in known] + ["(any other)"]
    else:
        edges = decile_edges(column.reference)
        one, other = (number_counts(side, edges) for side in (column.reference, column.current))
        ends = [f"{edge:.4g}" for edge in edges]
        ranges = [f"{low} to {high}" for low, high in pairwise(ends)]
        inner = [f"below {ends[0]}", *ranges, f"from {ends[-1]}"] if ends else ["any"]
        labels = [*inner, "(missing)"]
    occurs = one + other > 0
    if column.kind == "number":
        occurs[:-1] = True
    shape = Shape(
        [label for label, here in zip(labels, occurs, strict=True) if here],
        one[occurs].astype(int).tolist(),
        other[occurs].astype(int).tolist(),
    )
    return shape, one, other


def _surest(one: Test | None, other: Test | None) -> Test | None:
    known = [test for test in (one, other) if test is not None]
    return min(known, key=lambda test: test.p_value) if known else None
