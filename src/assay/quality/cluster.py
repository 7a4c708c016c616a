"""Scoring on a Dask cluster, whose workers have Assay installed: `assay quality backfill --dask tcp://scheduler:8786`."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from types import MappingProxyType
from typing import Any

from assay.config import Quality
from assay.errors import AssayError
from assay.quality.backfill import Wanted, require_names
from assay.quality.lanes import Lane, lanes
from assay.quality.process import Description, Scoring
from assay.records import Score
from assay.store.connect import Row
from assay.store.fits import Fit, Fits, by_project

CONNECT_SECONDS = 15


class ClusterScores:
    """One lane's scoring by an executor whose workers load the scorers once each."""

    def __init__(self, executor: Executor, lane: Lane, settings: Quality, only: frozenset[str], fits: Fits) -> None:
        self._executor = executor
        # As JSON: nothing secret goes to a worker, and equal settings find the scorers that are loaded.
        own = tuple(chain.from_iterable(fits.values()))
        self._loading = lane, settings.model_dump_json(exclude={"judge"}), only, own
        who, self.offered, problems = executor.submit(described, *self._loading).result()
        if problems:
            raise AssayError(f"a worker cannot load all scorers: {'; '.join(problems)}")
        self.names: Collection[str] = [one.name for one in who]

    def submit(self, calls: Sequence[Row]) -> Future[list[Score]]:
        """The scores of these calls."""
        return self._executor.submit(scores_of_calls, *self._loading, calls)


@contextmanager
def dask_scores(
    address: str, settings: Quality, wanted: Wanted, fits: Fits = MappingProxyType({})
) -> Generator[tuple[list[ClusterScores], int]]:
    """Scoring on the cluster at `address` (tcp:// or tls://) for each lane that has a wanted score, and its width.

    Raises AssayError where Dask is not installed, no cluster answers, or a name is wanted that nobody gives.
    """
    with _executor(address) as (executor, workers):
        only = frozenset(wanted.scorers)
        places = [ClusterScores(executor, lane, settings, only, fits) for lane in lanes(settings)]
        require_names(wanted, {name for place in places for name in place.offered})
        yield [place for place in places if place.names], workers


@contextmanager
def _executor(address: str) -> Generator[tuple[Executor, int]]:
    if not address.startswith(("tcp://", "tls://")):
        raise AssayError(f"{address!r} is no address of a Dask scheduler: write for example tcp://127.0.0.1:8786")
    try:
        from distributed import Client
    except ImportError:
        raise AssayError("a Dask cluster needs the dask extra: pip install 'assay[dask]'") from None
    try:
        client: Any = Client(address, timeout=CONNECT_SECONDS)
    except (OSError, TimeoutError) as error:
        raise AssayError(f"no Dask scheduler answers at {address}: {error}") from None
    with client:
        executor: Executor = client.get_executor(pure=False)
        yield executor, max(len(client.scheduler_info()["workers"]), 1)


@lru_cache(maxsize=4)
def _scoring(lane: Lane, settings: str, only: frozenset[str], fits: tuple[Fit, ...]) -> Scoring:
    loaded = Scoring.of_lane(lane, Quality.model_validate_json(settings), only)
    loaded.use(by_project(fits))
    return loaded


def described(lane: Lane, settings: str, only: frozenset[str], fits: tuple[Fit, ...]) -> Description:
    """On a worker: what the lane's scorers are."""
    return _scoring(lane, settings, only, fits).describe()


def scores_of_calls(
    lane: Lane, settings: str, only: frozenset[str], fits: tuple[Fit, ...], calls: Sequence[Row]
) -> list[Score]:
    """On a worker: the scores of these calls."""
    return _scoring(lane, settings, only, fits).scores(calls)
