"""How sure a mean is: 95% intervals for scores, from sums that the store can make.

In: figures of a sample, or counts and sums of random groups of it. Out: low and high, None where the sample cannot
tell. Calls of one session are alike, so rows must not be taken as independent: they are dealt into groups by
the hash of their session, and the spread between the groups' totals gives the variance (random groups: Wolter,
Introduction to Variance Estimation, 2007, ch. 2).
"""

from __future__ import annotations

import math
from typing import NamedTuple

_Z = 1.959964
_FIRST_T = (math.inf, 12.7062, 4.3027, 3.1824, 2.7764)
_CONSTANT = 1e-12


class Interval(NamedTuple):
    """Both ends, or None and None where no interval is known."""

    low: float | None
    high: float | None


UNKNOWN = Interval(None, None)


def t_quantile(degrees: float) -> float:
    """The 97.5% quantile of Student's t, to three places. Abramowitz and Stegun, 26.7.5."""
    if degrees < len(_FIRST_T):
        return _FIRST_T[max(int(degrees), 0)]
    z = _Z
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92_160,
    )
    return z + sum(term / degrees ** (power + 1) for power, term in enumerate(terms))


def wilson(share: float, n: float, t: float = _Z) -> Interval:
    """Wilson's interval (1927) of a share of `n` cases; UNKNOWN where there is none."""
    if n <= 0 or math.isinf(t):
        return UNKNOWN
    wide = t * t / n
    middle, half = share + wide / 2, t * math.sqrt(share * (1 - share) / n + wide / (4 * n))
    # Rounding must not leave the share itself outside.
    low, high = min((middle - half) / (1 + wide), share), max((middle + half) / (1 + wide), share)
    return Interval(max(low, 0.0), min(high, 1.0))


def mean_interval(mean: float, variance: float, degrees: float, *, unit: bool = True) -> Interval:
    """Interval of a mean whose variance was estimated with so many degrees of freedom.

    `unit` says that no value lies outside 0..1. Then it is Wilson's with as many cases as a share of that variance
    would have (the effective sample size: Dean and Pagano, 2015; Franco et al., 2019): exactly Wilson's for
    0/1 values, close to Student's for values that vary little, within 0..1 and lopsided where most values lie at one
    end. Values that are all the same count as one case a degree of freedom. Other values have Student's interval.
    """
    t = t_quantile(degrees)
    if math.isinf(t):
        return UNKNOWN
    if not unit:
        return Interval(mean - t * math.sqrt(variance), mean + t * math.sqrt(variance))
    cases = mean * (1 - mean) / variance if variance > _CONSTANT else degrees + 1
    return wilson(mean, cases, t)


def variance_of_mean(groups: int, c: float, t: float, tt: float, tc: float, cc: float) -> tuple[float, int]:
    """Variance of the mean over all rows, and its degrees of freedom (0 where one group cannot tell).

    From `groups` random groups that hold a value: sums over them of count (c), total (t) and their products.
    """
    if groups < 2:
        return 0.0, 0
    mean = t / c
    squares = max(tt - 2 * mean * tc + mean * mean * cc, 0.0)
    return squares / c**2 * groups / (groups - 1), groups - 1
