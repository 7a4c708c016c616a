"""Scores against people's yes and no: rank agreement, kappa at a threshold, and the threshold that agrees best.

In: 0/1 labels and as many values. Out: figures with 95% bootstrap intervals. Cases are counted into a table of label by
value once; a bootstrap draw is a multinomial draw of that table, so 50,000 cases take no longer than 500.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.quality.agreement import auroc, cohen_kappa

Floats = NDArray[np.float64]

DRAWS = 500
DISTINCT = 1000
"""Values are told apart to about this many steps of their range, where there are more."""

FEWEST = 20
FEWEST_OF_A_CLASS = 5


class Figure(msgspec.Struct, frozen=True):
    """A figure and its 95% interval, None where no draw of the cases defines one."""

    value: float
    low: float | None
    high: float | None


class Suggestion(msgspec.Struct, frozen=True):
    """The threshold with the best kappa and its interval, and the kappa and balanced accuracy to expect there.

    Both are corrected for having been chosen on the same cases (Efron and Tibshirani, An Introduction to the
    Bootstrap, 1993, ch. 17).
    """

    threshold: float
    low: float
    high: float
    kappa: Figure
    balanced_accuracy: Figure


class Agreement(msgspec.Struct, frozen=True):
    """How well values agree with labels. A figure is None where the cases do not define it; `reason` says why
    there is no suggestion."""

    positives: int
    auroc: Figure | None
    kappa: Figure | None
    suggestion: Suggestion | None
    reason: str


def agreement(labels: ArrayLike, values: ArrayLike, threshold: float, seed: int = 20261124) -> Agreement:
    """Agreement of `values` with 0/1 `labels`, a value at or above the threshold being a yes."""
    positive, scores = np.asarray(labels, bool), np.asarray(values, float)
    table = _Table(positive, scores)
    draws = table.draws(np.random.default_rng(seed))
    reason = _too_few(positive)
    return Agreement(
        positives=int(positive.sum()),
        auroc=figure(auroc(positive, scores), _auroc(draws)),
        kappa=figure(cohen_kappa(positive, scores >= threshold), _kappa(*table.at(draws, threshold))),
        suggestion=None if reason else _suggestion(table, draws),
        reason=reason,
    )


def figure(value: float, drawn: ArrayLike) -> Figure | None:
    """The value with the middle 95% of what was drawn; None where it is not defined."""
    found = np.asarray(drawn, float)
    found = found[np.isfinite(found)]
    if not np.isfinite(value):
        return None
    low, high = map(float, np.quantile(found, (0.025, 0.975))) if len(found) else (None, None)
    return Figure(float(value), low, high)


def _too_few(positive: NDArray[np.bool_]) -> str:
    if len(positive) < FEWEST:
        return f"{len(positive)} labelled calls are too few: label {FEWEST} or more"
    if (rarer := min(positive.sum(), (~positive).sum())) < FEWEST_OF_A_CLASS:
        return f"only {rarer} of one kind: label {FEWEST_OF_A_CLASS} or more of both"
    return ""


class _Table:
    """Cases by label (no, yes) and value. `steps` are the values in ascending order."""

    def __init__(self, positive: NDArray[np.bool_], scores: Floats) -> None:
        steps, place = np.unique(scores, return_inverse=True)
        if len(steps) > DISTINCT:
            width = float(np.ptp(scores)) / DISTINCT
            steps, place = np.unique(np.floor(scores / width) * width, return_inverse=True)
        self.steps = steps
        self.counts = np.zeros((2, len(steps)))
        np.add.at(self.counts, (positive.astype(int), place), 1)

    def draws(self, generator: np.random.Generator) -> Floats:
        """Tables of as many cases drawn with replacement: draw x label x value."""
        cases = int(self.counts.sum())
        if not cases:
            return np.zeros((0, *self.counts.shape))
        drawn = generator.multinomial(cases, (self.counts / cases).ravel(), DRAWS)
        return drawn.reshape(DRAWS, *self.counts.shape).astype(float)

    def at(self, tables: Floats, threshold: float) -> tuple[Floats, Floats, Floats, Floats]:
        """False and true yes, and all no and yes, of each table at a threshold."""
        kept = tables[..., self.steps >= threshold].sum(-1)
        whole = tables.sum(-1)
        return kept[..., 0], kept[..., 1], whole[..., 0], whole[..., 1]


def _auroc(tables: Floats) -> Floats:
    no, yes = tables[:, 0], tables[:, 1]
    below = np.cumsum(no, -1) - no / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return (yes * below).sum(-1) / (no.sum(-1) * yes.sum(-1))


def _kappa(false_yes: Floats, true_yes: Floats, no: Floats, yes: Floats) -> Floats:
    cases, said = no + yes, false_yes + true_yes
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = (true_yes + no - false_yes) / cases
        chance = (said * yes + (cases - said) * no) / cases**2
        return (observed - chance) / (1 - chance)


def _balanced(false_yes: Floats, true_yes: Floats, no: Floats, yes: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return (true_yes / yes + 1 - false_yes / no) / 2


def _all_thresholds(tables: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """`_Table.at` with each value as the threshold: table x value."""
    kept = np.cumsum(tables[..., ::-1], -1)[..., ::-1]
    whole = np.broadcast_to(tables.sum(-1, keepdims=True), kept.shape)
    return kept[:, 0], kept[:, 1], whole[:, 0], whole[:, 1]


def _suggestion(table: _Table, draws: Floats) -> Suggestion:
    own, drawn = _all_thresholds(table.counts[None]), _all_thresholds(draws)
    kappa, kappas = _kappa(*own)[0], _kappa(*drawn)
    best, bests = int(np.nanargmax(kappa)), np.argmax(np.nan_to_num(kappas, nan=-1), -1)
    low, high = np.quantile(table.steps[bests], (0.025, 0.975))
    balanced, all_balanced = _balanced(*own)[0], _balanced(*drawn)
    return Suggestion(
        float(table.steps[best]),
        float(low),
        float(high),
        _corrected(kappa, kappas, best, bests),
        _corrected(balanced, all_balanced, best, bests),
    )


def _corrected(own: Floats, drawn: Floats, best: int, bests: NDArray[np.intp]) -> Figure:
    """The figure at the best threshold less its optimism: how much better a draw's best looks on the draw itself."""
    chosen = drawn[np.arange(len(drawn)), bests]
    optimism = float(np.nanmean(chosen - own[bests]))
    low, high = np.nanquantile(chosen - optimism, (0.025, 0.975))
    return Figure(float(own[best] - optimism), float(low), float(high))
