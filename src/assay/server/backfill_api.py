"""The route that scores history anew, telling line by line how far it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from fastapi import Body, FastAPI
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, Field

from assay.analytics.selection import moment
from assay.config import Quality
from assay.errors import AssayError
from assay.quality.backfill import Progress, Scores, Wanted, backfill, local_scores
from assay.quality.cluster import dask_scores
from assay.quality.scorer import version_of
from assay.store.connect import Store
from assay.store.fits import ActiveFits, active_fits


class NewBackfill(BaseModel, extra="forbid"):
    """What is scored anew: `since` and `until` as an age (30d) or an ISO 8601 time, `scorers` by score name or all.

    Scored by `processes` here, or on the Dask cluster whose scheduler is at `dask`. `restart`: not where it stopped.
    """

    since: str = ""
    until: str = ""
    project: str = ""
    scorers: list[str] = []
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    dask: str = ""
    restart: bool = False

    def wanted(self) -> Wanted:
        """The same as the backfill takes it. Raises AssayError where a time is none."""
        now = datetime.now(UTC)
        since = _micros(moment(self.since, now)) if self.since else 0
        until = _micros(moment(self.until, now) if self.until else now)
        key = version_of(self.since, self.until, self.project, *sorted(self.scorers))
        return Wanted(f"backfill {key}", since, until, self.project, tuple(self.scorers))


def add_backfill(app: FastAPI, store: Store, settings: Quality) -> None:
    """Add POST /quality/backfill to the API."""
    running = threading.Lock()

    @app.post("/quality/backfill")
    def post_backfill(new: Annotated[NewBackfill, Body()]) -> Response:
        """Score history anew. Answers JSON lines: {"done", "total", "scores"}, at last perhaps {"error"}."""
        lines = _lines(store, settings, new, new.wanted(), running)
        return StreamingResponse(lines, media_type="application/x-ndjson")


def _lines(
    store: Store, settings: Quality, new: NewBackfill, wanted: Wanted, running: threading.Lock
) -> Iterator[bytes]:
    if not running.acquire(blocking=False):
        yield _error("another backfill is running: wait for its end, or stop it where it was started")
        return
    try:
        with ExitStack() as stack:
            places, at_once = _places(stack, store, settings, new, wanted)
            for progress in backfill(store, places, wanted, at_once=at_once, restart=new.restart):
                yield _line(progress)
    except AssayError as error:
        yield _error(str(error))
    finally:
        running.release()


def _places(
    stack: ExitStack, store: Store, settings: Quality, new: NewBackfill, wanted: Wanted
) -> tuple[Sequence[Scores], int]:
    """Where the scoring is done, and how many batches are under way there at a time."""
    if new.dask:
        places, workers = stack.enter_context(dask_scores(new.dask, settings, wanted, active_fits(store)))
        return places, 2 * workers
    return stack.enter_context(local_scores(settings, wanted, new.processes, ActiveFits(store))), 2 * new.processes


def _error(message: str) -> bytes:
    return msgspec.json.encode({"error": message}) + b"\n"


def _line(progress: Progress) -> bytes:
    return msgspec.json.encode(progress._asdict()) + b"\n"


def _micros(at: datetime) -> int:
    return round(at.timestamp() * 1e6)
