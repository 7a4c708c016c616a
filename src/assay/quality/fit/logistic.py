"""Logistic regression on sparse and dense columns together, in plain numpy.

In: Examples, labels of 0 and 1, and a known part of each example's evidence that the weights only add to. Out: the
weights that minimise log loss plus half the penalty times their squares, by L-BFGS (Nocedal and Wright, Numerical
Optimization, 2006, algorithms 7.4 and 3.5 with backtracking only).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
"""float32 throughout: half the memory to go through, and enough for weights that are stored in 8 bits."""

_PAIRS_KEPT = 8
_SMALLEST_STEP = 1e-4


class Examples(msgspec.Struct, frozen=True):
    """n texts as rows: `columns` and `values` end to end, row i from starts[i] to starts[i + 1]; `dense` is n x k.

    Of `width` sparse columns none stands twice in a row; every row has at least one. (`columns` are intp since
    counting by anything else would copy them each time.)
    """

    columns: NDArray[np.intp]
    values: Floats
    starts: NDArray[np.intp]
    width: int
    dense: Floats

    def __len__(self) -> int:
        return len(self.dense)

    def chosen(self, rows: NDArray[np.intp]) -> Examples:
        """These rows, in this order."""
        counts = np.diff(self.starts)[rows]
        starts = np.concatenate([[0], np.cumsum(counts)])
        places = np.arange(starts[-1]) + np.repeat(self.starts[rows] - starts[:-1], counts)
        return Examples(self.columns[places], self.values[places], starts, self.width, self.dense[rows])

    def times(self, weights: Floats) -> Floats:
        """Each row's dot product with `width` + k weights."""
        sparse = np.add.reduceat(weights[self.columns] * self.values, self.starts[:-1])
        return sparse + self.dense @ weights[self.width :]

    def transposed_times(self, rows: Floats) -> Floats:
        """Each column's dot product with a number per row: `width` + k numbers."""
        spread = np.repeat(rows, np.diff(self.starts))
        sparse = np.bincount(self.columns, self.values * spread, self.width).astype(np.float32)
        return np.concatenate([sparse, rows @ self.dense])


def fit_weights(examples: Examples, labels: NDArray[Any], penalties: Floats, prior: Floats, start: Floats) -> Floats:
    """`width` + k weights; `penalties` holds one per weight, `prior` where each is drawn to, `start` a first guess."""
    signs = np.where(np.asarray(labels, bool), 1, -1).astype(np.float32)

    def loss(weights: Floats) -> tuple[float, Floats]:
        margins = signs * examples.times(weights)
        off = weights - prior
        value = np.logaddexp(0, -margins, dtype=np.float64).sum() + float(penalties @ (off * off)) / 2
        pull = -signs / (1 + np.exp(np.minimum(margins, 60)))
        return float(value), examples.transposed_times(pull) + penalties * off

    return minimum(loss, start)


def minimum(function: Callable[[Floats], tuple[float, Floats]], start: Floats, steps: int = 60) -> Floats:
    """Where a smooth convex function is least: L-BFGS until it falls by less than a ten-thousandth a step."""
    at = start
    value, slope = function(at)
    kept: list[tuple[Floats, Floats, float]] = []
    for _ in range(steps):
        direction = -_newton_like(slope, kept)
        step, downhill = 1.0 if kept else 1 / max(1.0, float(np.linalg.norm(slope))), float(slope @ direction)
        while True:
            next_at = at + np.float32(step) * direction
            next_value, next_slope = function(next_at)
            if next_value <= value + _SMALLEST_STEP * step * downhill or step < 1e-6:
                break
            step /= 2
        moved, bent = next_at - at, next_slope - slope
        if (curvature := float(moved @ bent)) > 1e-12:
            kept = [*kept[1 - _PAIRS_KEPT :], (moved, bent, curvature)]
        gained = value - next_value
        at, value, slope = next_at, next_value, next_slope
        if gained < 1e-4 * max(1.0, abs(value)):
            break
    return at


def _newton_like(slope: Floats, kept: list[tuple[Floats, Floats, float]]) -> Floats:
    """The slope times an approximation of the inverse curvature, from the last steps (the two-loop recursion)."""
    found, shares = slope.copy(), list[float]()
    for moved, bent, curvature in reversed(kept):
        shares.append(float(moved @ found) / curvature)
        found -= np.float32(shares[-1]) * bent
    if kept:
        _, bent, curvature = kept[-1]
        found *= np.float32(curvature / float(bent @ bent))
    for (moved, bent, curvature), share in zip(kept, reversed(shares), strict=True):
        found += np.float32(share - float(bent @ found) / curvature) * moved
    return found
