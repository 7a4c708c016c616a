"""Prompt groups while the server runs: a follower reads new prompts, and fits groups anew now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from assay.quality.follower import Follower
from assay.quality.groups.grouping import BATCH, Grouping, cursor_name
from assay.store.connect import Row, Store
from assay.store.cursors import Cursor
from assay.store.embeddings import prompts_after

LOOK_SECONDS = 10.0
"""So often at most it is asked whether a project is to be fitted anew."""


class LiveGroups(Follower):
    """Reads new prompts until `stop`. `settled_at` tells up to which commit (Unix microseconds) the store is whole."""

    what = "prompt groups"

    def __init__(self, store: Store, settled_at: Callable[[], int], poll_seconds: float = 0.5) -> None:
        super().__init__(store, _no_scores, settled_at, name=cursor_name(), poll_seconds=poll_seconds, batch_size=BATCH)
        self.grouping = Grouping(store)
        self._looked_at = -LOOK_SECONDS
        self._looked_with = -1

    def stop(self, within_seconds: float | None = None) -> bool:
        """Finish the batch in hand, then end."""
        ended = super().stop(within_seconds)
        self.grouping.close()
        return ended

    def calls_after(self, cursor: Cursor, until: int, limit: int) -> Sequence[Row]:
        """The next conversations with a prompt."""
        return prompts_after(self._store, cursor, until, limit)

    def keep(self, calls: Sequence[Row]) -> None:
        """Read their prompts, and store what they are."""
        self.grouping.keep(calls)

    def rest(self) -> None:
        """Fit those projects anew that have many new calls."""
        due = time.monotonic() - self._looked_at > LOOK_SECONDS
        if due and self._looked_with != self.scored_calls:
            self._looked_at, self._looked_with = time.monotonic(), self.scored_calls
            self.grouping.refit_where_due()

    def figures(self) -> dict[str, Any]:
        """For GET /api/health."""
        return {"read_calls": self.scored_calls, "lag_seconds": self.lag_seconds}


def _no_scores(_: Sequence[Row]) -> list[Any]:
    return []
