"""Can a classifier tell two samples apart? Then their joint distribution differs, even where no single feature does.

In: two samples of rows. Out: how well unseen rows are told apart (AUROC, 0.5 is not at all), with a 95% interval.
Rabanser, Guennemann and Lipton, Failing Loudly (2019). Rows are judged by classifiers that never saw them (five folds).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from assay.ml.figures import Figure, auroc

Floats = NDArray[np.float64]

FEWEST = 50
"""Rows of each sample below which nothing is told."""
MOST = 3000
"""Rows of each sample that are taken."""
FOLDS = 5
TELLING = 5
WIDENED = (1 + FOLDS / (FOLDS - 1)) ** 0.5
"""Classifiers of different folds learn from mostly the same rows, so their errors are alike: the standard error is 1.5
times that of one test set. Nadeau and Bengio, Inference for the Generalization Error (2003)."""


class Told(NamedTuple):
    """How well the samples are told apart, and by which columns most: their share of what the trees gained."""

    area: Figure
    by: list[tuple[str, float]]


def told_apart(names: Sequence[str], reference: Floats, current: Floats) -> Told | None:
    """A random forest (50 trees, leaves of 20 rows) on columns that may hold NaN. None for too few rows."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedKFold

    if min(len(reference), len(current)) < FEWEST or not names:
        return None
    x, y = _together(reference, current)
    chance, gains = np.zeros(len(y)), np.zeros(x.shape[1])
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(x, y):
        forest = RandomForestClassifier(50, min_samples_leaf=20, max_features="sqrt", random_state=0)
        forest.fit(x[train], y[train])
        chance[test] = _within_fold(np.asarray(forest.predict_proba(x[test]))[:, 1])
        gains += forest.feature_importances_ / FOLDS
    most = np.argsort(-gains)[:TELLING]
    return Told(
        auroc(chance, y, widened=WIDENED),
        [(str(names[place]), float(gains[place])) for place in most if gains[place] > 0],
    )


def vectors_told_apart(
    reference: Floats, current: Floats, reference_groups: NDArray[Any], current_groups: NDArray[Any]
) -> Figure | None:
    """A logistic regression on vectors. Rows of one group (a session) are of one fold, and count as one observation.

    None for too few rows or fewer than ten groups.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold

    groups = np.concatenate([reference_groups, current_groups]).astype(str)
    if min(len(reference), len(current)) < FEWEST or len(set(groups)) < 2 * FOLDS:
        return None
    x, y = np.concatenate([reference, current]), np.repeat([0, 1], [len(reference), len(current)])
    chance = np.full(len(y), 0.5)
    for train, test in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(x, y, groups):
        if len(set(y[train].tolist())) == 2:
            model: Any = LogisticRegression(C=1.0, class_weight="balanced", max_iter=200).fit(x[train], y[train])
            chance[test] = _within_fold(model.decision_function(x[test]))
    return auroc(chance, y, groups, WIDENED)


def _together(reference: Floats, current: Floats) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Both samples, as many rows of each, and which is which."""
    rng = np.random.default_rng(0)
    many = min(len(reference), len(current), MOST)
    rows = np.concatenate([one[rng.permutation(len(one))[:many]] for one in (reference, current)])
    return np.clip(rows, -1e30, 1e30).astype(np.float32), np.repeat([0, 1], many)


def _within_fold(scores: Any) -> Floats:
    """Scores as ranks in 0..1: those of different folds' classifiers are on scales of their own."""
    from scipy.stats import rankdata

    return rankdata(scores) / len(scores)
