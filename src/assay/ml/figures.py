"""How well predictions hold against labels, each figure with a 95% interval; arrays in, figures out.

Accuracy, and a binary precision and recall, are shares: Wilson's intervals. What else comes from the confusion matrix
is resampled from it (1,000 multinomial draws with a fixed seed, which is the bootstrap of the rows). AUROC has DeLong's
variance, in the form of influence functions, which also holds for a mean over classes. Log loss, Brier score and errors
are means: Student's t. Calibration error and R2 are resampled by row (200 Poisson bootstraps with a fixed seed).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from assay.quality.intervals import UNKNOWN, Interval, t_quantile, wilson

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEWEST = 10
"""Labelled rows below which only counts are told."""
CALIBRATION_BINS = 10
POSITIVE_NAMES = ("1", "1.0", "true", "yes", "positive")
_Z = 1.959964
_MATRIX_DRAWS, _ROW_DRAWS, _DRAWN_ROWS = 1000, 200, 20_000
_SMALLEST = 1e-15


class Figure(NamedTuple):
    """A figure of `n` rows with its 95% interval; None where it is not known."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0

    def told(self) -> dict[str, Any]:
        """As the API tells it."""
        return self._asdict()


NOTHING = Figure(None)


def figure(value: float, interval: Interval, n: int) -> Figure:
    """A figure, unknown where it is no finite number."""
    return Figure(float(value), interval.low, interval.high, n) if math.isfinite(value) else Figure(None, n=n)


def positive_class(classes: Sequence[str], labels: NDArray[Any], told: str | None = None) -> tuple[str, str]:
    """Which of two classes is the positive one, and why: the one that was told; else one named 1, true, yes or
    positive; else the rarer one among the labels."""
    if told is not None:
        return told, "told"
    named = [one for one in classes if one.strip().lower() in POSITIVE_NAMES]
    if len(named) == 1:
        return named[0], "by its name"
    counts = {one: int(np.sum(labels == one)) for one in classes}
    return min(sorted(classes, reverse=True), key=counts.__getitem__), "the rarer one among the labels"


def confusion(predicted: Ints, true: Ints, classes: int) -> Floats:
    """How often class j was predicted (row j) where class k was true (column k)."""
    return np.bincount(predicted * classes + true, minlength=classes**2).reshape(classes, classes).astype(float)


def from_confusion(matrices: Floats, positive: int | None) -> dict[str, Floats]:
    """accuracy, precision, recall and F1 of confusion matrices (..., k, k), which may hold expected counts.

    Of `positive` alone where that is a class, else their plain means over the classes that occur (macro). A precision
    without any prediction of the class, or a recall without any case of it, is NaN.
    """
    hits = np.diagonal(matrices, axis1=-2, axis2=-1)
    predicted, true = matrices.sum(-1), matrices.sum(-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracy = hits.sum(-1) / matrices.sum((-1, -2))
        precision, recall = hits / predicted, hits / true
        f1 = 2 * hits / (predicted + true)
    each = {"precision": precision, "recall": recall, "f1": f1}
    if positive is not None:
        return {"accuracy": accuracy} | {name: column[..., positive] for name, column in each.items()}
    occurs = true + predicted > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        means = {
            name: np.where(occurs, np.nan_to_num(column), 0).sum(-1) / occurs.sum(-1) for name, column in each.items()
        }
    return {"accuracy": accuracy} | means


def classified(predicted: Ints, true: Ints, classes: int, positive: int | None) -> dict[str, Figure]:
    """accuracy, precision, recall and F1 with their intervals."""
    matrix, n = confusion(predicted, true, classes), len(predicted)
    found = {name: float(value) for name, value in from_confusion(matrix, positive).items()}
    told = {"accuracy": figure(found["accuracy"], wilson(found["accuracy"], n), n)}
    if positive is not None:
        for name, of in (("precision", matrix[positive].sum()), ("recall", matrix[:, positive].sum())):
            told[name] = figure(found[name], wilson(found[name], float(of)), int(of)) if of else NOTHING
    drawn = from_confusion(_drawn(matrix), positive)
    for name in found.keys() - told.keys():
        told[name] = figure(found[name], _percentiles(drawn[name]), n)
    return {name: told[name] for name in ("accuracy", "precision", "recall", "f1")}


def auroc(scores: Floats, true: Ints, groups: NDArray[Any] | None = None, widened: float = 1.0) -> Figure:
    """How likely a case of a class has a higher score for it than a case of another, averaged over the classes.

    `scores` is (n, k), or (n,) for the second of two classes; `true` holds places of classes. The variance is DeLong's
    (DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988), the interval its logit's; rows of one of `groups` are
    taken as one observation, and the standard error is `widened`. None where only one class occurs.
    """
    columns = {1: scores} if scores.ndim == 1 else {k: scores[:, k] for k in range(scores.shape[1])}
    if scores.ndim == 2 and scores.shape[1] == 2:
        columns = {1: scores[:, 1]}
    found = [one for k, column in columns.items() if (one := _auroc(column, true == k)) is not None]
    if not found:
        return Figure(None, n=len(true))
    value = float(np.mean([area for area, _ in found]))
    influence = np.mean([influence for _, influence in found], axis=0)
    if groups is not None:
        _, codes = np.unique(groups, return_inverse=True)
        influence = np.bincount(codes, influence)
    error = widened * math.sqrt(float(influence @ influence)) / len(true)
    return figure(value, _logit_interval(value, error), len(true))


def _auroc(score: Floats, positive: NDArray[np.bool_]) -> tuple[float, Floats] | None:
    """The area and each row's influence on it (their mean is 0)."""
    from scipy.stats import rankdata

    many, few = int(positive.sum()), int((~positive).sum())
    if not many or not few:
        return None
    ranks = rankdata(score)
    own = np.zeros(len(score))
    own[positive] = (ranks[positive] - rankdata(score[positive])) / few
    own[~positive] = 1 - (ranks[~positive] - rankdata(score[~positive])) / many
    area = float(own[positive].mean())
    return area, (own - area) * len(score) / np.where(positive, many, few)


def probabilistic(probabilities: Floats, true: Ints, confidence: Floats, correct: NDArray[np.bool_]) -> dict[str, Any]:
    """log_loss, brier, calibration error `ece` and the `reliability` curve.

    `probabilities` is (n, k). The Brier score of two classes is that of the second one's probability (0..1), of more
    the sum over the classes (0..2). `ece` compares confidence and accuracy in ten bins of confidence (Guo et al., On
    Calibration of Modern Neural Networks, 2017); of few rows it is above zero by chance alone.
    """
    told: dict[str, Any] = {}
    if probabilities.shape[1]:
        given = np.clip(probabilities[np.arange(len(true)), true], _SMALLEST, 1)
        told["log_loss"] = _mean(-np.log(given))
        one_hot = np.eye(probabilities.shape[1])[true]
        squares = (probabilities - one_hot) ** 2
        told["brier"] = _mean(squares[:, 1] if probabilities.shape[1] == 2 else squares.sum(1), unit=True)
    known = ~np.isnan(confidence)
    if known.any():
        told["ece"], told["reliability"] = _calibration(confidence[known], correct[known])
    return told


def regressed(predicted: Floats, true: Floats) -> dict[str, Figure]:
    """MAE, RMSE and R2 (the share of the labels' variance that is explained; below 0 where their mean does better)."""
    error, n = predicted - true, len(true)
    squared = _mean(error**2)
    low, high = (None if end is None else math.sqrt(max(end, 0.0)) for end in (squared.low, squared.high))
    rmse = Figure(math.sqrt(squared.value or 0.0), low, high, n)
    spread = float(((true - true.mean()) ** 2).sum())
    if spread <= 0 or n < 2:
        return {"mae": _mean(np.abs(error)), "rmse": rmse, "r2": Figure(None, n=n)}
    weights, rows = _poisson(n)
    y, e = true[rows], error[rows]
    total = weights.sum(1)
    variation = weights @ y**2 - (weights @ y) ** 2 / total
    drawn = 1 - (weights @ e**2) / np.maximum(variation, 1e-300)
    return {
        "mae": _mean(np.abs(error)),
        "rmse": rmse,
        "r2": figure(1 - float(error @ error) / spread, _spread_of(1 - float(error @ error) / spread, drawn, n), n),
    }


def _calibration(confidence: Floats, correct: NDArray[np.bool_]) -> tuple[Figure, list[dict[str, Any]]]:
    place = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gap = correct - confidence
    value = float(np.abs(np.bincount(place, gap, CALIBRATION_BINS)).sum() / len(gap))
    weights, rows = _poisson(len(gap))
    one_hot = np.eye(CALIBRATION_BINS)[place[rows]]
    drawn = np.abs((weights * gap[rows]) @ one_hot).sum(1) / weights.sum(1)
    curve = [
        {"confidence": float(confidence[own].mean()), "n": int(own.sum()), "accuracy": share, "low": low, "high": high}
        for own in (place == number for number in range(CALIBRATION_BINS))
        if own.any()
        for share in [float(correct[own].mean())]
        for low, high in [wilson(share, float(own.sum()))]
    ]
    found = _spread_of(value, drawn, len(gap))
    return figure(value, Interval(max(found.low or 0.0, 0.0), found.high), len(gap)), curve


def _mean(values: Floats, *, unit: bool = False) -> Figure:
    n, mean = len(values), float(values.mean())
    if n < 2:
        return Figure(mean, n=n)
    half = t_quantile(n - 1) * float(values.std(ddof=1)) / math.sqrt(n)
    return Figure(mean, max(mean - half, 0.0) if unit else mean - half, mean + half, n)


def _logit_interval(share: float, error: float) -> Interval:
    if not 0 < share < 1 or error <= 0:
        return UNKNOWN
    middle, half = math.log(share / (1 - share)), _Z * error / (share * (1 - share))
    return Interval(1 / (1 + math.exp(half - middle)), 1 / (1 + math.exp(-half - middle)))


def _drawn(matrix: Floats) -> Floats:
    cells = matrix.ravel() / matrix.sum()
    drawn = np.random.default_rng(0).multinomial(int(matrix.sum()), cells, _MATRIX_DRAWS)
    return drawn.reshape(_MATRIX_DRAWS, *matrix.shape).astype(float)


def _percentiles(drawn: Floats) -> Interval:
    known = drawn[np.isfinite(drawn)]
    if len(known) < _MATRIX_DRAWS / 2:
        return UNKNOWN
    low, high = np.quantile(known, (0.025, 0.975))
    return Interval(float(low), float(high))


def _poisson(n: int) -> tuple[Floats, Ints]:
    """Weights of the rows in each resample (draws, rows), and which rows these are where there are very many."""
    rng = np.random.default_rng(0)
    rows = np.arange(n) if n <= _DRAWN_ROWS else rng.choice(n, _DRAWN_ROWS, replace=False)
    return rng.poisson(1.0, (_ROW_DRAWS, len(rows))).astype(float), rows


def _spread_of(value: float, drawn: Floats, n: int) -> Interval:
    """The value, give or take 1.96 standard deviations of the resamples, of all `n` rows."""
    half = _Z * float(drawn.std(ddof=1)) * math.sqrt(min(n, _DRAWN_ROWS) / n)
    return Interval(value - half, value + half)
