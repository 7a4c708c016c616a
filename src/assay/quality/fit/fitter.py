"""Fit scores to a project: retrain its toxicity on its own labels, and move every score's threshold.

In: labelled conversations of one metric. Out: a Fit to store, with a report of the figures before and after on rows
that it did not learn from. Where rows name the split "train" and others, the others are held out and never learnt
from; else every row is held out once, by four fits that each leave a quarter out (of more than MOST_CROSSED rows one
quarter is), and what is kept has learnt from all.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.errors import AssayError
from assay.quality.fit.decisions import (
    DEFAULT_THRESHOLD,
    Figures,
    Interval,
    best_threshold,
    figures,
    threshold_interval,
)
from assay.quality.fit.fitted import FIELDS, Addition, Features, features, shipped_evidence
from assay.quality.fit.labels import Labelled
from assay.quality.fit.learn import Labels, Rows, addition, balanced_folds, group_of, learn, learner, plain_text
from assay.quality.scorer import Scorer, assess, version_of
from assay.quality.sets import scorers
from assay.quality.toxicity import Toxicity
from assay.store.fits import Fit

FEWEST = 10
"""Labels of the rarer kind below which nothing is fitted."""

SPLIT = "as the rows say"
QUARTERS = 4
MOST_CROSSED = 1_000

Doubles = NDArray[np.float64]


class TooFewLabels(AssayError):
    """Not enough labels to fit; the message says how many there are and what is missing."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a fit changes. `before` is the shipped score at 0.5; figures are those of the `n_held_out` rows.

    `n` counts the labels that were assessed, `positives` those of them that say yes; `left_out` rows have the text
    of one that was learnt from. `penalty` is the strength of the shrinkage towards the shipped score, None where
    only the threshold moves. `worse`: on the held-out rows it is not as good as what ships.
    """

    metric: str
    n: int
    positives: int
    not_assessable: int
    n_held_out: int
    left_out: int
    how: str
    before: Figures
    after: Figures
    threshold: float
    threshold_interval: Interval
    penalty: float | None
    worse: bool
    seconds: float


class Outcome(msgspec.Struct, frozen=True):
    """A fit to keep, and its report."""

    fit: Fit
    report: Report


class Fitter:
    """Fits with the scorers that ship; takes 0.1 s to make. Send it to a process of its own, it works for seconds."""

    def __init__(self) -> None:
        self._scorers = {one.name: one for one in scorers("local")}

    def fit(self, project: str, metric: str, rows: Sequence[Labelled], author: str = "") -> Outcome:
        """What these labels teach. Raises TooFewLabels."""
        started = time.perf_counter()
        scorer = self._scorers[metric]
        cases = _cases(scorer, rows)
        positives, unknown = int(cases.labels.sum()), len(rows) - len(cases.labels)
        require_enough(metric, positives, len(cases.labels) - positives, unknown)
        splits, left_out, how = _splits(cases)
        values, thresholds = cases.values.copy(), np.full(len(cases.labels), DEFAULT_THRESHOLD)
        taught = [_taught(cases, inside) for inside, _ in splits]
        for one, (_, outside) in zip(taught, splits, strict=True):
            values[outside], thresholds[outside] = one.values(cases, outside), one.threshold
        held = np.concatenate([outside for _, outside in splits])
        before = figures(cases.labels[held], cases.values[held])
        after = figures(cases.labels[held], values[held], thresholds[held])
        final = taught[0] if how == SPLIT else _taught(cases, np.arange(len(cases.labels)))
        report = Report(
            metric=metric,
            n=len(cases.labels),
            positives=positives,
            not_assessable=unknown,
            n_held_out=len(held),
            left_out=left_out,
            how=how,
            before=before,
            after=after,
            threshold=round(final.threshold, 4),
            threshold_interval=threshold_interval(final.labels, final.out_of_fold),
            penalty=final.penalty,
            worse=_worse(before, after, learnt=final.addition is not None),
            seconds=round(time.perf_counter() - started, 2),
        )
        weights = final.addition.packed() if final.addition else b""
        fit = Fit(
            project=project,
            metric=metric,
            version=version_of(scorer.version, weights, repr(report.threshold)),
            threshold=report.threshold,
            weights=weights,
            report=msgspec.json.encode(report).decode(),
            author=author,
        )
        return Outcome(fit, report)


def require_enough(metric: str, yes: int, no: int, not_assessable: int = 0) -> None:
    """Raises TooFewLabels where either kind has less than FEWEST."""
    if min(yes, no) >= FEWEST:
        return
    kinds = {"toxic": yes, "harmless": no} if metric in FIELDS else {"good": yes, "bad": no}
    lacking = " and ".join(f"{FEWEST - count} more {kind}" for kind, count in kinds.items() if count < FEWEST)
    skipped = f" ({not_assessable} more cannot be assessed)" if not_assessable else ""
    there = " and ".join(f"{count} {kind}" for kind, count in kinds.items())
    raise TooFewLabels(
        f"too few labels to fit {metric}: {there}{skipped}. At least {FEWEST} of each are needed: label {lacking}"
    )


class _Cases(msgspec.Struct, frozen=True):
    """What the shipped score can assess, row by row; `features` only where there is something to learn from them."""

    texts: list[str]
    labels: Labels
    train: Labels
    values: Doubles
    features: list[Features]

    @property
    def evidence(self) -> Doubles:
        """Evidence behind the shipped values."""
        return np.array([shipped_evidence(value) for value in self.values.tolist()])


class _Taught(msgspec.Struct, frozen=True):
    """What some rows teach: an addition (toxicity only) and a threshold, by values that did not see their own label."""

    addition: Addition | None
    threshold: float
    penalty: float | None
    labels: Labels
    out_of_fold: Doubles

    def values(self, cases: _Cases, rows: Rows) -> Doubles:
        """The score's values of these rows."""
        if self.addition is None:
            return cases.values[rows]
        pairs = zip(rows.tolist(), cases.evidence[rows].tolist(), strict=True)
        return _probabilities(np.array([self.addition.evidence(cases.features[row], own) for row, own in pairs]))


def _taught(cases: _Cases, rows: Rows) -> _Taught:
    labels = cases.labels[rows]
    if not cases.features:
        values = cases.values[rows]
        return _Taught(None, best_threshold(labels, values), None, labels, values)
    examples, columns = learner([cases.features[row] for row in rows.tolist()], cases.evidence[rows])
    learnt = learn(examples, labels, [group_of(cases.texts[row]) for row in rows.tolist()])
    values = _probabilities(learnt.out_of_fold)
    added = addition(learnt.weights, columns)
    return _Taught(added, best_threshold(labels, values), learnt.penalty, labels, values)


def _probabilities(evidence: NDArray[np.floating[Any]]) -> Doubles:
    return 1 / (1 + np.exp(-np.clip(evidence.astype(np.float64), -60, 60)))


def _cases(scorer: Scorer, rows: Sequence[Labelled]) -> _Cases:
    """The rows that the shipped score can assess, in an order that does not depend on theirs."""
    field = FIELDS.get(scorer.name, "response")
    found: list[tuple[str, bool, str, float]] = []
    for row in rows:
        value = assess([scorer], row.conversation)[scorer.name].value
        if value is not None:
            found.append((getattr(row.conversation, field), row.label, row.split, value))
    found.sort()
    return _Cases(
        texts=[text for text, *_ in found],
        labels=np.array([label for _, label, _, _ in found], bool),
        train=np.array([split == "train" for *_, split, _ in found], bool),
        values=np.array([value for *_, value in found]),
        features=[features(scorer.words, text) for text, *_ in found] if isinstance(scorer, Toxicity) else [],
    )


def _splits(cases: _Cases) -> tuple[list[tuple[Rows, Rows]], int, str]:
    """What is learnt from and what is held out; how many rows were left out as copies; and how it was split."""
    if _usable(cases.labels, cases.train):
        plain = [plain_text(text) for text in cases.texts]
        known = {plain[row] for row in np.flatnonzero(cases.train).tolist()}
        others = np.flatnonzero(~cases.train).tolist()
        kept = [row for row in others if plain[row] not in known]
        return [(np.flatnonzero(cases.train), np.array(kept, np.intp))], len(others) - len(kept), SPLIT
    folds = balanced_folds(cases.labels, [group_of(text) for text in cases.texts], QUARTERS)
    quarters = [(np.flatnonzero(folds != at), np.flatnonzero(folds == at)) for at in range(QUARTERS)]
    if len(cases.texts) <= MOST_CROSSED:
        return quarters, 0, "each quarter once"
    return quarters[:1], 0, "a quarter"


def _usable(labels: Labels, train: Labels) -> bool:
    """Whether the splits that the rows name leave enough to learn from and both kinds to measure on."""
    inside, outside = labels[train], labels[~train]
    return min(inside.sum(), (~inside).sum()) >= FEWEST and bool(outside.any() and not outside.all())


def _worse(was: Figures, now: Figures, *, learnt: bool) -> bool:
    before, after = (one.auroc if learnt else one.balanced_accuracy for one in (was, now))
    return before.value is not None and (after.value is None or after.value < before.value)
