"""Cluster unit vectors without being told how many clusters there are. Deterministic.

Ward's method (1963) by chains of nearest neighbours (Murtagh, 1983) gives a tree; of its cuts the one is taken whose
clusters stand apart best (Rousseeuw's silhouette, 1987, with distances to centres in place of those to all members);
a few rounds of k-means let every vector go to the centre that is nearest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from assay.quality.words import Floats, unit

Labels = NDArray[np.intp]
ROUNDS = 10
ONE = 0.85
"""Vectors whose mean likeness to their common centre is above this are one cluster."""
PARAPHRASE = 0.1
"""Two ways to ask the same are about so far (1 - cosine) from what they have in common."""
_EPSILON = 1e-6


class Clusters(NamedTuple):
    """The cluster of each vector, from 0, and the centres, one row each of length 1."""

    labels: Labels
    centres: Floats


class Merge(NamedTuple):
    """Two clusters, each named by one of its members, become one; `cost` is what that adds to the squared error."""

    one: int
    other: int
    cost: float


def clusters(vectors: Floats, weights: Floats, most: int) -> Clusters:
    """At most `most` clusters of vectors of length 1 (rows, none of zeros) with weights above 0.

    Takes time and memory in proportion to the square of the number of rows and the row, respectively.
    """
    whole = _centred(vectors, weights, np.zeros(len(vectors), np.intp))
    if len(vectors) < 2 or float(weights @ (vectors @ whole.centres[0])) / float(weights.sum()) > ONE:
        return whole
    merges = tree(vectors, weights)
    cuts = (_settled(vectors, weights, cut(merges, count)) for count in range(2, min(most, len(vectors)) + 1))
    return max(cuts, key=lambda found: silhouette(vectors, weights, found))


def resettled(vectors: Floats, weights: Floats, centres: Floats) -> Clusters:
    """The clusters around given centres; one that no vector is nearest to is left out."""
    return _settled(vectors, weights, _numbered((vectors @ centres.T).argmax(1).tolist()))


def tree(vectors: Floats, weights: Floats) -> list[Merge]:
    """All merges of Ward's method, cheapest first; of equal ones that of the first rows."""
    centres, masses = vectors.astype(np.float32).copy(), weights.astype(np.float32).copy()
    squares = np.vecdot(centres, centres)
    alive = np.ones(len(vectors), bool)
    merges, chain = list[Merge](), list[int]()
    for _ in range(len(vectors) - 1):
        if not chain:
            chain.append(int(alive.argmax()))
        while True:
            last = chain[-1]
            costs = masses * masses[last] / (masses + masses[last])
            costs *= np.maximum(squares + squares[last] - 2 * (centres @ centres[last]), 0)
            costs[~alive] = np.inf
            costs[last] = np.inf
            nearest = int(costs.argmin())
            if len(chain) > 1 and costs[chain[-2]] <= costs[nearest] * (1 + _EPSILON):
                break
            chain.append(nearest)
        one, other = sorted((chain.pop(), chain.pop()))
        merges.append(Merge(one, other, float(costs[one if last == other else other])))
        mass = masses[one] + masses[other]
        centres[one] = (masses[one] * centres[one] + masses[other] * centres[other]) / mass
        masses[one], squares[one] = mass, centres[one] @ centres[one]
        alive[other] = False
    return sorted(merges, key=lambda merge: merge.cost)


def cut(merges: list[Merge], count: int) -> Labels:
    """The cluster of each vector when all but the last `count` - 1 merges are made."""
    parents = list(range(len(merges) + 1))

    def root(member: int) -> int:
        while parents[member] != member:
            parents[member] = parents[parents[member]]
            member = parents[member]
        return member

    for one, other, _ in merges[: len(merges) + 1 - count]:
        low, high = sorted((root(one), root(other)))
        parents[high] = low
    return _numbered(root(member) for member in range(len(parents)))


def silhouette(vectors: Floats, weights: Floats, found: Clusters) -> float:
    """How well clusters stand apart, -1..1: the mean by weight.

    Vectors nearer than PARAPHRASE to their centre count as being that far from it: else each would stand best alone.
    """
    labels, centres = found
    if len(centres) < 2:
        return 0.0
    alike = vectors @ centres.T
    rows = np.arange(len(vectors))
    within = np.maximum(1 - alike[rows, labels], PARAPHRASE)
    alike[rows, labels] = -np.inf
    apart = 1 - alike.max(1)
    values = (apart - within) / np.maximum(apart, within)
    return float(weights @ values / weights.sum())


def _settled(vectors: Floats, weights: Floats, labels: Labels) -> Clusters:
    found = _centred(vectors, weights, labels)
    for _ in range(ROUNDS):
        nearest = _numbered((vectors @ found.centres.T).argmax(1).tolist())
        if np.array_equal(nearest, found.labels):
            break
        found = _centred(vectors, weights, nearest)
    return found


def _centred(vectors: Floats, weights: Floats, labels: Labels) -> Clusters:
    sums = np.zeros((int(labels.max()) + 1, vectors.shape[1]), np.float32)
    np.add.at(sums, labels, vectors * weights[:, None])
    return Clusters(labels, unit(sums))


def _numbered(members: Iterable[int]) -> Labels:
    """Names of clusters as numbers from 0 in the order in which they appear."""
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(member, len(numbers)) for member in members], np.intp)
