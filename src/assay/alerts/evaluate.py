"""Whether a rule's condition holds, at every moment of a series at once.

In: a rule and one group's Series. Out: a Judgement, arrays with a value for the end of each bucket. The live engine
looks at the last of them, replay and the benchmark at all: there is one code for both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import singledispatch
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.alerts.drifting import Drifts, drifts
from assay.alerts.rules import (
    SCALE_METRICS,
    SHARE_METRICS,
    AbsentRule,
    AlertRule,
    BaselineRule,
    DriftRule,
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
FALLBACK_LAG, FALLBACK_CALLS = 3 * 3600, 300
WARM_UP = 2 * DAY
"""So long before the first judgement the sum begins at zero."""
SMALLEST_SHIFT = 0.2
"""In standard deviations: a smaller one could only be told from daily drift after thousands of calls."""

BURN_RATES = ((3600, 300, 14.4), (21_600, 1800, 6.0))
"""Long window, short window, burn rate: 2% of a month's budget in an hour, 5% in six hours.

Google, The Site Reliability Workbook (2018), ch. 5, table 5-8; its third, for tickets, is left to the report."""


class Judgement(msgspec.Struct, frozen=True):
    """At the end of each bucket: whether the condition holds, and the figures by which it was decided.

    Bucket i ends at start + (i + 1) * step (Unix seconds). `low` and `high` are the ends of the value's interval, equal
    to it where it is exact; of a baseline those of what is expected. `usual` is what the value is compared to. `margin`
    grows with the badness: for thresholds and baselines the condition is margin > limit. Of a drift `drifts`
    says how many of a model's `columns` moved, and which one furthest.
    """

    start: int
    step: int
    window: int
    state: States
    value: Floats
    low: Floats
    high: Floats
    n: Floats
    usual: Floats
    margin: Floats
    drifts: Drifts | None = None
    columns: tuple[str, ...] = ()

    def last(self, count: int) -> Judgement:
        """The same for the last buckets only."""
        dropped = max(len(self.state) - count, 0)
        columns = {name: getattr(self, name)[dropped:] for name in _COLUMNS}
        drifts = self.drifts and self.drifts.without(dropped)
        return msgspec.structs.replace(self, start=self.start + dropped * self.step, drifts=drifts, **columns)


_COLUMNS = ("state", "value", "low", "high", "n", "usual", "margin")


class Figures(NamedTuple):
    """A window's calls, aggregate and the ends of its interval, at the end of every bucket."""

    n: Floats
    value: Floats
    low: Floats
    high: Floats


def lookback_seconds(rule: AlertRule) -> int:
    """How much history before a moment its judgement needs."""
    if isinstance(rule, SloRule):
        return BURN_RATES[-1][0]
    if isinstance(rule, ShiftRule):
        return SEASONS[rule.season][-1] + WARM_UP + DAY
    if isinstance(rule, BaselineRule) or (isinstance(rule, AbsentRule) and rule.min_expected):
        return SEASONS[rule.season][-1] + rule.window
    # An absent rule must have seen a call to miss calls.
    return max(DAY, 2 * rule.window) if isinstance(rule, AbsentRule) else rule.window


def judge(rule: AlertRule, series: Series, last: int) -> Judgement:
    """The rule's judgement at the ends of the last buckets of one group's series (fewer, where it has fewer)."""
    return _judge(rule, series, min(last, len(series)))


@singledispatch
def _judge(rule: AlertRule, series: Series, last: int) -> Judgement:
    raise TypeError(f"{rule!r} is no rule; asked for {last} of {len(series)} buckets")


@_judge.register
def _(rule: ThresholdRule, series: Series, last: int) -> Judgement:
    found = _aggregate(rule, series, rule.confidence, [(len(series) - last, len(series))])
    margin = found.low if rule.above is not None else -found.high
    beyond = margin > (rule.limit if rule.above is not None else -rule.limit)
    return _judgement(rule, series, found, beyond, np.full(len(series), rule.limit), margin).last(last)


@_judge.register
def _(rule: BaselineRule, series: Series, last: int) -> Judgement:
    size, step = len(series), series.step
    agos = [0, *(ago // step for ago in SEASONS[rule.season])]
    # One standard error, so that a window of few calls needs to be further off than one of many.
    found = _aggregate(rule, series, 0.6827, [(max(size - last - ago, 0), size - ago) for ago in agos if ago < size])
    n, value, low, high = found
    past = _past(np.where(n >= max(rule.needed, 1), value, np.nan), rule.season, step, last)
    usual, spread, known = median_and_spread(past)
    n, value, error = n[-last:], value[-last:], _standard_error(rule, series, low, high)[-last:]
    # A median deviation of few days is itself unsure, so it counts for more.
    scale = np.hypot(np.maximum(spread, LEAST_SPREAD * np.abs(usual)) * np.sqrt(1 + 4 / np.maximum(known, 1)), error)
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation, change = (value - usual) / scale, value / usual - 1
    side = {"above": (1,), "below": (-1,), "both": (1, -1)}[rule.direction]
    margin = np.max([np.where(sign * deviation > rule.deviations, sign * change, -np.inf) for sign in side], axis=0)
    expected = Figures(n, value, usual - rule.deviations * scale, usual + rule.deviations * scale)
    judged = _judgement(rule, series, expected, margin > rule.change, usual, margin)
    return msgspec.structs.replace(
        judged, state=np.where(known >= FEWEST_REFERENCES, judged.state, UNKNOWN).astype(np.int8)
    )


@_judge.register
def _(rule: ShiftRule, series: Series, last: int) -> Judgement:
    step, sign = series.step, 1 if rule.direction == "up" else -1
    wanted = min(last + WARM_UP // step, len(series))
    usual, spread, deviation = _reference(rule, series, wanted)
    n, total = series.n[-wanted:], series.total[-wanted:]
    logarithm = rule.metric in SCALE_METRICS
    with np.errstate(invalid="ignore", divide="ignore"):
        moved = np.full(wanted, math.log(1 + sign * rule.change)) if logarithm else rule.change * usual
        slack = np.maximum(np.abs(moved) / deviation, SMALLEST_SHIFT) / 2
        # Days differ: what is usual is only known to within their spread, which must not add up to an alarm.
        unsure = np.nan_to_num(spread / deviation)
        excess = np.where(n > 0, n * (sign * (total / n - usual) / deviation - slack - unsure), 0.0)
    week = _width(7 * DAY, step)
    a_bucket = (sliding(series.n, week) / np.minimum(np.arange(1, len(series) + 1), week))[-wanted:]
    limit = threshold_for(slack, a_bucket * rule.false_alarm_every / step)
    evidence, beyond = crossings(excess, limit)
    state = np.where(np.isnan(limit), UNKNOWN, beyond).astype(np.int8)
    shown = np.exp if logarithm else np.asarray
    columns = (series.n, series.total, series.squares)
    count, summed, squares = (sliding(column, _width(rule.window, step))[-wanted:] for column in columns)
    value, low, high = (shown(figure) for figure in mean_interval(count, summed, squares, 0.99))
    start = series.start + (len(series) - wanted) * step
    return Judgement(start, step, rule.window, state, value, low, high, count, shown(usual), evidence / limit).last(
        last
    )


@_judge.register
def _(rule: SloRule, series: Series, last: int) -> Judgement:
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
    found = Figures(n, *share_interval(n, hits, 0.95))
    judged = _judgement(rule, series, found, beyond, np.full(len(series), budget), margin)
    return msgspec.structs.replace(judged, window=BURN_RATES[0][0]).last(last)


@_judge.register
def _(rule: AbsentRule, series: Series, last: int) -> Judgement:
    n = sliding(series.n, _width(rule.window, series.step))
    seen = np.cumsum(series.n) > 0
    beyond = ((n == 0) & seen)[-last:]
    usual = np.full(last, np.nan)
    if rule.min_expected:
        # Days before the first call are not days without calls.
        usual, _, known = median_and_spread(_past(np.where(seen, n, np.nan), rule.season, series.step, last))
        beyond &= (known >= FEWEST_REFERENCES) & (np.nan_to_num(usual) >= rule.min_expected)
    n = n[-last:]
    return _judgement(rule, series, Figures(n, n, n, n), beyond, usual, np.where(beyond, 1.0, 0.0))


@_judge.register
def _(rule: DriftRule, series: Series, last: int) -> Judgement:
    if series.against is None:
        nothing = np.zeros(last)
        return _judgement(rule, series, Figures(nothing, nothing, nothing, nothing), nothing > 0, nothing, nothing)
    found = drifts(series, series.against, _width(rule.window, series.step), last, 1 - rule.confidence, rule.psi)
    usual, beyond = np.full(last, rule.psi), found.drifted >= rule.features
    judged = _judgement(rule, series, Figures(found.n, found.psi, found.psi, found.psi), beyond, usual, found.psi)
    names = tuple(column.name for column in series.against.columns)
    return msgspec.structs.replace(judged, drifts=found, columns=names)


def sentence(rule: AlertRule, judged: Judgement, at: int) -> str:
    """What the rule found at one bucket, in one sentence with its figures."""
    value, low, high, usual = (float(column[at]) for column in (judged.value, judged.low, judged.high, judged.usual))
    n, window = int(judged.n[at]), _length(judged.window)
    kind = "geometric mean" if isinstance(rule, ShiftRule) and rule.metric in SCALE_METRICS else rule.aggregate
    of = f"{kind} of {rule.metric}" if rule.metric not in (*SHARE_METRICS, "volume") else rule.metric
    if rule.over is not None or rule.under is not None:
        of += f" over {rule.over:g}" if rule.over is not None else f" under {rule.under:g}"
    told = f"{of} {_figure(value)} in {window} (n={n:,}"
    interval = f"interval {_figure(low)} to {_figure(high)}"
    match rule:
        case ThresholdRule():
            side = "above" if rule.above is not None else "below"
            sure = "exact" if rule.aggregate in ("sum", "max") else f"{rule.confidence:.0%} {interval}"
            return f"{told}, {sure}), limit {side} {_figure(usual)}"
        case BaselineRule() if math.isnan(usual):
            return f"{told}), with too few past {rule.season}s to compare"
        case ShiftRule() if math.isnan(usual):
            return f"{told}, 99% {interval}), with too little before it to compare"
        case BaselineRule():
            expected = f"expected {_figure(low)} to {_figure(high)}"
            when = f"at this time of past {rule.season}s"
            return f"{told}), {_change(value, usual)} against {_figure(usual)} {when} ({expected})"
        case ShiftRule():
            luck = f"by luck once in {_length(rule.false_alarm_every)}"
            return f"{told}, 99% {interval}), {_change(value, usual)} against {_figure(usual)} usually; {luck}"
        case SloRule():
            return (
                f"{told}, 95% {interval}), {value / usual:.1f} times what an objective of {rule.objective:.3%} allows"
            )
        case DriftRule():
            return _drift_said(rule, judged, at)
        case AbsentRule():
            usually = "" if math.isnan(usual) else f"; {usual:,.0f} at this time of past {rule.season}s"
            return f"no calls in {window}{usually}"


def _drift_said(rule: DriftRule, judged: Judgement, at: int) -> str:
    """3 of 12 columns drifted in 1d (n=4,512), furthest age with PSI 0.62, limit 0.25; and how likely by luck."""
    if judged.drifts is None:
        return "no reference to hold the predictions against"
    furthest, psi = judged.columns[int(judged.drifts.leading[at])], judged.drifts.psi[at]
    of = f"{int(judged.drifts.drifted[at])} of {len(judged.columns)} columns drifted in {_length(judged.window)}"
    luck = f"all together by luck in {1 - rule.confidence:.2g} of windows"
    return f"{of} (n={int(judged.n[at]):,}), furthest {furthest} with PSI {psi:.2f}, limit {rule.psi:g}; {luck}"


def _change(value: float, usual: float) -> str:
    return f"{value / usual - 1:+.1%}" if usual else "from nothing"


def _aggregate(rule: AlertRule, series: Series, confidence: float, runs: Sequence[tuple[int, int]]) -> Figures:
    """The figures of every window; percentiles, which take longer, only in the runs of buckets that are wanted."""
    width = _width(rule.window, series.step)
    if rule.aggregate.startswith("p"):
        return Figures(*percentile_interval(series, width, int(rule.aggregate[1:]) / 100, confidence, runs))
    n, total = sliding(series.n, width), sliding(series.total, width)
    match rule.aggregate:
        case "sum":
            return Figures(n, total, total, total)
        case "max":
            largest = sliding_largest(series.largest, width)
            return Figures(n, largest, largest, largest)
        case "share":
            return Figures(n, *share_interval(n, sliding(series.beyond, width), confidence))
        case _ if rule.metric in SHARE_METRICS:
            return Figures(n, *share_interval(n, total, confidence))
        case _:
            return Figures(n, *mean_interval(n, total, sliding(series.squares, width), confidence))


def _standard_error(rule: AlertRule, series: Series, low: Floats, high: Floats) -> Floats:
    """Of a total that of a sum over a random number of calls (compound Poisson); else half the 68% interval."""
    if rule.aggregate == "sum":
        return np.sqrt(sliding(series.squares, _width(rule.window, series.step)))
    with np.errstate(invalid="ignore"):
        return np.nan_to_num((high - low) / 2, nan=0.0, posinf=0.0)


def _reference(rule: ShiftRule, series: Series, last: int) -> tuple[Floats, Floats, Floats]:
    """The usual mean at this time, its spread over days, and one call's standard deviation; NaN until known.

    Usual is the median over past days of the hour before this time, or in the first days the day before.
    """
    step = series.step
    hour = _width(REFERENCE_WINDOW, step)
    n, total = sliding(series.n, hour), sliding(series.total, hour)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(n >= FEWEST_REFERENCE_CALLS, total / n, np.nan)
    usual, spread, known = median_and_spread(_past(mean, rule.season, step, last))
    day, lag = _width(DAY, step), _width(FALLBACK_LAG, step)
    sums = (delayed(sliding(column, day), lag)[-last:] for column in (series.n, series.total, series.squares))
    n, total, squares = sums
    with np.errstate(invalid="ignore", divide="ignore"):
        before = np.where(n >= FALLBACK_CALLS, total / n, np.nan)
        deviation = np.sqrt(np.maximum(squares / n - (total / n) ** 2, 0))
    enough = (n >= FALLBACK_CALLS) & (deviation > 1e-9)
    seasonal = known >= FEWEST_REFERENCES
    usual, spread = np.where(seasonal, usual, before), np.where(seasonal, spread, 0.0)
    return usual, spread, np.where(enough, deviation, np.nan)


def _past(values: Floats, season: str, step: int, last: int) -> NDArray[np.float64]:
    """The values at the same time of past days or weeks, for the last buckets: a row for each, NaN where none is."""
    return np.array([delayed(values, ago // step)[-last:] for ago in SEASONS[season]])


def _judgement(
    rule: AlertRule, series: Series, found: Figures, beyond: NDArray[np.bool_], usual: Floats, margin: Floats
) -> Judgement:
    unknown = {"keep": UNKNOWN, "ok": NO, "fire": YES}[rule.no_data]
    needed = 0 if isinstance(rule, AbsentRule) else rule.needed
    state = np.where(found.n >= needed, np.where(beyond, YES, NO), unknown).astype(np.int8)
    start = series.start + (len(series) - len(state)) * series.step
    return Judgement(start, series.step, rule.window, state, found.value, found.low, found.high, found.n, usual, margin)


def _width(seconds: int, step: int) -> int:
    return max(round(seconds / step), 1)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _length(seconds: int) -> str:
    for unit, size in (("w", WEEK), ("d", DAY), ("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
