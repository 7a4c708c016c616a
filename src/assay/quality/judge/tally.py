"""What the judge has done since the start, and whether its endpoint answers. Safe to use from several threads."""

from __future__ import annotations

import threading

OUTAGE_AFTER = 5
"""So many questions in a row without an answer, and the endpoint is taken to be out of order."""

PROBLEM_AFTER = 3
"""So many, and it is a problem that health tells; a single one may be of that question's own making."""


class Tally:
    """Counts of verdicts; `unanswered` questions in a row; calls of one day for which the budget had no room."""

    def __init__(self) -> None:
        self.judged = 0
        self.from_cache = 0
        self.failed = 0
        self.unanswered = 0
        self.last_error = ""
        self._skipped: tuple[int, set[str]] = (0, set())
        self._lock = threading.Lock()

    @property
    def out_of_order(self) -> bool:
        """Whether asking on would only take time."""
        return self.unanswered >= OUTAGE_AFTER

    @property
    def problem(self) -> str:
        """Why the last questions had no answer, "" while it is not many in a row."""
        return self.last_error if self.unanswered >= PROBLEM_AFTER else ""

    def probe(self) -> int:
        """Let the next question be asked even so; answers how many were judged so far."""
        with self._lock:
            self.unanswered = min(self.unanswered, OUTAGE_AFTER - 1)
            return self.judged

    def success(self) -> None:
        """The judge gave a verdict."""
        with self._lock:
            self.judged += 1
            self.unanswered, self.last_error = 0, ""

    def failure(self, reason: str, outage: bool) -> None:
        """It gave none; in an `outage` nothing came at all, else the endpoint did answer."""
        with self._lock:
            self.failed += 1
            self.last_error = reason
            self.unanswered = self.unanswered + 1 if outage else 0

    def skipped(self, span_id: str, day: int) -> None:
        """The budget of a day had no room for a call."""
        with self._lock:
            if self._skipped[0] != day:
                self._skipped = (day, set())
            self._skipped[1].add(span_id)

    def count_skipped(self, day: int) -> int:
        """How many calls the budget of this day had no room for."""
        with self._lock:
            return len(self._skipped[1]) if self._skipped[0] == day else 0
