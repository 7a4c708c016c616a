"""Whether a model's inputs have drifted, at the end of every bucket: the same tests as `ml.drift`, on counts.

In: a Series whose `bins` hold how many values fell into each bin of each column, and the reference's counts. For each
window: PSI and a chi-squared test of each column, Holm's correction over the columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from assay.alerts.series import Floats, Series
from assay.ml.shapes import WIDTH, Shapes

FEWEST = 50
"""Values in a window below which a column says nothing."""
_EMPTY = 1e-4
_CHUNK = 512


class Drifts(NamedTuple):
    """At the end of each of the last buckets: rows in the window, how many columns drifted, which leads and its PSI."""

    n: Floats
    drifted: Floats
    leading: NDArray[np.int64]
    psi: Floats

    def without(self, buckets: int) -> Drifts:
        """The same without the first buckets."""
        n, drifted, leading, psi = self
        return Drifts(n[buckets:], drifted[buckets:], leading[buckets:], psi[buckets:])


def drifts(series: Series, shapes: Shapes, width: int, last: int, level: float, least_psi: float) -> Drifts:
    """`level` is that of the corrected p-values, `width` the window in buckets."""
    size = len(series)
    rows = np.concatenate([[0.0], np.cumsum(series.n)])
    ends = np.arange(size - last, size) + 1
    found = Drifts(
        rows[ends] - rows[np.maximum(ends - width, 0)], np.zeros(last), np.zeros(last, np.int64), np.zeros(last)
    )
    for first in range(0, last, _CHUNK):
        part = slice(first, min(first + _CHUNK, last))
        psi, p = _tests(_windows(series, shapes, ends[part], width), shapes)
        beyond = (_holm(p) < level) & (psi >= least_psi)
        found.drifted[part] = beyond.sum(1)
        # The furthest of those that drifted; where none did, the furthest of all.
        shown = np.where(beyond.any(1, keepdims=True), np.where(beyond, psi, -1), psi)
        found.leading[part] = shown.argmax(1)
        found.psi[part] = shown.max(1)
    return found


def _windows(series: Series, shapes: Shapes, ends: NDArray[np.int64], width: int) -> Floats:
    """Counts in each window, (windows, columns, WIDTH)."""
    begin, codes = max(int(ends[0]) - width, 0), len(shapes.columns) * WIDTH
    low, high = np.searchsorted(series.bins[:, 0], [begin, int(ends[-1])])
    own = series.bins[low:high]
    known, column = np.unique(own[:, 1], return_inverse=True)
    span = int(ends[-1]) - begin
    flat = np.bincount((own[:, 0] - begin) * len(known) + column, own[:, 2], span * len(known))
    sums = np.concatenate([np.zeros((1, len(known))), np.cumsum(flat.reshape(span, -1), axis=0)])
    windows = sums[ends - begin] - sums[np.maximum(ends - width, begin) - begin]
    found = np.zeros((len(ends), codes))
    found[:, known[known < codes]] = windows[:, known < codes]
    return found.reshape(len(ends), -1, WIDTH)


def _tests(windows: Floats, shapes: Shapes) -> tuple[Floats, Floats]:
    """PSI and chi-squared p-value of each window and column; 0 and 1 where there are too few values."""
    from scipy.special import chdtrc

    reference = np.zeros(windows.shape[1:])
    for place, column in enumerate(shapes.columns):
        reference[place, : len(column.counts)] = column.counts
    n, m = windows.sum(2, keepdims=True), reference.sum(1)[None, :, None]
    occurs = windows + reference > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        expected, actual = reference / m, windows / n
        expected, actual = np.where(expected == 0, _EMPTY, expected), np.where(actual == 0, _EMPTY, actual)
        psi = np.where(occurs, (actual - expected) * np.log(actual / expected), 0).sum(2)
        share = (windows + reference) / (n + m)
        chi = np.where(occurs, (windows - n * share) ** 2 / (n * share) + (reference - m * share) ** 2 / (m * share), 0)
        p = chdtrc(np.maximum(occurs.sum(2) - 1, 1), chi.sum(2))
    enough = (n[..., 0] >= FEWEST) & (m[..., 0] >= FEWEST) & (occurs.sum(2) > 1)
    return np.where(enough, psi, 0.0), np.where(enough, p, 1.0)


def _holm(p: Floats) -> Floats:
    """Holm's correction along the columns."""
    order = np.argsort(p, axis=1, kind="stable")
    factors = p.shape[1] - np.arange(p.shape[1])
    stepped = np.maximum.accumulate(np.minimum(np.take_along_axis(p, order, 1) * factors, 1.0), axis=1)
    corrected = np.empty_like(p)
    np.put_along_axis(corrected, order, stepped, 1)
    return corrected
