"""How far two samples of one feature lie apart: PSI, Jensen-Shannon, Kolmogorov-Smirnov, Wasserstein, chi-squared.

Arrays in, numbers out; all are 0 where the samples are alike. Numbers are compared in the tenths of the reference (its
deciles), and what is missing is a bin of its own; categories by their values.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Texts = NDArray[np.object_]

BINS = 10
MISSING = ""
"""Stands for a missing category."""
OTHERS = 30
"""Of more categories those that the reference has most are told apart; the rest are one."""
_EMPTY = 1e-4
"""The share that stands for an empty bin in PSI, as Evidently does it: a logarithm knows no zero."""


class Test(NamedTuple):
    """A test's statistic, and how likely one so large is where nothing differs."""

    statistic: float
    p_value: float


def decile_edges(reference: Floats) -> Floats:
    """The inner edges between the tenths of a sample, without repetition: fewer where values repeat."""
    known = reference[np.isfinite(reference)]
    return np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1])) if len(known) else np.zeros(0)


def number_counts(values: Floats, edges: Floats) -> Floats:
    """How many values lie in each bin (a value on an edge lies above it), and how many are missing (NaN)."""
    known = values[~np.isnan(values)]
    places = np.searchsorted(edges, known, side="right")
    return np.append(np.bincount(places, minlength=len(edges) + 1), len(values) - len(known)).astype(float)


def known_categories(reference: Texts) -> list[str]:
    """The categories that are told apart, most frequent first."""
    names, counts = np.unique(reference.astype(str), return_counts=True)
    order = sorted(range(len(names)), key=lambda place: (-counts[place], names[place]))
    return [str(names[place]) for place in order[:OTHERS]]


def category_counts(values: Texts, known: list[str]) -> Floats:
    """How many values are each of the known categories, and how many any other."""
    places = {name: place for place, name in enumerate(known)}
    codes = np.fromiter((places.get(value, len(known)) for value in values), np.int64, len(values))
    return np.bincount(codes, minlength=len(known) + 1).astype(float)


def population_stability_index(reference: Floats, current: Floats) -> float:
    """PSI of two histograms (counts in the same bins): above 0.1 is usually called moderate, above 0.25 major.

    Bins that both leave empty say nothing; one that one of them leaves empty counts as a share of 0.0001.
    Siddiqi, Credit Risk Scorecards (2006), ch. 10.
    """
    expected, actual = _shares(reference, current)
    expected, actual = np.where(expected == 0, _EMPTY, expected), np.where(actual == 0, _EMPTY, actual)
    return float(((actual - expected) * np.log(actual / expected)).sum())


def jensen_shannon(reference: Floats, current: Floats) -> float:
    """Jensen-Shannon distance of two histograms, 0..0.833 (natural logarithm, as scipy's default)."""
    from scipy.spatial.distance import jensenshannon

    return float(np.nan_to_num(jensenshannon(*_shares(reference, current))))


def chi_squared(reference: Floats, current: Floats) -> Test | None:
    """Chi-squared test that two histograms come from one distribution (scipy's chi2_contingency without correction).

    None where there is but one bin, or nothing in one of the samples.
    """
    from scipy.stats import chi2_contingency

    table = np.stack([reference, current])
    table = table[:, table.sum(0) > 0]
    if table.shape[1] < 2 or not table.sum(1).all():
        return None
    found: Any = chi2_contingency(table, correction=False)
    return Test(float(found.statistic), float(found.pvalue))


def kolmogorov_smirnov(reference: Floats, current: Floats) -> Test | None:
    """Two-sample Kolmogorov-Smirnov test of what is known; None where one sample has nothing known."""
    from scipy.stats import ks_2samp

    one, other = reference[np.isfinite(reference)], current[np.isfinite(current)]
    if not len(one) or not len(other):
        return None
    found: Any = ks_2samp(one, other)
    return Test(float(found.statistic), float(found.pvalue))


def wasserstein(reference: Floats, current: Floats) -> float | None:
    """How far values moved on average, in standard deviations of the reference (at least 0.001, as Evidently has it).

    None where one sample has nothing known.
    """
    from scipy.stats import wasserstein_distance

    one, other = reference[np.isfinite(reference)], current[np.isfinite(current)]
    if not len(one) or not len(other):
        return None
    return float(wasserstein_distance(one, other) / max(float(np.std(one)), 0.001))


def holm(p_values: list[float]) -> list[float]:
    """Each p-value corrected for all of them being looked at (Holm, 1979): the chance of even one false alarm among
    them stays below the level, however they depend on each other."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, least = [0.0] * len(p_values), 0.0
    for place, number in enumerate(order):
        least = max(least, min(p_values[number] * (len(p_values) - place), 1.0))
        corrected[number] = least
    return corrected


def _shares(reference: Floats, current: Floats) -> tuple[Floats, Floats]:
    occurs = reference + current > 0
    one, other = reference[occurs], current[occurs]
    return one / max(one.sum(), 1), other / max(other.sum(), 1)
