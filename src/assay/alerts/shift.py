"""Sequential change detection: a one-sided cumulative sum (CUSUM) with a stated mean time between false alarms.

E. S. Page, Continuous inspection schemes, Biometrika 41 (1954). Each call adds how many standard deviations it is
beyond what is usual, less half the shift that is looked for; the sum never falls below zero, and a shift is told
once it is above a threshold. Calls come in buckets, whose sums add up to the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from assay.alerts.series import Floats

LARGEST_STEP = 1 / 3
"""Of the threshold: what one bucket may add, so that one outlier or one moment alone tells nothing."""
HELD = 1.25
"""Of the threshold: the sum is held there, so that it comes down soon after all is well again."""
RELEASED = 0.5
"""Of the threshold: below it a shift is over."""

_ROUNDS = 30


def threshold_for(slack: Floats, calls: Floats) -> Floats:
    """The threshold (in standard deviations) at which false alarms are `calls` calls apart in the mean.

    Siegmund's approximation (Sequential Analysis, 1985, ch. 2) for independent normal values,
    calls = (exp(2 k b) - 2 k b - 1) / (2 k^2) with b = h + 1.166, solved for h by fixed-point steps.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        wanted = np.maximum(calls, 1000.0) * 2 * slack**2
        exponent = np.log(wanted + 1)
        for _ in range(_ROUNDS):
            exponent = np.log(wanted + exponent + 1)
        return np.maximum(exponent / (2 * slack) - 1.166, 1.0)


def crossings(excess: Floats, limit: Floats) -> tuple[Floats, NDArray[np.int8]]:
    """The cumulative sum after each bucket, and whether it has crossed the threshold and not come down again.

    Where the threshold is NaN nothing is known yet, and the sum begins anew.
    """
    sums, held = np.zeros(len(excess)), np.zeros(len(excess), np.int8)
    total, beyond = 0.0, 0
    for i, (more, at) in enumerate(zip(excess.tolist(), limit.tolist(), strict=True)):
        if at != at or more != more:
            total, beyond = (0.0, 0) if at != at else (total, beyond)
        else:
            total = min(max(total + min(more, at * LARGEST_STEP), 0.0), at * HELD)
            if total >= at:
                beyond = 1
            elif total < at * RELEASED:
                beyond = 0
        sums[i], held[i] = total, beyond
    return sums, held
