"""Train what a fitted toxicity score adds to the shipped one: from labelled texts to weights, on one core.

In: Examples (made by `examples`), the shipped evidence being their second last column, and labels. Out: an Addition.
The share of the shipped evidence is drawn to USUAL_SLOPE and everything else to 0, so that few labels change little.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from assay.quality.fit.fitted import BUCKETS, PAIR_SCALE, Addition, Features
from assay.quality.fit.logistic import Examples, fit_weights
from assay.quality.words import Floats

Rows = NDArray[np.intp]
Labels = NDArray[np.bool_]

PENALTIES = (30.0, 3.0, 0.3)
"""Strengths to choose from, strongest first. 0.3 was best from 75 labels to 2,000; the others are for labels that
say nothing about the words."""

USUAL_SLOPE, SLOPE_PENALTY = 0.3, 30.0
"""As sure as 30 labels of one unit of evidence: with less, 40 labels could turn the shipped score upside down."""

BIAS_PENALTY = 1e-3
FOLDS = 3
STARTS_ALIKE = 30
"""Characters: texts with the same beginning stay together, on one side of a split."""


class Learner(NamedTuple):
    """Texts ready to learn from; `columns` tells which bucket each sparse column is."""

    examples: Examples
    columns: NDArray[np.int32]


class Learnt(NamedTuple):
    """Weights, the penalty that was chosen, and each row's evidence by weights that did not see it."""

    weights: Floats
    penalty: float
    out_of_fold: Floats


def learner(found: Sequence[Features], shipped: NDArray[np.floating[Any]]) -> Learner:
    """Texts by their features and the shipped evidence; there must be one at least."""
    columns, places = np.unique(np.concatenate([one.buckets for one in found]), return_inverse=True)
    ones = np.ones(len(found), np.float32)
    dense = [np.stack([one.vector for one in found]), np.stack([one.pairs for one in found])]
    examples = Examples(
        places.astype(np.intp),
        np.concatenate([one.values for one in found]),
        np.cumsum([0, *(len(one.buckets) for one in found)]),
        len(columns),
        np.concatenate([*dense, shipped.astype(np.float32)[:, None], ones[:, None]], axis=1),
    )
    return Learner(examples, columns.astype(np.int32))


def learn(examples: Examples, labels: Labels, groups: Sequence[str]) -> Learnt:
    """The weights for these rows. Rows of one group stay in one fold while the penalty is chosen.

    Chosen is the weakest penalty whose log loss out of fold is within one standard error of the best.
    """
    folds = balanced_folds(labels, groups, FOLDS)
    evidence = np.zeros((len(PENALTIES), len(labels)), np.float32)
    for fold in range(FOLDS):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        held = examples.chosen(outside)
        for at, weights in enumerate(_path(examples.chosen(inside), labels[inside])):
            evidence[at, outside] = held.times(weights)
    losses = np.logaddexp(0, np.where(labels, -evidence, evidence))
    means, best = losses.mean(1), int(losses.mean(1).argmin())
    errors = (losses - losses[best]).std(1) / np.sqrt(len(labels))
    chosen = max(at for at in range(len(PENALTIES)) if means[at] - means[best] <= errors[at])
    return Learnt(_path(examples, labels, chosen + 1)[-1], PENALTIES[chosen], evidence[chosen])


def _path(examples: Examples, labels: Labels, steps: int = len(PENALTIES)) -> list[Floats]:
    """Weights under each penalty, each search going on from where the one before ended."""
    size = examples.width + examples.dense.shape[1]
    prior = np.zeros(size, np.float32)
    prior[-2] = USUAL_SLOPE
    found = [prior]
    for penalty in PENALTIES[:steps]:
        penalties = np.full(size, penalty, np.float32)
        penalties[-2:] = SLOPE_PENALTY, BIAS_PENALTY
        found.append(fit_weights(examples, labels, penalties, prior, found[-1]))
    return found[1:]


def addition(weights: Floats, columns: NDArray[np.int32]) -> Addition:
    """Learnt weights as they are stored: the n-grams' in int8, of buckets that no text had 0."""
    of_grams, rest = weights[: len(columns)], weights[len(columns) :]
    scale = float(np.abs(of_grams).max(initial=1e-9)) / 127
    codes = np.zeros(BUCKETS, np.int8)
    codes[columns] = np.round(of_grams / scale).astype(np.int8)
    split = len(rest) - len(PAIR_SCALE) - 2
    return Addition(codes, scale, rest[:split], rest[split:-2], float(rest[-2]), float(rest[-1]))


def balanced_folds(labels: NDArray[Any], groups: Sequence[str], folds: int) -> Rows:
    """A fold for each row: groups whole, both classes spread evenly, the same for the same rows in any order."""
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    found = np.zeros(len(groups), np.intp)
    sizes = np.zeros((2, folds), np.intp)
    for group in sorted(members, key=lambda name: (-len(members[name]), name)):
        rows = members[group]
        kind = int(2 * np.sum(labels[rows]) >= len(rows))
        fold = int(sizes[kind].argmin())
        found[rows] = fold
        sizes[kind, fold] += len(rows)
    return found


def plain_text(text: str) -> str:
    """The text less its case and spacing: texts that are the same by this are copies."""
    return " ".join(text.lower().split())


def group_of(text: str) -> str:
    """What texts share that must not be learnt from and measured on: their beginning."""
    return plain_text(text)[:STARTS_ALIKE]
