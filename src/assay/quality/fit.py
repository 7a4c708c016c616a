"""Fit scores to a project: retrain its toxicity on its own labels, and move every score's threshold.

In: labelled conversations of one metric. Out: a Fit to store, with a report of the figures before and after on rows
that it did not learn from. Rows of another split than "train" are held out where both exist (and never learnt from); else
every row is held out once, by four fits that each leave a quarter out (of more than MOST_CROSSED rows only one quarter is).
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.errors import AssayError
from assay.quality.decisions import (
    DEFAULT_THRESHOLD,
    Figures,
    Interval,
    best_threshold,
    figures,
    threshold_interval,
)
from assay.quality.fitted import FIELDS, Addition, Features, features, shipped_evidence
from assay.quality.labels import Labelled
from assay.quality.learn import Rows, addition, balanced_folds, group_of, learn, learner
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


class Case(msgspec.Struct, frozen=True):
    """A labelled text with the shipped score's value."""

    text: str
    label: bool
    split: str
    value: float


class Fitter:
    """Fits with the scorers that ship; takes 0.1 s to make. Send it to a process of its own, it works for seconds."""

    def __init__(self) -> None:
        self._scorers = {one.name: one for one in scorers("local")}

    def fit(self, project: str, metric: str, rows: Sequence[Labelled], author: str = "") -> Outcome:
        """Raises TooFewLabels."""
        started = time.perf_counter()
        scorer = self._scorers[metric]
        cases = _cases(scorer, rows)
        _require_enough(metric, cases, len(rows))
        labels = np.array([case.label for case in cases])
        values = np.array([case.value for case in cases])
        texts = [group_of(case.text) for case in cases]
        splits, left_out, how = _splits(cases, labels, texts)
        found = [features(scorer.words, case.text) for case in cases] if isinstance(scorer, Toxicity) else []
        held = np.concatenate([outside for _, outside in splits])
        after, thresholds = values.copy(), np.full(len(cases), DEFAULT_THRESHOLD)
        for inside, outside in splits:
            final = _fitted(found, values, labels, texts, inside)
            after[outside], thresholds[outside] = final.values(found, values, outside), final.threshold
        if how != SPLIT:
            final = _fitted(found, values, labels, texts, np.arange(len(cases)))
        was, now = figures(labels[held], values[held]), figures(labels[held], after[held], thresholds[held])
        weights = final.addition.packed() if final.addition else b""
        report = Report(
            metric=metric,
            n=len(cases),
            positives=int(labels.sum()),
            not_assessable=len(rows) - len(cases),
            n_held_out=len(held),
            left_out=left_out,
            how=how,
            before=was,
            after=now,
            threshold=round(final.threshold, 4),
            threshold_interval=threshold_interval(final.labels, final.out_of_fold),
            penalty=final.penalty,
            worse=_worse(was, now, learnt=bool(weights)),
            seconds=round(time.perf_counter() - started, 2),
        )
        stable = msgspec.structs.replace(report, seconds=0.0)
        version = version_of(scorer.version, weights, msgspec.json.encode(stable))
        encoded = msgspec.json.encode(report).decode()
        return Outcome(
            Fit(
                project=project,
                metric=metric,
                version=version,
                threshold=report.threshold,
                weights=weights,
                report=encoded,
                author=author,
            ),
            report,
        )


class _Fitted(msgspec.Struct, frozen=True):
    """What some rows teach: an addition (toxicity only) and a threshold."""

    addition: Addition | None
    threshold: float
    penalty: float | None
    labels: NDArray[np.bool_]
    out_of_fold: Doubles

    def values(self, found: Sequence[Features], shipped: Doubles, rows: Rows) -> Doubles:
        """The score's values of these rows."""
        if self.addition is None:
            return shipped[rows]
        evidence = [self.addition.evidence(found[row], shipped_evidence(shipped[row])) for row in rows]
        return _probabilities(np.array(evidence))


def _fitted(
    found: Sequence[Features], shipped: Doubles, labels: NDArray[np.bool_], groups: Sequence[str], rows: Rows
) -> _Fitted:
    own = labels[rows]
    if not found:
        return _Fitted(None, best_threshold(own, shipped[rows]), None, own, shipped[rows])
    examples, columns = learner([found[row] for row in rows], [shipped_evidence(shipped[row]) for row in rows])
    learnt = learn(examples, own, [groups[row] for row in rows])
    out_of_fold = _probabilities(learnt.out_of_fold)
    return _Fitted(
        addition(learnt.weights, columns), best_threshold(own, out_of_fold), learnt.penalty, own, out_of_fold
    )


def _probabilities(evidence: NDArray[np.floating]) -> Doubles:
    return 1 / (1 + np.exp(-np.clip(evidence.astype(np.float64), -60, 60)))


def _cases(scorer: Scorer, rows: Sequence[Labelled]) -> list[Case]:
    """The rows that the shipped score can assess, in an order that does not depend on theirs."""
    field = FIELDS.get(scorer.name, "response")
    found: list[Case] = []
    for row in rows:
        value = assess([scorer], row.conversation)[scorer.name].value
        if value is not None:
            found.append(Case(getattr(row.conversation, field), row.label, row.split, value))
    return sorted(found, key=lambda case: (case.text, case.label, case.split))


def _require_enough(metric: str, cases: Sequence[Case], given: int) -> None:
    yes = sum(case.label for case in cases)
    no = len(cases) - yes
    if min(yes, no) >= FEWEST:
        return
    kinds = ("toxic", "harmless") if metric in FIELDS else ("good", "bad")
    lacking = " and ".join(
        f"{FEWEST - count} more {kind}" for count, kind in zip((yes, no), kinds, strict=True) if count < FEWEST
    )
    skipped = f" ({given - len(cases)} more cannot be assessed)" if given > len(cases) else ""
    raise TooFewLabels(
        f"too few labels to fit {metric}: {yes} {kinds[0]} and {no} {kinds[1]}{skipped}. At least {FEWEST} of each are "
        f"needed: label {lacking}"
    )


def _splits(
    cases: Sequence[Case], labels: NDArray[np.bool_], groups: Sequence[str]
) -> tuple[list[tuple[Rows, Rows]], int, str]:
    """What is learnt from and what is held out; how many rows were left out as copies; and how it was split."""
    train = np.array([case.split == "train" for case in cases])
    if _usable(labels, train):
        known = {" ".join(cases[row].text.lower().split()) for row in np.flatnonzero(train)}
        others = np.flatnonzero(~train)
        kept = [row for row in others if " ".join(cases[row].text.lower().split()) not in known]
        return [(np.flatnonzero(train), np.array(kept, np.intp))], len(others) - len(kept), SPLIT
    folds = balanced_folds(labels, groups, QUARTERS)
    quarters = [(np.flatnonzero(folds != at), np.flatnonzero(folds == at)) for at in range(QUARTERS)]
    crossed = len(cases) <= MOST_CROSSED
    return (quarters, 0, "four quarters") if crossed else (quarters[:1], 0, "one quarter")


def _usable(labels: NDArray[np.bool_], train: NDArray[np.bool_]) -> bool:
    """Whether the splits that the rows name leave enough to learn from and both kinds to measure on."""
    inside, outside = labels[train], labels[~train]
    enough = min(inside.sum(), (~inside).sum()) >= FEWEST if len(inside) else False
    return bool(enough and outside.any() and not outside.all())


def _worse(was: Figures, now: Figures, *, learnt: bool) -> bool:
    before, after = (one.auroc if learnt else one.balanced_accuracy for one in (was, now))
    return before.value is not None and (after.value is None or after.value < before.value)
