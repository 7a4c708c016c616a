"""Judging series: figures equal those computed plainly, intervals cover, shifts are found, rhythms are not alarms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting import NOON, write_calls
from assay.alerts.evaluate import NO, UNKNOWN, YES, judge
from assay.alerts.incidents import Known, Step, steps
from assay.alerts.replay import replayed
from assay.alerts.rules import AlertRule, parse_rules
from assay.alerts.series import BINS_PER_DOUBLING, NO_BINS, Series, read_series, series_of, source_of
from assay.alerts.shift import crossings, threshold_for
from assay.alerts.statistics import (
    mean_interval,
    median_and_spread,
    percentile_interval,
    share_interval,
    sliding,
    sliding_largest,
)
from assay.store.connect import Store

STEP, DAY = 60, 86_400


def rule(text: str) -> AlertRule:
    book = parse_rules(f'[[rule]]\nname = "r"\n{text}', defaults=False)
    assert book.problems == []
    return book.rules["r"]


def series(at: np.ndarray, x: np.ndarray, days: float, *, bins: bool = False) -> Series:
    """A series of these values at these seconds since midnight of the first day."""
    size = int(days * DAY // STEP)
    place = (at // STEP).astype(np.int64)
    sums = [np.bincount(place, weights, size) for weights in (np.ones(len(x)), x, x * x)]
    largest = np.full(size, -np.inf)
    np.maximum.at(largest, place, x)
    rows = NO_BINS
    if bins:
        pairs = np.stack([place, np.floor(np.log2(x) * BINS_PER_DOUBLING).astype(np.int64)], axis=1)
        found, counts = np.unique(pairs, axis=0, return_counts=True)
        rows = np.column_stack([found, counts])
    return series_of(0, STEP, np.stack([*sums, largest, np.zeros(size)]), rows)


def steady(days: float, every: float = 6.0) -> np.ndarray:
    return np.arange(0, days * DAY, every)


@given(st.lists(st.integers(-1, 1), max_size=60), st.integers(0, 300), st.integers(0, 300), st.data())
def test_steps_by_stretches_are_those_of_a_plain_walk_bucket_by_bucket(
    states: list[int], hold: int, resolve: int, data: st.DataObject
) -> None:
    known = data.draw(
        st.none() | st.builds(Known, st.sampled_from(["pending", "firing", "resolved"]), st.just(10), st.just(60))
    )
    state = np.array(states, np.int8)
    assert steps(state, 0, STEP, hold, resolve, known) == plain_steps(states, hold, resolve, known)


def plain_steps(states: list[int], hold: int, resolve: int, known: Known | None) -> list[Step]:
    found, calm = list[Step](), None
    phase: Any = known.phase if known else "resolved"
    began, after = (known.began, known.at) if known else (0, 0)
    for bucket, now in enumerate(states):
        at = (bucket + 1) * STEP
        if at <= after:
            continue
        if now == YES:
            calm = None
            if phase not in ("pending", "firing"):
                phase, began = "pending", at
                found.append(Step("pending", began, at, bucket))
            if phase == "pending" and at - began >= hold:
                phase = "firing"
                found.append(Step("firing", began, at, bucket))
        elif now == NO and phase in ("pending", "firing"):
            calm = calm or at
            if phase == "pending" or at - calm >= resolve:
                phase = "cleared" if phase == "pending" else "resolved"
                found.append(Step(phase, began, at, bucket))
    return found


@settings(max_examples=6)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "at": st.integers(NOON, NOON + 599),
                "latency_ms": st.floats(0, 1e6),
                "cost_usd": st.none() | st.floats(0, 100),
                "status": st.sampled_from(["ok", "error"]),
                "user_id": st.sampled_from(["a", "b"]),
                "scores": st.dictionaries(st.just("relevance"), st.none() | st.floats(0, 1)),
            }
        ),
        max_size=20,
    )
)
def test_series_from_the_store_are_those_summed_plainly(store: Store, calls: list[dict[str, Any]]) -> None:
    import secrets

    project = f"test-{secrets.token_hex(4)}"
    write_calls(store, project, calls)
    where = f'filter = {{ project = "{project}" }}\ngroup_by = "user"\n'
    values = {
        "latency": lambda call: call["latency_ms"],
        "cost": lambda call: call["cost_usd"],
        "error_rate": lambda call: float(call["status"] == "error"),
        "unpriced": lambda call: float(call["cost_usd"] is None) if call["status"] == "ok" else None,
        "relevance": lambda call: call["scores"].get("relevance"),
    }
    for metric, value in values.items():
        asked = rule(f'metric = "{metric}"\nabove = 1\n{where}')
        found = read_series(store, [asked], NOON, NOON + 600, STEP)[source_of(asked)]
        known = [(call["user_id"], (call["at"] - NOON) // STEP, v) for call in calls if (v := value(call)) is not None]
        for group in ("a", "b"):
            own = [(place, v) for user, place, v in known if user == group]
            if group not in found:
                assert own == []
                continue
            for place in range(10):
                there = [v for at, v in own if at == place]
                assert found[group].n[place] == len(there)
                assert found[group].total[place] == pytest.approx(math.fsum(there))
                assert found[group].largest[place] == max(there, default=-math.inf)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=40), st.integers(1, 50))
def test_sliding_sums_and_maxima_are_those_of_slices(values: list[float], width: int) -> None:
    array = np.array(values)
    slices = [values[max(i + 1 - width, 0) : i + 1] for i in range(len(values))]
    assert sliding(array, width) == pytest.approx([math.fsum(one) for one in slices], abs=1e-9)
    assert sliding_largest(array, width).tolist() == [max(one) for one in slices]


def test_a_series_cut_and_joined_again_is_the_same() -> None:
    rng = np.random.default_rng(0)
    at = steady(0.1)
    whole = series(at, rng.lognormal(5, 1, len(at)), 0.1, bins=True)
    joined = whole.followed_by(whole.from_bucket(50))
    for name in ("n", "total", "squares", "largest", "bins"):
        assert np.array_equal(getattr(whole, name), getattr(joined, name))


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says() -> None:
    x = np.random.default_rng(1).normal(5, 2, (20_000, 8))
    n = np.full(20_000, 8.0)
    _, low, high = mean_interval(n, x.sum(1), (x * x).sum(1), 0.95)
    assert np.mean((low < 5) & (high > 5)) == pytest.approx(0.95, abs=0.01)


def test_the_interval_of_a_share_covers_it_as_often_as_it_says_also_of_rare_failures() -> None:
    hits = np.random.default_rng(1).binomial(200, 0.02, 20_000).astype(float)
    _, low, high = share_interval(np.full(20_000, 200.0), hits, 0.95)
    assert 0.93 < np.mean((low < 0.02) & (high > 0.02)) < 0.99


def test_percentiles_of_windows_are_within_two_percent_of_the_sorted_values() -> None:
    rng = np.random.default_rng(2)
    at = steady(0.2)
    x = rng.lognormal(6.5, 0.8, len(at))
    n, value, low, high = percentile_interval(series(at, x, 0.2, bins=True), 30, 0.95, 0.99, [(0, 288)])
    for end in (30, 100, 287):
        window = x[(at // STEP > end - 30) & (at // STEP <= end)]
        assert n[end] == len(window)
        assert value[end] == pytest.approx(np.quantile(window, 0.95), rel=0.1)
        assert low[end] < value[end] < high[end]
    exact = np.array([np.quantile(x[(at // STEP > e - 30) & (at // STEP <= e)], 0.95) for e in range(30, 288)])
    assert np.median(np.abs(value[30:288] / exact - 1)) < 0.02


def test_median_and_spread_leave_out_what_is_unknown() -> None:
    values = np.array([[1.0, np.nan], [3.0, np.nan], [100.0, np.nan], [np.nan, 5.0]])
    median, spread, known = median_and_spread(values)
    assert median.tolist() == [3.0, 5.0]
    assert spread.tolist() == [pytest.approx(2 * 1.4826), 0.0]
    assert known.tolist() == [3, 1]


def test_false_alarms_of_the_cumulative_sum_are_as_far_apart_as_stated() -> None:
    rng, slack, calls = np.random.default_rng(3), 0.3, 1000.0
    limit = float(threshold_for(np.array([slack]), np.array([calls]))[0])
    waits = list[int]()
    for _ in range(120):
        _, beyond = crossings(rng.normal(size=8000) - slack, np.full(8000, limit))
        waits.append(int(np.argmax(beyond)) if beyond.any() else 8000)
    assert np.mean(waits) == pytest.approx(calls, rel=0.3)


def relevance(days: float, fall: float, from_day: float, seed: int = 4) -> Series:
    rng = np.random.default_rng(seed)
    at = steady(days)
    x = np.where(at >= from_day * DAY, 1 - fall, 1) * rng.beta(8, 2, len(at))
    return series(at, x, days)


SHIFT = 'kind = "shift"\nmetric = "relevance"\ndirection = "down"\nchange = 0.1\n'


def test_a_fall_of_a_tenth_is_found_within_300_calls_and_ten_bad_calls_are_not() -> None:
    fell = judge(rule(SHIFT), relevance(5, 0.10, 4.5), 1440)
    first = int(np.argmax(fell.state == YES))
    assert first >= 720, "nothing before it fell"
    assert (first - 720) * STEP / 6 <= 300
    unlucky = relevance(5, 0.0, 9)
    bucket = int(4.5 * DAY // STEP)
    unlucky.total[bucket] = 0.0
    assert not np.any(judge(rule(SHIFT), unlucky, 1440).state == YES)


def test_a_shift_is_over_soon_after_all_is_well_again() -> None:
    rng = np.random.default_rng(5)
    at = steady(5)
    bad = (at >= 4.4 * DAY) & (at < 4.5 * DAY)
    judged = judge(rule(SHIFT), series(at, np.where(bad, 0.75, 1) * rng.beta(8, 2, len(at)), 5), 1440)
    firing = np.flatnonzero(judged.state == YES)
    assert int(0.4 * 1440) <= firing[0] <= int(0.4 * 1440) + 20
    assert firing[-1] <= int(0.5 * 1440) + 60


def test_nothing_is_known_of_a_shift_before_enough_calls_were_seen() -> None:
    assert set(judge(rule(SHIFT), relevance(0.1, 0, 9), 144).state.tolist()) == {UNKNOWN}


def daily(days: int, factor_from: float = 99.0, factor: float = 1.0) -> Series:
    """Calls with a cost that follows the hour."""
    rng = np.random.default_rng(6)
    at = np.sort(rng.uniform(0, days * DAY, days * 8000))
    at = at[rng.random(len(at)) < 0.55 - 0.45 * np.cos(at / DAY * 2 * np.pi)]
    return series(at, rng.lognormal(-6, 1, len(at)) * np.where(at >= factor_from * DAY, factor, 1), days)


BASELINE = 'kind = "baseline"\nmetric = "cost"\naggregate = "sum"\nwindow = "1h"\ndirection = "above"\nchange = 1.0\n'


def test_a_daily_rhythm_is_no_alarm_and_a_jump_within_it_is() -> None:
    asked = rule(BASELINE + "min_count = 20\n")
    assert not np.any(judge(asked, daily(10), 3 * 1440).state == YES)
    jumped = judge(asked, daily(10, 9.5, 4.0), 1440)
    first = int(np.argmax(jumped.state == YES))
    assert 720 <= first <= 720 + 60
    by_threshold = rule('metric = "cost"\naggregate = "sum"\nwindow = "1h"\nabove = 1.0\n')
    assert np.any(judge(by_threshold, daily(10), 3 * 1440).state == YES), "a limit that noon breaks every day"


def test_one_failure_at_night_burns_no_budget_and_an_outage_does() -> None:
    asked = rule('kind = "slo"\nmetric = "error_rate"\nobjective = 0.99\n')
    at = steady(1, 600)
    failed = np.zeros(len(at))
    failed[100] = 1
    assert not np.any(judge(asked, series(at, failed, 1), 1440).state == YES)
    at = steady(1)
    outage = (at >= DAY / 2) & (at < DAY / 2 + 3600) & (np.arange(len(at)) % 2 == 0)
    judged = judge(asked, series(at, outage.astype(float), 1), 1440)
    firing = np.flatnonzero(judged.state == YES)
    assert 720 < firing[0] < 750
    assert firing[-1] < 720 + 60 + 30, "the short windows end it once calls succeed again"


def test_the_suggested_limit_fires_at_most_as_often_as_asked() -> None:
    rng = np.random.default_rng(7)
    at = steady(14)
    x = rng.lognormal(6, 0.5, len(at)) * np.where(at % DAY < 7200, 2.0, 1.0)
    held = {"": series(at, x, 14)}
    text = 'metric = "latency"\nwindow = "30m"\nabove = {}\n'
    strict = replayed(rule(text.format(500)), held, DAY, 14 * DAY, 1.0, points=100)
    assert strict.fired >= 10
    assert strict.suggested is not None
    assert strict.suggested > 500
    relaxed = replayed(rule(text.format(strict.suggested)), held, DAY, 14 * DAY, 1.0)
    assert relaxed.fired <= 13 / 7
    assert relaxed.course == []


def test_a_course_keeps_the_moments_nearest_to_firing() -> None:
    at = steady(4)
    x = np.where((at > 3 * DAY) & (at < 3 * DAY + 2400), 900.0, 100.0)
    held = {"busy": series(at, x, 4), "": series(at[:50], x[:50], 4)}
    told = replayed(rule('metric = "latency"\nwindow = "30m"\nabove = 500\n'), held, DAY, 4 * DAY, 1.0, points=20)
    assert told.fired == 1
    assert (told.group, len(told.course)) == ("busy", 20)
    assert max(point.value or 0 for point in told.course) == pytest.approx(900, rel=0.01)
    assert {point.usual for point in told.course} == {500}
    assert [point.at for point in told.course] == sorted(point.at for point in told.course)
