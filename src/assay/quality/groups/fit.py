"""Find the kinds of question among a project's templates, under the ids that they had before.

In: templates with vectors and calls, and the groups of the fit before. Out: groups, the same for the same input.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec
import numpy as np

from assay.quality.groups.embedding import rounded
from assay.quality.groups.names import distinguishing, shortened, typical
from assay.quality.groups.ward import Clusters, clusters, resettled, silhouette
from assay.quality.words import Floats, unit
from assay.store.embeddings import Templates
from assay.store.prompt_groups import Group

MOST_GROUPS = 24
"""A lead reads about twenty lines."""
LEAST_SHARE = 0.005
"""Kinds of question that are rarer among a project's calls are not told apart from others."""
NEAR, MARGIN, FARTHEST = 0.35, 0.05, 0.02
"""A prompt is in a group if it is as near as all but the farthest 2% of those it was fitted to, less a margin."""
KEPT_FOR = 0.02
"""The former groups are kept as long as others would not stand apart better by more than this."""
OVERLAP, SAME_CENTRE = 0.3, 0.9
"""A group keeps its id where it shares so many of both groups' calls, or where its centre is so near the former."""
EXAMPLES = 5


def fit(project: str, templates: Templates, former: Sequence[Group], embedding: str, calls: int) -> list[Group]:
    """The groups of a project, those that are gone now marked so. `calls` is how many it has in all.

    `former` are its groups so far, also gone ones, of the same version of the embedding. Templates without a vector
    fall into no group.
    """
    kept = np.flatnonzero(templates.vectors.any(1)) if len(templates.ids) else np.zeros(0, np.intp)
    now = datetime.now(UTC)
    if not len(kept):
        return [msgspec.structs.replace(group, gone=True) for group in former]
    vectors, weights = unit(templates.vectors[kept]), templates.calls[kept]
    texts, groups = ([column[place] for place in kept] for column in (templates.texts, templates.groups))
    found = _clusters(vectors, weights, [group for group in former if not group.gone])
    alike = np.vecdot(vectors, found.centres[found.labels])
    large = [
        label
        for label in range(len(found.centres))
        if weights[found.labels == label].sum() >= LEAST_SHARE * templates.calls.sum()
    ]
    names = _ids(
        project, found, weights, groups, former, large, lambda label: _typical(found, alike, label, weights, texts)
    )
    members = {
        names[label]: [(texts[place], float(weights[place])) for place in _by_likeness(found, alike, label)]
        for label in large
    }
    words, known = distinguishing(members), {group.id: group for group in former}
    made = [
        Group(
            project=project,
            id=names[label],
            name=_name(members[names[label]], known.get(names[label])),
            words=words[names[label]],
            examples=_examples(members[names[label]]),
            centroid=tuple(rounded(found.centres[label]).tolist()),
            least=_least(alike[found.labels == label], weights[found.labels == label]),
            embedding=embedding,
            born_at=known[names[label]].born_at if names[label] in known else now,
            fit_at=now,
            fit_calls=calls,
        )
        for label in large
    ]
    gone = [msgspec.structs.replace(group, gone=True) for group in former if group.id not in members]
    return made + gone


def _clusters(vectors: Floats, weights: Floats, former: Sequence[Group]) -> Clusters:
    """The best clusters, or the former ones where those are about as good: so groups stay what they were."""
    best = clusters(vectors, weights, MOST_GROUPS)
    if not former:
        return best
    kept = resettled(vectors, weights, np.array([group.centroid for group in former], np.float32))
    good_enough = silhouette(vectors, weights, kept) >= silhouette(vectors, weights, best) - KEPT_FOR
    return kept if good_enough and len(kept.centres) > 1 else best


def _ids(
    project: str,
    found: Clusters,
    weights: Floats,
    groups: Sequence[str],
    former: Sequence[Group],
    large: Sequence[int],
    text: Callable[[int], str],
) -> dict[int, str]:
    """The id of each cluster: of the former group that it shares most calls with, or has its centre; else a new one."""
    pairs = [
        (overlap, label, one)
        for (label, one), overlap in _overlaps(found, weights, groups).items()
        if overlap >= OVERLAP
    ]
    ids = _matched(pairs, large, {group.id for group in former})
    near = [
        (float(found.centres[label] @ np.array(group.centroid, np.float32)), label, group.id)
        for label in large
        if label not in ids
        for group in former
        if group.id not in ids.values()
    ]
    ids |= _matched([pair for pair in near if pair[0] >= SAME_CENTRE], large, {one for *_, one in near})
    taken = {group.id for group in former}
    for label in large:
        if label not in ids:
            ids[label] = _new_id(project, text(label), taken)
            taken.add(ids[label])
    return ids


def _overlaps(found: Clusters, weights: Floats, groups: Sequence[str]) -> dict[tuple[int, str], float]:
    """Calls that a cluster and a former group share, over those that either has."""
    shared: dict[tuple[int, str], float] = defaultdict(float)
    of_label: dict[int, float] = defaultdict(float)
    of_group: dict[str, float] = defaultdict(float)
    for label, group, calls in zip(found.labels.tolist(), groups, weights.tolist(), strict=True):
        of_label[label] += calls
        if group:
            of_group[group] += calls
            shared[label, group] += calls
    return {pair: calls / (of_label[pair[0]] + of_group[pair[1]] - calls) for pair, calls in shared.items()}


def _matched(pairs: Sequence[tuple[float, int, str]], large: Sequence[int], known: set[str]) -> dict[int, str]:
    """One to one, the closest pairs first."""
    ids: dict[int, str] = {}
    for _, label, group in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
        if label in large and label not in ids and group in known and group not in ids.values():
            ids[label] = group
    return ids


def _new_id(project: str, text: str, taken: set[str]) -> str:
    attempt = 0
    while (found := hashlib.sha256(f"{project} {text} {attempt}".encode(errors="replace")).hexdigest()[:8]) in taken:
        attempt += 1
    return found


def _typical(found: Clusters, alike: Floats, label: int, weights: Floats, texts: Sequence[str]) -> str:
    return typical([(texts[place], float(weights[place])) for place in _by_likeness(found, alike, label)])


def _by_likeness(found: Clusters, alike: Floats, label: int) -> list[int]:
    """Members of a cluster, those nearest to its centre first."""
    members = np.flatnonzero(found.labels == label)
    return members[np.argsort(-alike[members], kind="stable")].tolist()


def _name(members: Sequence[tuple[str, float]], former: Group | None) -> str:
    """The former name as long as one of the calls still has that template, else the most typical one."""
    if former and former.name in {shortened(text) for text, _ in members}:
        return former.name
    return typical(members)


def _examples(members: Sequence[tuple[str, float]]) -> tuple[str, ...]:
    return tuple(text for text, _ in sorted(members, key=lambda member: -member[1])[:EXAMPLES])


def _least(alike: Floats, weights: Floats) -> float:
    order = np.argsort(alike)
    shares = np.cumsum(weights[order]) / weights.sum()
    farthest = float(alike[order][min(int(np.searchsorted(shares, FARTHEST)), len(order) - 1)])
    return max(NEAR, farthest - MARGIN)
