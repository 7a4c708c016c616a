"""The lab's classical model, and a clinic that uses it: a forest that tells benign from malignant tumours.

In: a clock, and what to do with cases and with what turned out. Out: a believable day of them: busy and quiet hours,
some patients measured twice, labels hours later when the biopsy is back, now and then an input that is wrong, and from
some moment on a scanner that was recalibrated and measures everything larger. The data is scikit-learn's own
(Wolberg, Street and Mangasarian, 1993); nothing is downloaded.
"""

from __future__ import annotations

import heapq
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Event
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from assay.simulate.traffic import hour_of, rhythm

FEATURES = 10
STEP_SECONDS = 0.25
PEAK_CASES_PER_HOUR = 200.0
STEADY_CASES_PER_SECOND = 0.5

RECALIBRATED = {"mean radius": 1.4, "mean perimeter": 1.4, "mean area": 1.96}
"""What a scanner that reads 40% too long does to lengths, and to areas."""

LABELLED_SHARE = 0.85
LABEL_HOURS = (2.0, 8.0)
STEADY_LABEL_SECONDS = (20.0, 120.0)
REPEATED_SHARE = 0.25
WRONG_SHARE = 0.01

Floats = NDArray[np.float64]


class Lab(NamedTuple):
    """The lab's split of the data, with 0 for malignant and 1 for benign, and its forest."""

    forest: Any
    train: Floats
    train_labels: NDArray[np.int64]
    test: Floats
    test_labels: NDArray[np.int64]
    feature_names: list[str]


def lab_forest() -> Lab:
    """Train the lab's model: 100 trees on the first ten features, 80% of the rows. Takes about a second."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import train_test_split

    data: Any = load_breast_cancer()
    split = train_test_split(data.data[:, :FEATURES], data.target, test_size=0.2, random_state=42)
    train, test, train_labels, test_labels = (np.asarray(part) for part in split)
    forest = RandomForestClassifier(n_estimators=100, random_state=42).fit(train, train_labels)
    return Lab(forest, train, train_labels, test, test_labels, [str(name) for name in data.feature_names[:FEATURES]])


def screen(
    lab: Lab,
    predict: Callable[[Floats, Sequence[str]], object],
    label: Callable[[Sequence[str], Sequence[int], float], object],
    *,
    clock: Callable[[], float],
    recalibrated_at: float,
    stopping: Event,
    seed: int = 0,
) -> None:
    """Have cases predicted, and later labelled, until `stopping`.

    `predict` gets rows and a key each, `label` keys, classes and when they became known; `clock` gives Unix seconds,
    which may pass faster than real ones. What `predict` raises about a wrong input is left to whoever logs it.
    """
    clinic = _Clinic(lab, seed, recalibrated_at)
    now = clock()
    while not stopping.wait(STEP_SECONDS):
        before, now = now, clock()
        lapse = now - before > 4 * STEP_SECONDS
        rows, keys = clinic.cases(now, _expected(now, now - before, lapse=lapse), lapse=lapse)
        if keys:
            predict(rows, keys)
        if wrong := clinic.wrong_input(len(keys)):
            with suppress(ValueError):
                predict(*wrong)
        if known := clinic.labels(now):
            label(*known, now)


def _expected(now: float, elapsed_s: float, *, lapse: bool) -> float:
    """How many cases come in so many seconds; none where the clock was set back to begin."""
    if lapse:
        return elapsed_s / 3600 * PEAK_CASES_PER_HOUR * rhythm(hour_of(now))
    return max(elapsed_s, 0.0) * STEADY_CASES_PER_SECOND


class _Clinic:
    """Cases drawn from the test set, and biopsies that are on their way."""

    def __init__(self, lab: Lab, seed: int, recalibrated_at: float) -> None:
        self._lab = lab
        self._rng = np.random.default_rng(seed)
        self._recalibrated_at = recalibrated_at
        self._factors = np.array([RECALIBRATED.get(name, 1.0) for name in lab.feature_names])
        self._run = secrets.token_hex(2)
        self._number = 0
        self._biopsies: list[tuple[float, str, int]] = []

    def cases(self, now: float, expected: float, *, lapse: bool) -> tuple[Floats, list[str]]:
        """Rows and keys of the cases that come now; most are known patients' measures with a little noise."""
        drawn = self._rng.integers(len(self._lab.test), size=self._rng.poisson(expected))
        rows = self._lab.test[drawn]
        noise = self._rng.normal(1.0, 0.01, rows.shape)
        noise[self._rng.random(len(rows)) < REPEATED_SHARE] = 1.0
        rows = rows * noise * (self._factors if now >= self._recalibrated_at else 1.0)
        keys = [self._next_key() for _ in drawn]
        for key, case in zip(keys, drawn.tolist(), strict=True):
            if self._rng.random() < LABELLED_SHARE:
                low, high = (3600 * np.array(LABEL_HOURS)) if lapse else STEADY_LABEL_SECONDS
                heapq.heappush(
                    self._biopsies, (now + self._rng.uniform(low, high), key, int(self._lab.test_labels[case]))
                )
        return rows, keys

    def wrong_input(self, cases: int) -> tuple[Floats, list[str]] | None:
        """Now and then an input with a value missing, one infinite, or one column too few."""
        if self._rng.random() > WRONG_SHARE * cases:
            return None
        row = self._lab.test[[self._rng.integers(len(self._lab.test))]].copy()
        match int(self._rng.integers(3)):
            case 0:
                row[0, 1] = np.nan
            case 1:
                row[0, 3] = np.inf
            case _:
                row = row[:, :-1]
        return row, [self._next_key()]

    def labels(self, now: float) -> tuple[list[str], list[int]] | None:
        """Keys and classes of the biopsies that are back."""
        known = list[tuple[str, int]]()
        while self._biopsies and self._biopsies[0][0] <= now:
            _, key, found = heapq.heappop(self._biopsies)
            known.append((key, found))
        return ([key for key, _ in known], [found for _, found in known]) if known else None

    def _next_key(self) -> str:
        self._number += 1
        return f"case-{self._run}-{self._number}"
