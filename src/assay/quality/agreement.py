"""How well numbers agree with people's labels and grades, in plain numpy.

In: one label or grade and one value per case. Out: a figure, NaN where the cases do not define it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Statistic = Callable[[NDArray[np.intp]], float]


def ranks(values: ArrayLike) -> Floats:
    """Ranks from 1, ties share their mean rank."""
    _, inverse, counts = np.unique(np.asarray(values, float), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def auroc(labels: ArrayLike, values: ArrayLike) -> float:
    """Chance that a random positive outscores a random negative, a tie half (Mann-Whitney U)."""
    positive = np.asarray(labels, bool)
    wins = ranks(values)[positive].sum() - positive.sum() * (positive.sum() + 1) / 2
    cases = positive.sum() * (~positive).sum()
    return float(wins / cases) if cases else float("nan")


def auprc(labels: ArrayLike, values: ArrayLike) -> float:
    """Average precision: precision at each distinct value from the top, weighted by the recall it adds."""
    order = np.argsort(-np.asarray(values, float), kind="stable")
    positive, ordered = np.asarray(labels, bool)[order], np.asarray(values, float)[order]
    if positive.all() or not positive.any():
        return float("nan")
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    found = np.cumsum(positive)[last]
    return float(np.sum(np.diff(found, prepend=0) * found / (last + 1)) / found[-1])


def spearman(grades: ArrayLike, values: ArrayLike) -> float:
    """Rank correlation, -1..1; NaN where either side is constant."""
    first, second = ranks(grades), ranks(values)
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def kendall(grades: ArrayLike, values: ArrayLike) -> float:
    """Kendall's tau-b, -1..1; NaN where either side is constant. Knight (1966): O(n log n)."""
    first = np.unique(np.asarray(grades, float), return_inverse=True)[1]
    second = np.unique(np.asarray(values, float), return_inverse=True)[1]
    pairs = len(first) * (len(first) - 1) / 2
    both = first * (int(second.max(initial=0)) + 1) + second
    untied_first, untied_second = pairs - _tied_pairs(first), pairs - _tied_pairs(second)
    if untied_first == 0 or untied_second == 0:
        return float("nan")
    discordant = _inversions(second[np.argsort(both, kind="stable")])
    difference = untied_first + untied_second - pairs + _tied_pairs(both) - 2 * discordant
    return float(difference / np.sqrt(untied_first * untied_second))


def _tied_pairs(values: NDArray[np.intp]) -> float:
    counts = np.unique(values, return_counts=True)[1].astype(float)
    return float((counts * (counts - 1) / 2).sum())


def _inversions(values: NDArray[np.intp]) -> int:
    """Pairs of which the earlier is the larger. Per bit: equal above it, 1 before 0."""
    found = 0
    for bit in range(int(values.max(initial=0)).bit_length()):
        above = values >> (bit + 1)
        order = np.argsort(above, kind="stable")
        ones = (values[order] >> bit) & 1
        before = np.cumsum(ones) - ones
        firsts = np.flatnonzero(np.diff(above[order], prepend=-1))
        group = np.repeat(before[firsts], np.diff(firsts, append=len(order)))
        found += int((before - group)[ones == 0].sum())
    return found


def pair_wins(pairs: Sequence[Hashable], labels: Sequence[int], values: Sequence[float]) -> Floats:
    """Per pair with both rows: 1 where the row labelled 1 has the higher value, 0.5 for a tie, else 0."""
    table: dict[Hashable, dict[int, float]] = {}
    for pair, label, value in zip(pairs, labels, values, strict=True):
        table.setdefault(pair, {})[label] = value
    return np.array([(p[1] > p[0]) + 0.5 * (p[1] == p[0]) for p in table.values() if len(p) == 2], float)


def cohen_kappa(first: ArrayLike, second: ArrayLike) -> float:
    """Agreement of two raters' yes/no labels beyond chance, -1..1; NaN where both always say the same. Cohen (1960)."""
    one, other = np.asarray(first, bool), np.asarray(second, bool)
    if not len(one):
        return float("nan")
    observed = float((one == other).mean())
    chance = float(one.mean() * other.mean() + (1 - one.mean()) * (1 - other.mean()))
    return (observed - chance) / (1 - chance) if chance < 1 else float("nan")


def krippendorff_alpha(units: ArrayLike) -> float:
    """Krippendorff's alpha of graded or 0/1 values, at most 1; NaN where all values are the same.

    `units` has a row a judged thing: how many values it has, their sum, and the sum of their squares. Things with one
    value are left out. For 0/1 values the squared difference is the nominal one. Krippendorff, Content
    Analysis (2004), ch. 11.
    """
    count, total, squares = np.asarray(units, float).reshape(-1, 3).T
    paired = count > 1
    count, total, squares = count[paired], total[paired], squares[paired]
    n = count.sum()
    expected = 2 * (n * squares.sum() - total.sum() ** 2)
    if n < 2 or expected <= 1e-12 * max(n * squares.sum(), 1e-300):
        return float("nan")
    observed = (2 * (count * squares - total**2) / (count - 1)).sum()
    return float(1 - (n - 1) * observed / expected)


def interval(statistic: Statistic, cases: int, draws: int = 300, seed: int = 20261123) -> tuple[float, float]:
    """95% percentile bootstrap interval of a statistic of case indices; NaN where no draw defines it."""
    generator = np.random.default_rng(seed)
    found = np.array([statistic(generator.integers(0, cases, cases)) for _ in range(draws)] if cases else [])
    found = found[np.isfinite(found)]
    if not len(found):
        return float("nan"), float("nan")
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)
