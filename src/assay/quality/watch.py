"""Which scorers fail, and which of them rest: one that fails again and again is left out for a while.

A rest lasts a minute, then twice as long each time, up to an hour; the first verdict that succeeds ends it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from assay.records import Score

FAILED = "failed"
"""Label of a null score whose scorer failed; it is tried again."""

MOST_FAILURES = 10
MOST_BREAKDOWNS = 3
"""In a row, before a scorer rests. A breakdown took the whole process with it: it hung or crashed."""

FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 60.0, 3600.0


class _Record:
    def __init__(self) -> None:
        self.failures = 0
        self.strain = 0.0
        self.rests = 0
        self.until = 0.0
        self.reason = ""


class Watch:
    """Counts each scorer's failures by the name of its score. Not thread-safe."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._records: dict[str, _Record] = {}

    @property
    def resting(self) -> dict[str, str]:
        """Scores that are left out now, each with its last failure."""
        now = self._now()
        return {name: record.reason for name, record in self._records.items() if record.until > now}

    @property
    def failures(self) -> dict[str, int]:
        """How often each scorer failed since the start, where it ever did."""
        return {name: record.failures for name, record in self._records.items() if record.failures}

    def saw(self, scores: Iterable[Score]) -> None:
        """Take note of verdicts in the order in which they were made."""
        for score in scores:
            if score.label == FAILED:
                self._strain(score.name, 1 / MOST_FAILURES, score.comment)
            elif record := self._records.get(score.name):
                record.strain, record.rests = 0.0, 0

    def broke_down(self, name: str, reason: str) -> None:
        """Take note of a scorer that took its process with it."""
        self._strain(name, 1 / MOST_BREAKDOWNS, reason)

    def _strain(self, name: str, by: float, reason: str) -> None:
        record = self._records.setdefault(name, _Record())
        record.failures += 1
        record.strain += by
        record.reason = reason
        if record.strain > 1 - 1e-9 and record.until <= self._now():
            record.until = self._now() + min(FIRST_REST_SECONDS * 2**record.rests, LONGEST_REST_SECONDS)
            record.rests += 1
            # After a rest one more failure is enough.
            record.strain = 1 - by
