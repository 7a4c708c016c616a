"""Whether a rule's condition holds, at every moment of a series at once.

In: a rule and one group's Series. Out: a Judgement, arrays with a value for the end of each bucket. The live engine
looks at the last of them, replay and the benchmark at all: there is one code for both.
"""

from __future__ import annotations

import math
from functools import singledispatch

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.alerts.rules import (
    SCALE_METRICS,
    SHARE_METRICS,
    AbsentRule,
    AlertRule,
    BaselineRule,
    ShiftRule,
    SloRule,
    ThresholdRule,
)
from assay.alerts.series import Floats, Series
from assay.alerts.shift import crossings, threshold_for
from assay.alerts.statistics import (
    delayed,
    mean_interval,
    median_and_spread,
    percentile_interval,
    share_interval,
    sliding,
    sliding_largest,
)

States = NDArray[np.int8]
YES, NO, UNKNOWN = 1, 0, -1

DAY, WEEK = 86_400, 7 * 86_400
SEASONS = {"day": [DAY * days for days in range(1, 15)], "week": [WEEK * weeks for weeks in range(1, 6)]}
"""How long ago the same time of the rhythm was, in seconds."""
FEWEST_REFERENCES = 3
LEAST_SPREAD = 0.05
"""Of the usual value: days never repeat more closely, whatever few of them happen to say."""

REFERENCE_WINDOW = 3600
FEWEST_REFERENCE_CALLS = 30
FALLBACK_WINDOW, FALLBACK_LAG, FALLBACK_CALLS = DAY, 3 * 3600, 300
SMALLEST_SHIFT = 0.2
"""In standard deviations: a smaller one could only be told from daily drift after thousands of calls."""

BURN_RATES = ((3600, 300, 14.4), (21_600, 1800, 6.0))
"""Long window, short window, burn rate: 2% of a month's budget in an hour, 5% in six hours.

Google, The Site Reliability Workbook (2018), ch. 5, table 5-8; its third, for tickets, is left to the report."""


class Judgement(msgspec.Struct, frozen=True):
    """At the end of each bucket: whether the condition holds, and the figures by which it was decided.

    `low` and `high` are the ends of the value's interval, equal to it where it is exact. `usual` is what it is
    compared to. `margin` grows with the badness: for thresholds and baselines the condition is margin > limit.
    """

    state: States
    value: Floats
    low: Floats
    high: Floats
    n: Floats
    usual: Floats
    margin: Floats
    window: int


def lookback_seconds(rule: AlertRule) -> int:
    """How much history before a moment its judgement needs."""
    window = max(rule.window, rule.resolve_after)
    if isinstance(rule, SloRule):
        return BURN_RATES[-1][0] + window
    if isinstance(rule, BaselineRule | ShiftRule) or (isinstance(rule, AbsentRule) and rule.min_expected):
        return SEASONS[rule.season][-1] + window + DAY
    return 4 * window + rule.hold_seconds + 3600


@singledispatch
def judge(rule: AlertRule, series: Series) -> Judgement:
    """The rule's judgement at the end of each bucket of one group's series."""
    raise TypeError(f"no rule: {rule!r}")


@judge.register
def _(rule: ThresholdRule, series: Series) -> Judgement:
    n, value, low, high = _aggregate(rule, series, rule.confidence)
    margin = low if rule.above is not None else -high
    beyond = margin > (rule.limit if rule.above is not None else -rule.limit)
    return _judgement(rule, n, beyond, value, low, high, np.full(len(series), rule.limit), margin, rule.window)


@judge.register
def _(rule: BaselineRule, series: Series) -> Judgement:
    # One standard error, so that a window of few calls needs to be further off than one of many.
    n, value, low, high = _aggregate(rule, series, 0.6827)
    past = _past(np.where(n >= max(rule.needed, 1), value, np.nan), rule.season, series.step)
    usual, spread, known = median_and_spread(past)
    error = _standard_error(rule, series, low, high)
    # A median deviation of few days is itself unsure: Student's t instead of the normal, as for any small sample.
    scale = np.hypot(np.maximum(spread, LEAST_SPREAD * np.abs(usual)) * np.sqrt(1 + 4 / np.maximum(known, 1)), error)
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation, change = (value - usual) / scale, value / usual - 1
    side = {"above": (1,), "below": (-1,), "both": (1, -1)}[rule.direction]
    margin = np.max([np.where(sign * deviation > rule.deviations, sign * change, -np.inf) for sign in side], axis=0)
    enough = np.where(known >= FEWEST_REFERENCES, n, -1)
    reach = rule.deviations * scale
    judged = _judgement(rule, enough, margin > rule.change, value, usual - reach, usual + reach, usual, margin, rule.window)
    return msgspec.structs.replace(judged, n=n)


@judge.register
def _(rule: ShiftRule, series: Series) -> Judgement:
    step, sign = series.step, 1 if rule.direction == "up" else -1
    usual, deviation = _reference(rule, series)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = series.total / series.n
        moved = math.log(1 + sign * rule.change) if rule.metric in SCALE_METRICS else sign * rule.change * usual
        slack = np.maximum(np.abs(moved / deviation), SMALLEST_SHIFT) / 2
        excess = series.n * (sign * (mean - usual) / deviation - slack)
    volume = sliding(series.n, 7 * DAY // step) / np.minimum(np.arange(1, len(series) + 1), 7 * DAY // step)
    limit = threshold_for(slack, volume * rule.false_alarm_every / step)
    evidence, beyond = crossings(np.where(series.n > 0, excess, 0.0), limit)
    state = np.where(np.isnan(limit), UNKNOWN, beyond).astype(np.int8)
    shown = np.exp if rule.metric in SCALE_METRICS else np.asarray
    n, total, squares = (sliding(column, _width(rule.window, step)) for column in (series.n, series.total, series.squares))
    value, low, high = (shown(figure) for figure in mean_interval(n, total, squares, 0.99))
    return Judgement(state, value, low, high, n, shown(usual), evidence / limit, rule.window)


@judge.register
def _(rule: SloRule, series: Series) -> Judgement:
    bad = series.total if rule.metric in SHARE_METRICS else series.beyond
    budget = 1 - rule.objective
    beyond, margin = np.zeros(len(series), bool), np.zeros(len(series))
    for long, short, rate in BURN_RATES:
        n, hits = (sliding(column, _width(long, series.step)) for column in (series.n, bad))
        _, low, _ = share_interval(n, hits, 0.95)
        with np.errstate(invalid="ignore", divide="ignore"):
            now = sliding(bad, _width(short, series.step)) / sliding(series.n, _width(short, series.step))
        # The long window's share must be sure to burn that fast: a single failure at night is no outage.
        beyond |= (low > rate * budget) & (now > rate * budget)
        margin = np.maximum(margin, np.nan_to_num(np.minimum(low, now) / (rate * budget)))
    n, hits = (sliding(column, _width(BURN_RATES[0][0], series.step)) for column in (series.n, bad))
    value, low, high = share_interval(n, hits, 0.95)
    return _judgement(rule, n, beyond, value, low, high, np.full(len(series), budget), margin, BURN_RATES[0][0])


@judge.register
def _(rule: AbsentRule, series: Series) -> Judgement:
    n = sliding(series.n, _width(rule.window, series.step))
    expected = np.full(len(series), np.nan)
    seen = np.cumsum(series.n) > 0
    beyond = (n == 0) & seen
    if rule.min_expected:
        past = _past(n, rule.season, series.step)
        # Days before the first call are not days without calls.
        past[_past(seen.astype(float), rule.season, series.step) != 1] = np.nan
        expected, _, known = median_and_spread(past)
        beyond &= (known >= FEWEST_REFERENCES) & (np.nan_to_num(expected) >= rule.min_expected)
    state = np.where(beyond, YES, NO).astype(np.int8)
    return Judgement(state, n, n, n, n, expected, np.where(beyond, 1.0, 0.0), rule.window)


def sentence(rule: AlertRule, judged: Judgement, at: int) -> str:
    """What the rule found at one bucket, in one sentence with its figures."""
    value, low, high, usual = (float(column[at]) for column in (judged.value, judged.low, judged.high, judged.usual))
    n, window = int(judged.n[at]), _length(judged.window)
    of = f"{rule.aggregate} of {rule.metric}" if rule.metric not in (*SHARE_METRICS, "volume") else rule.metric
    limit = f" over {rule.over:g}" if rule.over is not None else f" under {rule.under:g}" if rule.under is not None else ""
    told = f"{of}{limit} {_figure(value)} in {window} (n={n:,}"
    match rule:
        case ThresholdRule():
            side = "above" if rule.above is not None else "below"
            sure = f", {rule.confidence:.0%} interval {_figure(low)} to {_figure(high)}" if low != high else ", exact"
            return f"{told}{sure}), limit {side} {_figure(usual)}"
        case BaselineRule():
            days = "the same time of past days" if rule.season == "day" else "the same time of past weeks"
            change = f"{value / usual - 1:+.0%}" if usual else "from nothing"
            return f"{told}), {change} against {_figure(usual)} at {days} (expected {_figure(low)} to {_figure(high)})"
        case ShiftRule():
            change = f"{value / usual - 1:+.1%}" if usual else "from nothing"
            stated = _length(rule.false_alarm_every)
            return f"{told}, 99% interval {_figure(low)} to {_figure(high)}), {change} against {_figure(usual)} usually; by luck once in {stated}"
        case SloRule():
            return f"{told}, 95% interval {_figure(low)} to {_figure(high)}), {value / usual:.1f} times what {rule.objective:.3%} allows"
        case AbsentRule():
            usually = "" if math.isnan(usual) else f"; {usual:,.0f} at the same time of past days"
            return f"no calls in {window}{usually}"


def _aggregate(rule: AlertRule, series: Series, confidence: float) -> tuple[Floats, Floats, Floats, Floats]:
    """Calls in each window, the aggregate, and the ends of its interval."""
    width = _width(rule.window, series.step)
    if rule.aggregate.startswith("p"):
        return percentile_interval(series, width, int(rule.aggregate[1:]) / 100, confidence)
    n, total = sliding(series.n, width), sliding(series.total, width)
    match rule.aggregate:
        case "sum":
            return n, total, total, total
        case "max":
            largest = sliding_largest(series.largest, width)
            return n, largest, largest, largest
        case "share":
            return n, *share_interval(n, sliding(series.beyond, width), confidence)
        case _ if rule.metric in SHARE_METRICS:
            return n, *share_interval(n, total, confidence)
        case _:
            return n, *mean_interval(n, total, sliding(series.squares, width), confidence)


def _standard_error(rule: AlertRule, series: Series, low: Floats, high: Floats) -> Floats:
    """Of a total that of a sum over a random number of calls (compound Poisson); else half the 68% interval."""
    if rule.aggregate == "sum":
        return np.sqrt(sliding(series.squares, _width(rule.window, series.step)))
    return np.nan_to_num((high - low) / 2, nan=0.0, posinf=0.0)


def _reference(rule: ShiftRule, series: Series) -> tuple[Floats, Floats]:
    """The usual mean at this time, and the standard deviation of one call; NaN until enough is known.

    Usual is the median over past days of the hour around this time, or in the first days the day before.
    """
    step = series.step
    hour = _width(REFERENCE_WINDOW, step)
    n, total = sliding(series.n, hour), sliding(series.total, hour)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(n >= FEWEST_REFERENCE_CALLS, total / n, np.nan)
    usual, _, known = median_and_spread(_past(mean, rule.season, step))
    day, lag = FALLBACK_WINDOW // step, FALLBACK_LAG // step
    n, total, squares = (delayed(sliding(c, day), lag) for c in (series.n, series.total, series.squares))
    with np.errstate(invalid="ignore", divide="ignore"):
        before = np.where(n >= FALLBACK_CALLS, total / n, np.nan)
        deviation = np.sqrt(np.maximum(squares / n - (total / n) ** 2, 0))
    enough = (n >= FALLBACK_CALLS) & (deviation > 1e-9)
    return np.where(known >= FEWEST_REFERENCES, usual, before), np.where(enough, deviation, np.nan)


def _past(values: Floats, season: str, step: int) -> NDArray[np.float64]:
    """The values at the same time of past days or weeks: a row for each, NaN where there is none."""
    return np.array([delayed(values, ago // step) for ago in SEASONS[season] if ago // step < len(values)] or [values * np.nan])


def _judgement(
    rule: AlertRule,
    n: Floats,
    beyond: NDArray[np.bool_],
    value: Floats,
    low: Floats,
    high: Floats,
    usual: Floats,
    margin: Floats,
    window: int,
) -> Judgement:
    unknown = {"keep": UNKNOWN, "ok": NO, "fire": YES}[rule.no_data]
    state = np.where(n >= rule.needed, np.where(beyond, YES, NO), unknown).astype(np.int8)
    return Judgement(state, value, low, high, n, usual, margin, window)


def _width(seconds: int, step: int) -> int:
    return max(round(seconds / step), 1)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _length(seconds: int) -> str:
    for unit, size in (("w", WEEK), ("d", DAY), ("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
