"""How sure a figure is: intervals of means, shares and percentiles; sums over sliding windows; robust references."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from assay.alerts.series import BINS_PER_DOUBLING, NO_BIN, Floats, Series

_CHUNK = 4096


def sliding(values: Floats, width: int) -> Floats:
    """At each place the sum of the `width` values that end there (fewer at the beginning)."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    return sums[ends] - sums[np.maximum(ends - width, 0)]


def sliding_largest(values: Floats, width: int) -> Floats:
    """At each place the largest of the `width` values that end there."""
    largest, covered = values.copy(), 1
    while covered < width:
        ahead = min(covered, width - covered)
        largest[ahead:] = np.maximum(largest[ahead:], largest[:-ahead].copy())
        covered += ahead
    return largest


def delayed(values: Floats, places: int) -> Floats:
    """The same values so many places later; NaN where there are none yet."""
    if places >= len(values):
        return np.full_like(values, np.nan)
    return np.concatenate([np.full(places, np.nan), values[: len(values) - places]])


def mean_interval(n: Floats, total: Floats, squares: Floats, confidence: float) -> tuple[Floats, Floats, Floats]:
    """Mean, and the ends of its two-sided interval by Student's t; NaN for none, infinite ends for one value."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / n
        variance = np.maximum(squares - total * mean, 0) / (n - 1)
        half = student_t(confidence, n - 1) * np.sqrt(variance / n)
    half = np.where(n > 1, half, np.inf)
    return mean, mean - half, mean + half


def share_interval(n: Floats, hits: Floats, confidence: float) -> tuple[Floats, Floats, Floats]:
    """Share, and the ends of its two-sided interval. Wilson, JASA 22 (1927): holds for few calls and rare hits."""
    z = _z(confidence)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = hits / n
        centre = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return share, centre - half, centre + half


def student_t(confidence: float, degrees: Floats) -> Floats:
    """The two-sided quantile of Student's t.

    Expansion in 1/degrees from Abramowitz and Stegun, 26.7.5; within 1% from 5 degrees on, and too wide to pass for
    sure below (where the normal quantile is multiplied by ten).
    """
    z = _z(confidence)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = (
            (z**3 + z) / 4 / degrees
            + (5 * z**5 + 16 * z**3 + 3 * z) / 96 / degrees**2
            + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384 / degrees**3
            + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160 / degrees**4
        )
    return np.where(degrees >= 5, z + terms, z * 10)


def percentile_interval(
    series: Series, width: int, share: float, confidence: float, runs: Sequence[tuple[int, int]]
) -> tuple[Floats, Floats, Floats, Floats]:
    """Number of calls in each window, the percentile, and the ends of its interval, from the sorted bins.

    The interval is that of the share below, read off the same distribution (Wilson); a percentile is placed within its
    bin, so it is exact to about 2%. Outside the `runs` (first bucket, one after the last) all is NaN.
    """
    size = len(series)
    out = np.full((4, size), np.nan)
    out[0] = sliding(series.n, width)
    if not len(series.bins):
        return out[0], out[1], out[2], out[3]
    numbers, column = np.unique(series.bins[:, 1], return_inverse=True)
    edges = np.where(numbers == NO_BIN, -np.inf, numbers / BINS_PER_DOUBLING)
    chunks = [(at, min(at + _CHUNK, end)) for first, end in _merged(runs) for at in range(first, end, _CHUNK)]
    for first, last in chunks:
        begin = max(first - width, 0)
        low, high = np.searchsorted(series.bins[:, 0], [begin, last])
        flat = (series.bins[low:high, 0] - begin) * len(numbers) + column[low:high]
        flat_counts = np.bincount(flat, series.bins[low:high, 2], (last - begin) * len(numbers))
        counts = np.asarray(flat_counts, np.float64).reshape(-1, len(numbers))
        sums = np.concatenate([np.zeros((1, len(numbers))), np.cumsum(counts, axis=0)])
        ends = np.arange(first, last) + 1 - begin
        below = np.cumsum(sums[ends] - sums[np.maximum(ends - width, 0)], axis=1)
        n = below[:, -1]
        _, lower, upper = share_interval(n, n * share, confidence)
        for row, wanted in ((1, np.full(len(n), share)), (2, lower), (3, upper)):
            out[row, first:last] = _at_rank(below, n * wanted, edges)
    return out[0], out[1], out[2], out[3]


def _merged(runs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same places in runs that do not overlap."""
    merged = list[tuple[int, int]]()
    for first, end in sorted(runs):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((first, end))
    return merged


def _at_rank(below: Floats, rank: Floats, edges: Floats) -> Floats:
    """The value under which `rank` of a window's calls lie. `below` counts up along the bins, a row a window."""
    reached = below >= np.maximum(rank, 1e-9)[:, None] - 1e-9
    column = np.argmax(reached, axis=1)
    rows = np.arange(len(below))
    before = np.where(column > 0, below[rows, np.maximum(column - 1, 0)], 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.clip((rank - before) / (below[rows, column] - before), 0, 1)
        value = np.exp2(edges[column] + part / BINS_PER_DOUBLING)
    return np.where(below[:, -1] > 0, np.where(np.isinf(edges[column]), 0.0, value), np.nan)


def median_and_spread(values: NDArray[np.float64]) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Median and scaled median absolute deviation of each column, NaN left out, and how many values there were.

    1.4826 makes the deviation that of a normal distribution (Rousseeuw and Croux, JASA 88, 1993).
    """
    median, known = _median(values)
    spread, _ = _median(np.abs(values - median))
    return median, 1.4826 * spread, known


def _median(values: NDArray[np.float64]) -> tuple[Floats, NDArray[np.int64]]:
    # NaN sorts to the end; numpy's own nanmedian takes ten times as long on such short columns.
    ordered = np.sort(values, axis=0)
    known = np.sum(~np.isnan(values), axis=0)
    columns = np.arange(values.shape[1])
    middle = (
        ordered[np.maximum((known - 1) // 2, 0), columns] + ordered[np.minimum(known // 2, len(values) - 1), columns]
    ) / 2
    return np.where(known > 0, middle, np.nan), known


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)
