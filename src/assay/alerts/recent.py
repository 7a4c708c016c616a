"""The series of the rules, kept and extended: each round reads the last minutes again, and never the weeks before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from assay.alerts.evaluate import lookback_seconds
from assay.alerts.rules import AlertRule
from assay.alerts.series import NO_BINS, Series, Source, read_series, source_of
from assay.store.connect import Store

READ_AGAIN_SECONDS = 1800
"""Calls and scores that came so late still count."""

MARGIN_SECONDS = 6 * 3600


class RecentSeries:
    """What the rules look at, up to a moment that moves on. Not thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
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
        found = read_series(self._store, sharing, again if whole else first, until, step)
        for source in sources:
            self._kept[source] = _joined(self._kept[source], found[source], first) if whole else found[source]
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


def _joined(kept: dict[str, Series], found: dict[str, Series], first: int) -> dict[str, Series]:
    """What is kept, from `first` on, with its end read anew. A group without calls in all that time is let go."""
    old, new = next(iter(kept.values()), None), next(iter(found.values()), None)
    if old is None or new is None:
        return found
    joined = {
        group: kept.get(group, _empty(old)).followed_by(found.get(group, _empty(new))) for group in {**kept, **found}
    }
    cut = {group: series.from_bucket(max((first - series.start) // series.step, 0)) for group, series in joined.items()}
    return {group: series for group, series in cut.items() if group == "" or series.n.any()}


def _empty(like: Series) -> Series:
    nothing = np.zeros(len(like))
    return Series(like.start, like.step, nothing, nothing, nothing, nothing - np.inf, nothing, NO_BINS)
