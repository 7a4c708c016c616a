"""Try failed verdicts again: after ten seconds, a minute, ten minutes; then they are given up.

In: null scores labelled "failed" of the last hour. Out: a verdict in their place, or the label "gave up". How often a
verdict was tried is forgotten with the process: a restart tries again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

import msgspec

from assay.quality.watch import FAILED
from assay.records import Score, ScoreSource
from assay.store.connect import Row, Store
from assay.store.scores import failed_targets, insert_scores
from assay.store.spans import WHOLE, Share, calls_with_ids

GAVE_UP = "gave up"
"""Label of a null score whose scorer failed for good."""

PAUSES_SECONDS = (10.0, 60.0, 600.0)
AT_ONCE = 200
_REMEMBERED = 20_000


class Retry:
    """Retries what `names()` failed at; `resting()` names scores that are left alone for now."""

    def __init__(
        self,
        store: Store,
        work: Callable[[Sequence[Row]], list[Score]],
        names: Callable[[], Collection[str]],
        resting: Callable[[], Collection[str]],
        share: Share = WHOLE,
        source: ScoreSource = "scorer",
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._work = work
        self._names = names
        self._resting = resting
        self._share = share
        self._source: ScoreSource = source
        self._now = now
        self._tries: dict[str, int] = {}
        self._not_before: dict[str, float] = {}
        self._next = 0.0

    def step(self) -> None:
        """One round, at most every ten seconds. Raises StoreError."""
        now = self._now()
        names = set(self._names()) - set(self._resting())
        if now < self._next or not names:
            return
        self._next = now + PAUSES_SECONDS[0]
        before = round((now - PAUSES_SECONDS[0]) * 1e6)
        failed = failed_targets(self._store, self._source, names, FAILED, before, 10 * AT_ONCE, self._share)
        due = [row for row in failed if self._not_before.get(row["target"], 0) <= now][:AT_ONCE]
        if due:
            self._again(due, now)
        self._next = now if len(due) == AT_ONCE else self._next

    def _again(self, due: list[Row], now: float) -> None:
        starts = [row["started"] for row in due]
        wanted = {(row["target"], name) for row in due for name in row["names"]}
        calls = calls_with_ids(self._store, [row["target"] for row in due], (min(starts), max(starts)))
        scores = [score for score in self._work(calls) if (score.target, score.name) in wanted]
        for target in {row["target"] for row in due}:
            tries = self._tries[target] = self._tries.get(target, 0) + 1
            self._not_before[target] = now + PAUSES_SECONDS[min(tries, len(PAUSES_SECONDS) - 1)]
        insert_scores(self._store, list(map(self._judged, scores)))
        if len(self._tries) > _REMEMBERED:
            self._tries.clear()
            self._not_before.clear()

    def _judged(self, score: Score) -> Score:
        given_up = score.label == FAILED and self._tries[score.target] >= len(PAUSES_SECONDS)
        return msgspec.structs.replace(score, label=GAVE_UP) if given_up else score
