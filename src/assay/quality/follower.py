"""Score what is new: read calls after a cursor kept in the store, judge them, write the scores, move on.

Scores are written before the cursor moves, and judging again replaces, so a crash at any point loses
nothing and counts nothing twice. Several followers may share the calls of one store by a hash of their ids.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from assay.errors import traced
from assay.quality.retry import Retry
from assay.records import Score
from assay.store.connect import Row, Store
from assay.store.cursors import START, Cursor, read_cursors, write_cursor
from assay.store.scores import insert_scores
from assay.store.spans import WHOLE, Share, calls_after

NAME = "quality"
LONGEST_PAUSE_SECONDS = 30.0

log = logging.getLogger(__name__)

Work = Callable[[Sequence[Row]], list[Score]]
"""Scores the calls of a batch, rows as `store.spans.calls_after` gives them."""


class Follower:
    """Has new calls scored by `work`, in a thread of its own, until `stop`.

    `committed_at` tells up to which commit (Unix microseconds) the store may be read as whole. The cursor is kept
    under `name` and the share. `last_error` holds what went wrong last, "" once it goes well again.
    """

    what = "scoring"
    """What fails, in messages."""

    def __init__(
        self,
        store: Store,
        work: Work,
        committed_at: Callable[[], int],
        *,
        name: str = NAME,
        share: Share = WHOLE,
        retry: Retry | None = None,
        poll_seconds: float = 0.5,
        batch_size: int = 500,
    ) -> None:
        self.scored_calls = 0
        self.last_error = ""
        self._store = store
        self._work = work
        self._committed_at = committed_at
        self._share = share
        self._retry = retry
        self._poll_seconds = poll_seconds
        self._batch_size = batch_size
        self._name = cursor_name(name, share)
        self._cursor = first_cursor(store, name, share)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"assay-{name}", daemon=True)

    @property
    def lag_seconds(self) -> float:
        """How far the newest stored call is ahead of the newest scored one, in seconds of arrival."""
        return max(self._committed_at() - self._cursor[0], 0) / 1e6 if self._cursor[0] else 0.0

    @property
    def caught_up(self) -> bool:
        """Whether it has got to the newest commit."""
        return self._cursor[0] >= self._committed_at()

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self, within_seconds: float | None = None) -> bool:
        """Finish the batch in hand, then end; False if that takes longer."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(within_seconds)
        return not self._thread.is_alive()

    def step(self) -> int:
        """Score one batch; answers how many calls it held. Raises StoreError, and what `work` raises."""
        until = self._committed_at()
        if (until, LAST_SPAN_ID) <= self._cursor:
            return 0
        calls = self.calls_after(self._cursor, until, self._batch_size)
        self.keep(calls)
        full = len(calls) == self._batch_size
        self._cursor = (calls[-1]["ingested"], calls[-1]["span_id"]) if full else (until, LAST_SPAN_ID)
        write_cursor(self._store, self._name, self._cursor)
        self.scored_calls += len(calls)
        return len(calls)

    def calls_after(self, cursor: Cursor, until: int, limit: int) -> Sequence[Row]:
        """The next calls, oldest first, each with `ingested` (Unix microseconds) and `span_id`."""
        return calls_after(self._store, cursor, until, limit, self._share)

    def keep(self, calls: Sequence[Row]) -> None:
        """Score these calls, and store that."""
        insert_scores(self._store, self._work(calls) if calls else [])

    def rest(self) -> None:
        """What there is to do when it has caught up: try failed scores again."""
        if self._retry:
            self._retry.step()

    def _run(self) -> None:
        pause = self._poll_seconds
        while not self._stopping.wait(pause):
            try:
                pause = 0.0 if self.step() == self._batch_size else self._poll_seconds
                if pause:
                    self.rest()
                self.last_error = ""
            except Exception as error:
                self.last_error = f"{self.what}: {error}"
                pause = min(max(pause, self._poll_seconds) * 2, LONGEST_PAUSE_SECONDS)
                log.warning("%s tries again in %.1f s: %s", self.what, pause, error, exc_info=traced(error))


LAST_SPAN_ID = "\x7f"
"""Sorts after every hexadecimal id: a cursor with it is past the whole commit."""


def cursor_name(name: str, share: Share) -> str:
    """Under which a share's position is kept."""
    return name if share == WHOLE else f"{name} {share[0] + 1}/{share[1]}"


def first_cursor(store: Store, name: str, share: Share) -> Cursor:
    """Where a follower goes on: at its own position, or where those were that shared the work otherwise before it.

    When three followers take over from one, or one from three, each begins where the last of the former had got to.
    """
    known = read_cursors(store, name)
    ways: dict[int, list[tuple[Cursor, int]]] = {}
    for follower, position in known.items():
        rest = follower.removeprefix(name)
        if not rest or rest.startswith(" "):
            ways.setdefault(int(rest.partition("/")[2] or 1), []).append(position)
    if not ways:
        return START
    newest = max(ways, key=lambda of: max(written for _, written in ways[of]))
    own = known.get(cursor_name(name, share))
    if newest == share[1] and own:
        return own[0]
    whole = len(ways[newest]) == newest
    return min(cursor for cursor, _ in ways[newest]) if whole else own[0] if own else START
