"""Score history anew: after new weights, a new scorer, or an import. Resumable: ask again, and it goes on.

Calls are read in the order of their starts, scored several batches at a time, and written batch by batch; how far it
has got is kept in the store until it is through.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from typing import NamedTuple, Protocol

from assay.config import Quality
from assay.errors import AssayError
from assay.quality.lanes import lanes
from assay.quality.process import ScoringPool
from assay.records import Score
from assay.store.connect import Row, Store
from assay.store.cursors import START, Cursor, read_cursor, write_cursor
from assay.store.fits import Fits
from assay.store.scores import insert_scores
from assay.store.spans import calls_started_after, count_started_after

BATCH = 200
"""Calls that go to a scorer's process at once, and that an interrupted backfill does again at most for each."""


class Progress(NamedTuple):
    """How many of the calls are done, and how many score rows were written since it began or went on."""

    done: int
    total: int
    scores: int


class Scores(Protocol):
    """Where scoring is done: processes here, or a cluster."""

    @property
    def names(self) -> Collection[str]:
        """The scores it gives."""
        ...

    def submit(self, calls: Sequence[Row]) -> Future[list[Score]]:
        """The scores of these calls, later."""
        ...


class Wanted(NamedTuple):
    """Which history is scored anew: calls that started in [since, until) (Unix microseconds), scores by name or all.

    `key` is under what the position is kept: the same question goes on where it stopped.
    """

    key: str
    since: int
    until: int
    project: str = ""
    scorers: tuple[str, ...] = ()


@contextmanager
def local_scores(
    settings: Quality, wanted: Wanted, processes: int, fits: Callable[[], Fits] = dict
) -> Generator[list[ScoringPool]]:
    """Processes here for each lane that has one of the wanted scores. Raises AssayError for a name nobody gives."""
    only = frozenset(wanted.scorers)
    with ExitStack() as stack:
        pools = list[ScoringPool]()
        for lane in lanes(settings):
            pools.append(ScoringPool(lane, settings, processes, only, fits))
            stack.callback(pools[-1].close)
            stack.callback(pools[-1].kill)
        require_names(wanted, {name for pool in pools for name in pool.offered()})
        yield [pool for pool in pools if pool.names]


def require_names(wanted: Wanted, offered: Collection[str]) -> None:
    """Raises AssayError where a wanted score is given by no scorer, or nothing is scored at all."""
    if missing := sorted(set(wanted.scorers) - set(offered)):
        raise AssayError(f"no scorer gives {', '.join(missing)}: there are {', '.join(sorted(offered)) or 'none'}")
    if not offered:
        raise AssayError('nothing is scored here: set [quality] scorers = "local" in assay.toml')


def backfill(
    store: Store, places: Sequence[Scores], wanted: Wanted, *, at_once: int = 2, restart: bool = False
) -> Iterator[Progress]:
    """Scores the wanted calls, telling after each batch how far it is. Raises StoreError, and what scoring raises.

    `at_once` batches are under way at a time. With `restart` it begins anew where it was interrupted before.
    """
    _, since, until, project, _ = wanted
    kept = START if restart else read_cursor(store, wanted.key)
    cursor: Cursor = max(kept, (since, ""))
    total = count_started_after(store, (since, ""), until, project)
    done = total - count_started_after(store, cursor, until, project) if kept != START else 0
    written = 0
    yield Progress(done, total, written)
    under_way: deque[tuple[Cursor, int, list[Future[list[Score]]]]] = deque()
    while True:
        calls = calls_started_after(store, cursor, until, BATCH, project)
        if calls:
            cursor = (calls[-1]["started"], calls[-1]["span_id"])
            under_way.append((cursor, len(calls), [place.submit(calls) for place in places]))
        while under_way and (not calls or len(under_way) >= at_once):
            reached, count, futures = under_way.popleft()
            scores = [score for future in futures for score in future.result()]
            insert_scores(store, scores)
            write_cursor(store, wanted.key, reached)
            done, written = min(done + count, total), written + len(scores)
            yield Progress(done, total, written)
        if not calls:
            break
    write_cursor(store, wanted.key, START)
