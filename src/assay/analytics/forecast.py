"""What will be spent by the end of a period, and how sure that is, from the costs of the days before.

In: the cost of each hour of the last whole days, and of the hours that are to come. Out: the expected sum, a 95% range,
and the chance to pass an amount.

Method: the cost of an hour to come is the mean of that hour on past days of its weekday (of all days, while there are
fewer than two weeks). Days above five times the median day count as that much. Around that expectation the rest of the
period is drawn 2,000 times: each day times a past day's ratio to what was expected of it (a bootstrap of multiplicative
residuals: Davison and Hinkley, Bootstrap Methods, 1997, ch. 6), all of it times a level that varies as past weeks did
and is itself only estimated (Student's t).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from assay.quality.intervals import UNKNOWN, Interval

Floats = NDArray[np.float64]

HISTORY_DAYS = 28
WEEKDAYS_FROM = 14
"""Days of history from which weekdays are told apart."""
FEWEST_DAYS = 7
"""With fewer whole days before today nothing is foretold but the same rate, and no range."""
OUTLIER = 5.0
DRAWS = 2000
CALM = 0.05
"""So much the costs of weeks differ at least: two or three alike do not say that the next will be."""


class Forecast(NamedTuple):
    """US dollars that are still to be spent: `expected`, its range, and the expected cost of each hour to come."""

    expected: float
    interval: Interval
    hours: Floats
    draws: Floats

    def chance(self, left: float) -> float | None:
        """How likely more than `left` will be spent, 0..1; None where the range is not known."""
        return float(np.mean(self.draws > left)) if len(self.draws) else None


def forecast(past: Floats, weekdays: NDArray[np.intp], coming: NDArray[np.intp], fraction: float) -> Forecast:
    """The costs of the hours `coming`, as places in a week (0 is Monday's first hour), in order of time.

    `past` has a row of 24 hours for each whole day before today, `weekdays` that day's (0 Monday). The first of the
    coming hours counts by `fraction`, 0..1: it has begun.
    """
    shape = _expected_week(_without_outliers(past), weekdays)
    hours = shape[coming // 24, coming % 24].astype(float)
    if len(hours):
        hours[0] *= fraction
    expected = float(hours.sum())
    if len(past) < FEWEST_DAYS or not len(hours):
        return Forecast(expected, UNKNOWN if len(hours) else Interval(0.0, 0.0), hours, np.array([]))
    draws = _drawn(past, weekdays, shape, _by_day(hours, coming))
    low, high = np.quantile(draws, (0.025, 0.975))
    return Forecast(expected, Interval(float(low), float(high)), hours, draws)


def _expected_week(past: Floats, weekdays: NDArray[np.intp]) -> Floats:
    """The mean cost of each weekday's hours: 7 rows of 24."""
    if not len(past):
        return np.zeros((7, 24))
    if len(past) < WEEKDAYS_FROM:
        return np.tile(past.mean(axis=0), (7, 1))
    return np.stack([past[weekdays == day].mean(axis=0) for day in range(7)])


def _without_outliers(past: Floats) -> Floats:
    totals = past.sum(axis=1)
    most = OUTLIER * float(np.median(totals)) if len(past) else 0.0
    scale = np.where((totals > most) & (most > 0), most / np.maximum(totals, 1e-300), 1.0)
    return past * scale[:, None]


def _by_day(hours: Floats, coming: NDArray[np.intp]) -> Floats:
    """The expected cost of each day to come; the first may be the rest of today."""
    starts = np.flatnonzero(np.diff(coming // 24, prepend=-1))
    return np.add.reduceat(hours, starts)


def _drawn(past: Floats, weekdays: NDArray[np.intp], shape: Floats, days: Floats) -> Floats:
    generator = np.random.default_rng(20261124)
    ratios = _ratios(past, weekdays, shape)
    of_days = generator.choice(ratios, (DRAWS, len(days))) @ days
    weeks = len(past) // 7
    of_a_day = float(ratios.var())
    # Days alone make weeks differ by a seventh of their variance.
    of_a_week = max(_weekly_variance(past) - of_a_day / 7, CALM**2)
    level = math.sqrt(of_a_week * (1 + 1 / weeks) + of_a_day / len(ratios))
    return of_days * np.exp(level * generator.standard_t(max(weeks, 3), DRAWS))


def _ratios(past: Floats, weekdays: NDArray[np.intp], shape: Floats) -> Floats:
    """Past days beside what was expected of them, with mean 1; spread as what the means took from them asks for."""
    expected = shape.sum(axis=1)[weekdays]
    known = expected > 0
    if not known.any():
        return np.ones(1)
    ratios = past.sum(axis=1)[known] / expected[known]
    fitted = 7 if len(past) >= WEEKDAYS_FROM else 1
    wider = np.sqrt(len(ratios) / max(len(ratios) - fitted, 1))
    return np.maximum(1 + (ratios - ratios.mean()) * wider, 0.0)


def _weekly_variance(past: Floats) -> float:
    """The variance of the logarithm of whole weeks' costs; 0 where there are fewer than two."""
    weeks = len(past) // 7
    totals = past[len(past) - 7 * weeks :].reshape(weeks, 7 * 24).sum(axis=1)
    totals = totals[totals > 0]
    return float(np.var(np.log(totals), ddof=1)) if len(totals) > 1 else 0.0
