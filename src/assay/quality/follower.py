"""Score what is new: read calls after a cursor kept in the store, judge them, write the scores, move on.

Scores are written before the cursor moves, and judging again replaces, so a crash at any point loses
nothing and counts nothing twice.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from assay.ingest.dialects.fields import as_text, objects
from assay.ingest.dialects.messages import message_text
from assay.quality.scorer import Conversation, Scorer, assess
from assay.records import Score
from assay.store.connect import Row, Store
from assay.store.cursors import read_cursor, write_cursor
from assay.store.scores import insert_scores
from assay.store.spans import calls_after

NAME = "quality"
LONGEST_PAUSE_SECONDS = 30.0

log = logging.getLogger(__name__)


class Follower:
    """Scores new calls in a thread of its own until `stop`.

    `committed_at` tells up to which commit (Unix microseconds) the store may be read as whole.
    `last_error` holds what went wrong last, "" once it goes well again.
    """

    def __init__(
        self,
        store: Store,
        scorers: Sequence[Scorer],
        committed_at: Callable[[], int],
        *,
        poll_seconds: float = 0.5,
        batch_size: int = 500,
    ) -> None:
        self.scored_calls = 0
        self.last_error = ""
        self._store = store
        self._scorers = scorers
        self._committed_at = committed_at
        self._poll_seconds = poll_seconds
        self._batch_size = batch_size
        self._cursor = read_cursor(store, NAME)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="assay-quality", daemon=True)

    @property
    def lag_seconds(self) -> float:
        """How far the newest stored call is ahead of the newest scored one, in seconds of arrival."""
        return max(self._committed_at() - self._cursor[0], 0) / 1e6 if self._cursor[0] else 0.0

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the batch in hand, then end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def step(self) -> int:
        """Score one batch; answers how many calls it held. Raises StoreError."""
        until = self._committed_at()
        if (until, _LAST_SPAN_ID) <= self._cursor:
            return 0
        calls = calls_after(self._store, self._cursor, until, self._batch_size)
        insert_scores(self._store, [score for call in calls for score in scores_for(call, self._scorers)])
        full = len(calls) == self._batch_size
        self._cursor = (calls[-1]["ingested"], calls[-1]["span_id"]) if full else (until, _LAST_SPAN_ID)
        write_cursor(self._store, NAME, self._cursor)
        self.scored_calls += len(calls)
        return len(calls)

    def _run(self) -> None:
        pause = self._poll_seconds
        while not self._stopping.wait(pause):
            try:
                pause = 0.0 if self.step() == self._batch_size else self._poll_seconds
                self.last_error = ""
            except Exception as error:
                self.last_error = f"scoring: {error}"
                pause = min(max(pause, self._poll_seconds) * 2, LONGEST_PAUSE_SECONDS)
                log.warning("scoring tries again in %.1f s", pause, exc_info=error)


_LAST_SPAN_ID = "\x7f"
"""Sorts after every hexadecimal id: a cursor with it is past the whole commit."""


def scores_for(call: Row, scorers: Sequence[Scorer]) -> list[Score]:
    """The scores of one call row; none for a call that failed, since there is no answer to judge."""
    if call["status"] != "ok":
        return []
    who = {scorer.name: scorer for scorer in scorers}
    return [
        Score(
            target=call["span_id"],
            name=name,
            value=verdict.value,
            label=verdict.label,
            comment=verdict.reason,
            scorer=who[name].scorer,
            scorer_version=who[name].version,
            confidence=verdict.confidence,
            project=call["project"],
            model=call["model"],
            session_id=call["session_id"],
            started_at=round(call["started_at"].timestamp() * 1e6),
        )
        for name, verdict in assess(scorers, conversation_of(call)).items()
    ]


def conversation_of(call: Row) -> Conversation:
    """A call row as scorers see it: the last exchange, with what was retrieved and said before."""
    messages = objects(call["messages_in"])
    tool_results = [
        as_text(part.get("response", part.get("result", "")))
        for message in messages
        for part in objects(message.get("parts"))
        if part.get("type") == "tool_call_response"
    ]
    documents = [as_text(item.get("content", item)) for item in objects(call["documents"])]
    return Conversation(
        prompt=call["prompt"],
        response=call["response"],
        system=call["system"],
        context=tuple(filter(None, documents + tool_results)),
        history=tuple(filter(None, (message_text(message) for message in messages[:-1]))),
        finish_reason=call["finish_reason"],
    )
