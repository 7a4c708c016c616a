"""The series of the rules, kept and extended: each round reads the last minutes again, and never the weeks before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from assay.alerts.evaluate import lookback_seconds
from assay.alerts.model_series import References, read
from assay.alerts.rules import AlertRule
from assay.alerts.series import NO_BINS, Series, Source, source_of
from assay.store.connect import Store

READ_AGAIN_SECONDS = 1800
"""Calls and scores that came so late still count."""

MARGIN_SECONDS = 6 * 3600


class RecentSeries:
    """What the rules look at, up to a moment that moves on. Not thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._references = References(store)
        self._kept: dict[Source, dict[str, Series]] = {}

    def series(self, sharing: Sequence[AlertRule], until: int, step: int) -> dict[str, dict[str, Series]]:
        """By rule the series of all its groups that end at `until`. The rules share calls. Raises StoreError."""
        sources = list(dict.fromkeys(map(source_of, sharing)))
        reach = max(map(_reach, sharing))
        first = (until - reach) // step * step
        kept = [series for source in sources for series in self._kept.get(source, {}).values()]
        ends = min((one.start + len(one) * step for one in kept), default=0)
        again = max(ends - READ_AGAIN_SECONDS, first) // step * step
        whole = len(kept) > 0 and self.knows(sharing) and ends > first
        found = read(self._store, sharing, again if whole else first, until, step, self._references)
        if whole and any(_changed(self._kept[source], found[source]) for source in sources):
            found, whole = read(self._store, sharing, first, until, step, self._references), False
        empty = _empty(again, until, step)
        for source in sources:
            self._kept[source] = _joined(self._kept[source], found[source], first, empty) if whole else found[source]
        return {rule.name: self._kept[source_of(rule)] for rule in sharing}

    def knows(self, sharing: Sequence[AlertRule]) -> bool:
        """Whether the rules' series are kept already."""
        return all(source_of(rule) in self._kept for rule in sharing)

    def groups(self, rule: AlertRule) -> set[str] | None:
        """The groups that the rule's calls fall into, None if that was not asked yet."""
        kept = self._kept.get(source_of(rule))
        return None if kept is None else set(kept)


def _reach(rule: AlertRule) -> int:
    return lookback_seconds(rule) + rule.hold_seconds + rule.resolve_after + MARGIN_SECONDS


def _changed(kept: dict[str, Series], found: dict[str, Series]) -> bool:
    """Whether a model is held against another reference than before: then its counts are of other bins."""
    models = [(kept.get(group), series.against) for group, series in found.items() if series.against]
    return any(old is None or old.against != against for old, against in models)


def _joined(kept: dict[str, Series], found: dict[str, Series], first: int, empty: Series) -> dict[str, Series]:
    """What is kept, from `first` on, with its end read anew (`empty` of a group that had nothing there).

    A group without calls in all that time is let go.
    """
    old = next(iter(kept.values()), None)
    if old is None:
        return found
    before = _empty(old.start, old.start + len(old) * old.step, old.step)
    joined = {group: kept.get(group, before).followed_by(found.get(group, empty)) for group in {**kept, **found}}
    cut = {group: series.from_bucket(max((first - series.start) // series.step, 0)) for group, series in joined.items()}
    return {group: series for group, series in cut.items() if group == "" or series.n.any()}


def _empty(since: int, until: int, step: int) -> Series:
    nothing = np.zeros((until - since) // step)
    return Series(since, step, nothing, nothing, nothing, nothing - np.inf, nothing, NO_BINS)
