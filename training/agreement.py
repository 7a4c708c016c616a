"""How well numbers agree with people: AUROC, rank correlation, pairs in the right order. Plain numpy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Ranks from 1, ties share their mean rank."""
    _, inverse, counts = np.unique(np.asarray(values, float), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def auroc(labels: ArrayLike, values: ArrayLike) -> float:
    """Chance that a random positive outscores a random negative (Mann-Whitney U); NaN without both."""
    positive = np.asarray(labels, bool)
    wins = ranks(values)[positive].sum() - positive.sum() * (positive.sum() + 1) / 2
    cases = positive.sum() * (~positive).sum()
    return float(wins / cases) if cases else float("nan")


def spearman(grades: ArrayLike, values: ArrayLike) -> float:
    """Rank correlation, -1..1; NaN where either side is constant."""
    first, second = ranks(grades), ranks(values)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def pair_accuracy(pairs: Iterable[Any], labels: Iterable[int], values: Iterable[float]) -> float:
    """Share of pairs whose row labelled 1 has the higher value; a tie counts half."""
    table: dict[Any, dict[int, float]] = {}
    for pair, label, value in zip(pairs, labels, values, strict=True):
        table.setdefault(pair, {})[label] = value
    won = [(p[1] > p[0]) + 0.5 * (p[1] == p[0]) for p in table.values() if len(p) == 2]
    return float(np.mean(won)) if won else float("nan")
