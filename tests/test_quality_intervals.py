"""Intervals hold what they promise: known values, and coverage in simulated samples whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from assay.analytics.ppi import Estimate, Sums, estimate
from assay.quality.intervals import UNKNOWN, Interval, mean_interval, t_quantile, variance_of_mean, wilson

GROUPS = 64


def test_student_quantiles_are_those_of_the_tables() -> None:
    table = {1: 12.706, 2: 4.303, 4: 2.776, 5: 2.571, 10: 2.228, 30: 2.042, 63: 1.998, 1000: 1.962}
    assert {degrees: t_quantile(degrees) for degrees in table} == pytest.approx(table, abs=1.5e-3)


@pytest.mark.parametrize(
    ("found", "of", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_is_that_of_newcombe_1998(found: int, of: int, low: float, high: float) -> None:
    assert wilson(found / of, of) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_a_mean_that_no_sample_tells_has_no_interval() -> None:
    assert variance_of_mean(1, 5, 2.5, 6.25, 12.5, 25) == (0.0, 0)
    assert mean_interval(0.5, 0.0, 0) == wilson(0.5, 0) == UNKNOWN


def test_equal_values_are_as_sure_as_so_many_equal_cases() -> None:
    assert mean_interval(0.0, 0.0, 49) == wilson(0.0, 50, t_quantile(49))
    low, high = mean_interval(0.0, 0.0, 49)
    assert (low, high) == (0, pytest.approx(0.075, abs=0.002))


def test_values_beyond_the_unit_have_students_interval() -> None:
    assert mean_interval(3.0, 0.04, 9, unit=False) == (
        pytest.approx(3 - 2.262 * 0.2, abs=1e-3),
        pytest.approx(3.4524, abs=1e-3),
    )


def interval_of(values: np.ndarray, groups: np.ndarray) -> Interval:
    c = np.bincount(groups, minlength=GROUPS).astype(float)
    t = np.bincount(groups, values, GROUPS)
    variance, degrees = variance_of_mean(np.count_nonzero(c), c.sum(), t.sum(), t @ t, t @ c, c @ c)
    return mean_interval(float(values.mean()), variance, degrees)


@pytest.mark.parametrize("shape", ["even", "skewed", "shares", "rare"])
@pytest.mark.parametrize("sessions", [12, 40, 400])
def test_the_interval_of_a_mean_holds_the_truth_though_calls_of_a_session_are_alike(shape: str, sessions: int) -> None:
    """Five calls a session, half of the variance between sessions."""
    generator = np.random.default_rng(7)
    truth = {"even": 0.7, "skewed": 0.1, "shares": 0.4, "rare": 0.1}[shape]
    held = 0
    for _ in range(1000):
        of_session = generator.beta(truth * 4, (1 - truth) * 4, sessions).repeat(5)
        if shape in ("shares", "rare"):
            values = (generator.random(sessions * 5) < of_session).astype(float)
        else:
            values = generator.beta(of_session * 8 + 1e-3, (1 - of_session) * 8 + 1e-3)
            values += of_session - (of_session * 8 + 1e-3) / (8 + 2e-3)
            values = values.clip(0, 1)
        low, high = known(*interval_of(values, generator.integers(0, GROUPS, sessions).repeat(5)))
        held += low <= truth <= high
    assert 0.92 <= held / 1000 <= 0.985, held


def sample(generator: np.random.Generator, judged: int, calls: int, likeness: float, shape: str) -> Sums:
    """A judge's verdicts with mean 0.3, and a biased scorer that correlates with them as `likeness` says."""
    common, own = generator.standard_normal((2, calls))
    foretold = 1 / (1 + np.exp(-(likeness * common + np.sqrt(1 - likeness**2) * own + 1)))
    truth = (common > 0.5244005).astype(float) if shape == "binary" else 0.3 + 0.1 * np.tanh(common)
    chosen = np.arange(calls) < judged
    groups = generator.integers(0, GROUPS, calls)
    sums = [
        np.bincount(groups[rows], values[rows], GROUPS)
        for rows, values in [
            (chosen, np.ones(calls)),
            (chosen, truth),
            (chosen, foretold),
            (~chosen, np.ones(calls)),
            (~chosen, foretold),
        ]
    ]
    return Sums(*sums)


@pytest.mark.parametrize("shape", ["binary", "graded"])
@pytest.mark.parametrize("likeness", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("judged", [60, 400])
def test_a_judged_sample_joined_with_scores_holds_the_truth(judged: int, likeness: float, shape: str) -> None:
    generator = np.random.default_rng(11)
    found = [estimate(sample(generator, judged, judged * 8, likeness, shape)) for _ in range(1000)]
    assert 0.93 <= np.mean([within(one) for one in found]) <= 0.97
    assert abs(np.mean([one.mean for one in found]) - 0.3) < 0.004
    widths, classical = np.array([width(one) for one in found]).T
    assert (widths <= 1.06 * classical).all()
    if likeness == 0.95:
        assert widths.mean() < 0.82 * classical.mean()
        assert np.mean([one.gain for one in found]) > 1.4


def known(low: float | None, high: float | None) -> tuple[float, float]:
    assert low is not None
    assert high is not None
    return low, high


def within(one: Estimate) -> bool:
    low, high = known(one.low, one.high)
    return low <= 0.3 <= high


def width(one: Estimate) -> tuple[float, float]:
    low, high = known(one.low, one.high)
    classical_low, classical_high = known(one.classical_low, one.classical_high)
    return high - low, classical_high - classical_low


def test_where_all_is_judged_the_judges_mean_stands() -> None:
    sums = sample(np.random.default_rng(3), 500, 500, 0.9, "binary")
    found = estimate(sums)
    assert (found.N, found.gain) == (0, 1.0)
    assert (found.mean, found.low, found.high) == (found.classical_mean, found.classical_low, found.classical_high)


def test_a_handful_of_sessions_lends_no_power() -> None:
    sums = sample(np.random.default_rng(3), 500, 5000, 0.9, "binary")
    columns = (sums.n, sums.y, sums.f, sums.others, sums.g)
    found = estimate(Sums(*(np.append(column.reshape(8, 8).sum(1), np.zeros(56)) for column in columns)))
    assert found.gain == 1.0
    assert found.mean == found.classical_mean


@pytest.mark.parametrize("share", [0.0, 0.1, 1 / 3, 1.0])
def test_rounding_leaves_no_share_outside_its_interval(share: float) -> None:
    for n in range(1, 3000):
        low, high = wilson(share, n, 2.0)
        assert 0 <= low <= share <= high <= 1
