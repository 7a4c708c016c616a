"""Scoring while the server runs: a follower and processes for each lane that the settings need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from assay.config import Quality
from assay.quality.follower import Follower
from assay.quality.lanes import Lane, lanes
from assay.quality.process import ScoringPool
from assay.quality.retry import Retry
from assay.store.connect import Store
from assay.store.fits import ActiveFits

STOP_SECONDS = 5.0


class _Running(NamedTuple):
    lane: Lane
    pool: ScoringPool
    follower: Follower


class LiveScoring:
    """Scores new calls until `stop`. `settled_at` tells up to which commit (Unix microseconds) the store is whole."""

    def __init__(self, store: Store, settings: Quality, settled_at: Callable[[], int]) -> None:
        fits = ActiveFits(store)
        self._lanes = [_running(lane, store, settings, settled_at, fits) for lane in lanes(settings)]

    def start(self) -> None:
        """Begin to follow."""
        for running in self._lanes:
            running.follower.start()

    def stop(self) -> None:
        """Finish the batches in hand, as far as five seconds go, then end. What is not finished is done anew."""
        for running in self._lanes:
            if not running.follower.stop(STOP_SECONDS):
                running.pool.kill()
                running.follower.stop()
            running.pool.close()

    @property
    def caught_up(self) -> bool:
        """Whether nothing that is settled waits to be scored."""
        return all(running.follower.caught_up for running in self._lanes)

    @property
    def scored_calls(self) -> int:
        """How many calls were scored since the start."""
        return max((running.follower.scored_calls for running in self._lanes), default=0)

    @property
    def last_errors(self) -> list[str]:
        """What stops scoring at the moment."""
        return [running.follower.last_error for running in self._lanes if running.follower.last_error]

    def figures(self) -> dict[str, Any] | None:
        """For GET /api/health: progress, and what does not work, of each lane; None where nothing is scored.

        `resting` scorers failed again and again and are left out for now; each with its last failure.
        """
        if not self._lanes:
            return None
        return {
            "scored_calls": self.scored_calls,
            "lag_seconds": max(running.follower.lag_seconds for running in self._lanes),
            "lanes": {running.lane: _figures(running) for running in self._lanes},
            "problems": [problem for running in self._lanes for problem in running.pool.problems],
            "resting": {name: why for running in self._lanes for name, why in running.pool.resting.items()},
        }


def _running(lane: Lane, store: Store, settings: Quality, settled_at: Callable[[], int], fits: ActiveFits) -> _Running:
    pool = ScoringPool(lane, settings, settings.processes, fits=fits)
    follower = Follower(
        store,
        pool,
        settled_at,
        name=lane,
        share=settings.part,
        retry=Retry(store, pool, lambda: pool.names, lambda: pool.resting, settings.part),
        poll_seconds=settings.poll_seconds,
        batch_size=settings.batch_size,
    )
    return _Running(lane, pool, follower)


def _figures(running: _Running) -> dict[str, Any]:
    return {
        "scored_calls": running.follower.scored_calls,
        "lag_seconds": running.follower.lag_seconds,
        "scores": sorted(running.pool.names),
        "failures": running.pool.failures,
    }
