"""By how much two independent samples differ: estimates that know how sure they are, and their difference.

In: counts and totals of random groups of each sample, dealt by session (analytics/means.py). Out: estimates with a
95% interval of their own, and from two of them the interval of their difference by the method of variance estimates
recovery (MOVER: Zou and Donner, 2008), which for two shares is Newcombe's method 10 (1998). It keeps what a
sum of variances would lose: that the intervals of shares and of skewed means are lopsided.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from assay.quality.intervals import UNKNOWN, Interval, mean_interval, t_quantile, variance_of_mean

Floats = NDArray[np.float64]

FEWEST_GROUPS = 5
"""Fewer groups (sessions) than this tell next to nothing of their spread: no interval is given."""


class Sums(NamedTuple):
    """Of each random group how many values it has (all above 0) and what they sum up to."""

    counts: Floats
    totals: Floats

    @property
    def n(self) -> int:
        """How many values there are."""
        return int(self.counts.sum())


class Estimate(NamedTuple):
    """A figure of `n` values, and its 95% interval; None where it is not known."""

    n: int
    value: float | None
    interval: Interval = UNKNOWN


def sums(counts: list[float], totals: list[float]) -> Sums:
    """The groups that have a value."""
    count, total = np.array(counts, float), np.array(totals, float)
    return Sums(count[count > 0], total[count > 0])


def bounded_mean(of: Sums, *, unit: bool = True) -> Estimate:
    """A share, or a mean of values within 0..1 (`unit`); of any others the interval is Student's."""
    if not of.n:
        return Estimate(0, None)
    mean, variance, degrees = _mean(of)
    known = degrees + 1 >= FEWEST_GROUPS
    return Estimate(of.n, mean, mean_interval(mean, variance, degrees, unit=unit) if known else UNKNOWN)


def skewed_mean(of: Sums) -> Estimate:
    """A mean of values from 0 upward with a long tail, such as costs and latencies.

    Student's interval of its logarithm by the delta method (Lehmann, Elements of Large-Sample Theory, 1999, 2.5): the
    tail makes the mean's own distribution lopsided, and its logarithm's much less so.
    """
    if not of.n:
        return Estimate(0, None)
    mean, variance, degrees = _mean(of)
    if degrees + 1 < FEWEST_GROUPS:
        return Estimate(of.n, mean)
    factor = math.exp(t_quantile(degrees) * math.sqrt(variance) / mean) if mean > 0 else 1.0
    return Estimate(of.n, mean, Interval(mean / factor, mean * factor))


def quantile(level: float, value: float, below: Sums, levels: Floats, values: Floats) -> Estimate:
    """A quantile with Woodruff's interval (1952), which needs no density.

    `below` counts in each group the values up to `value`, the sample's quantile at `level`: that share's spread between
    groups says between which levels the true quantile may stand in this sample. `values` are the sample's quantiles at
    `levels`. The interval is unknown where it would reach beyond the sample's largest value.
    """
    if not below.n:
        return Estimate(0, None)
    _, variance, degrees = _mean(below)
    # Where the largest values are all the same, no group has one above, and the spread is that of single cases.
    variance = variance or level * (1 - level) / below.n
    half = t_quantile(degrees) * math.sqrt(variance) if degrees + 1 >= FEWEST_GROUPS else math.inf
    if not levels[0] <= level - half < level + half <= levels[-1]:
        return Estimate(below.n, value)
    low, high = np.interp((level - half, level + half), levels, values)
    return Estimate(below.n, value, Interval(float(low), float(high)))


def difference(before: Estimate, after: Estimate) -> Interval:
    """95% interval of after - before; UNKNOWN where one of the estimates has none."""
    match before, after:
        case (
            Estimate(_, float(one), Interval(float(one_low), float(one_high))),
            Estimate(_, float(other), Interval(float(other_low), float(other_high))),
        ):
            found = other - one
            down = math.hypot(other - other_low, one_high - one)
            up = math.hypot(other_high - other, one - one_low)
            return Interval(found - down, found + up)
        case _:
            return UNKNOWN


def _mean(of: Sums) -> tuple[float, float, int]:
    """The mean, its variance and the degrees of freedom of that."""
    c, t = of
    variance, degrees = variance_of_mean(len(c), *map(float, (c.sum(), t.sum(), t @ t, t @ c, c @ c)))
    return float(t.sum() / c.sum()), variance, degrees
