"""Where to draw the line in a score, and how well yes and no on either side of it agree with people.

In: labels (True is what high values stand for), values in 0..1, thresholds; a value at the threshold is a yes.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.quality.agreement import auprc, auroc, cohen_kappa, interval

Interval = tuple[float, float]
DEFAULT_THRESHOLD = 0.5


class Figure(msgspec.Struct, frozen=True):
    """A number with its 95% bootstrap interval; None where the cases do not define it."""

    value: float | None
    interval: Interval | None


class Figures(msgspec.Struct, frozen=True):
    """How a score and its threshold agree with labels."""

    auroc: Figure
    auprc: Figure
    balanced_accuracy: Figure
    kappa: Figure


def figures(labels: ArrayLike, values: ArrayLike, thresholds: ArrayLike = DEFAULT_THRESHOLD) -> Figures:
    """All four; `thresholds` may be one for each value."""
    said, given = np.asarray(labels, bool), np.asarray(values, float)
    yes = given >= np.asarray(thresholds, float)

    def figure(statistic: Any, over: NDArray[Any]) -> Figure:
        value = statistic(said, over)
        if not math.isfinite(value):
            return Figure(None, None)
        low, high = interval(lambda at: statistic(said[at], over[at]), len(said))
        return Figure(round(value, 4), (round(low, 4), round(high, 4)))

    return Figures(figure(auroc, given), figure(auprc, given), figure(balanced_accuracy, yes), figure(cohen_kappa, yes))


def balanced_accuracy(labels: ArrayLike, yes: ArrayLike) -> float:
    """Mean of the shares found right among the positive and among the negative; NaN where one kind is missing."""
    said, answered = np.asarray(labels, bool), np.asarray(yes, bool)
    if said.all() or not said.any():
        return float("nan")
    return float(answered[said].mean() + (~answered[~said]).mean()) / 2


def best_threshold(labels: ArrayLike, values: ArrayLike) -> float:
    """The threshold with the best balanced accuracy: half-way between two values; 0.5 where one kind is missing."""
    said, given = np.asarray(labels, bool), np.asarray(values, float)
    if said.all() or not said.any():
        return DEFAULT_THRESHOLD
    order = np.argsort(given, kind="stable")
    said, given = said[order], given[order]
    cuts = np.flatnonzero(np.diff(given)) + 1
    if not len(cuts):
        return DEFAULT_THRESHOLD
    below, missed = cuts, np.cumsum(said)[cuts - 1]
    accuracy = (1 - missed / said.sum() + (below - missed) / (~said).sum()) / 2
    best = cuts[int(accuracy.argmax())]
    return float(given[best - 1] + given[best]) / 2


def threshold_interval(labels: ArrayLike, values: ArrayLike) -> Interval:
    """95% bootstrap interval of `best_threshold`."""
    said, given = np.asarray(labels, bool), np.asarray(values, float)
    low, high = interval(lambda at: best_threshold(said[at], given[at]), len(said))
    return round(low, 4), round(high, 4)
