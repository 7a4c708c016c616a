"""The door for predictions of classical models and their labels: bodies in, rows on disk, an honest answer out.

An answer is given once the rows are on disk; requests that come together are inserted together. Rows that cannot be
taken are told one by one, and cost their neighbours nothing. Bodies that are being worked on are bounded.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec

from assay.config import Ingest
from assay.errors import MalformedTelemetry, StoreUnavailable
from assay.ingest.arrow_columns import Refusal
from assay.ingest.committing import Committer
from assay.ingest.labels import read_labels
from assay.ingest.predictions import read_predictions
from assay.ingest.wire import decompress
from assay.store.connect import Store
from assay.store.predictions import insert_labels, insert_predictions, models_with

log = logging.getLogger(__name__)


class Counts(msgspec.Struct):
    """What came in since the server started, for /api/health."""

    stored_predictions: int = 0
    refused_predictions: int = 0
    stored_labels: int = 0
    refused_labels: int = 0
    refused_requests: int = 0
    deferred_requests: int = 0
    last_refusal: str = ""


class PredictionReceiver:
    """Takes bodies of predictions and labels, from any thread. `close` finishes what was accepted."""

    def __init__(self, store: Store, limits: Ingest) -> None:
        self.counts = Counts()
        self.limits = limits
        self._store = store
        self._predictions = Committer(partial(insert_predictions, store), "predictions")
        self._labels = Committer(partial(insert_labels, store), "labels")
        self._counting = threading.Lock()
        self._pending_bytes = 0

    def figures(self) -> dict[str, Any]:
        """The counters, and what waits."""
        waiting = self._predictions.waiting_rows + self._labels.waiting_rows
        return {**msgspec.structs.asdict(self.counts), "pending_rows": waiting, "pending_bytes": self._pending_bytes}

    def take_predictions(self, body: bytes, content_type: str, encoding: str) -> tuple[dict[str, Any], Future[None]]:
        """The answer to a body, and a future that is done when it is true.

        Answers how many rows were `accepted` and which were `refused`, with `prediction_ids` where rows came without.
        Raises MalformedTelemetry and StoreUnavailable, and so may the future.
        """
        inflated = decompress(body, encoding, self.limits.max_body_bytes)
        read = read_predictions(inflated, content_type, self.limits.max_future_seconds)
        answer = _answer(read.rows.num_rows, read.refused, read.refused_rows)
        stored = self._predictions.submit(read.rows)
        stored.add_done_callback(partial(self._count, "predictions", answer))
        return answer | ({"prediction_ids": read.made_ids} if read.made_ids else {}), stored

    def take_labels(self, body: bytes, content_type: str, encoding: str) -> tuple[dict[str, Any], Future[None]]:
        """As `take_predictions`, for labels."""
        inflated = decompress(body, encoding, self.limits.max_body_bytes)
        read = read_labels(inflated, content_type, partial(models_with, self._store), self.limits.max_future_seconds)
        answer = _answer(read.rows.num_rows, read.refused, read.refused_rows)
        stored = self._labels.submit(read.rows)
        stored.add_done_callback(partial(self._count, "labels", answer))
        return answer, stored

    @contextmanager
    def held(self) -> Generator[list[int]]:
        """A list of sizes to add to; their sum is pending until the end of the block."""
        sizes = list[int]()
        try:
            yield sizes
        finally:
            with self._counting:
                self._pending_bytes -= sum(sizes)

    def hold(self, sizes: list[int], size: int) -> None:
        """Count bytes as pending. Raises StoreUnavailable where too many are, MalformedTelemetry for a large body."""
        with self._counting:
            sizes.append(size)
            self._pending_bytes += size
            if self._pending_bytes > self.limits.max_pending_bytes:
                raise StoreUnavailable("too much is waiting to be written: slow down and send this again")
        if sum(sizes) > self.limits.max_body_bytes:
            raise MalformedTelemetry(
                f"the body is larger than {self.limits.max_body_bytes} bytes: send fewer rows at a time", 413
            )

    def refused(self, error: MalformedTelemetry | StoreUnavailable) -> None:
        """Count a request of which nothing was taken."""
        with self._counting:
            if isinstance(error, MalformedTelemetry):
                self.counts.refused_requests += 1
                self.counts.last_refusal = str(error)
            else:
                self.counts.deferred_requests += 1
                log.warning("asked a client to send again: %s", error)

    def close(self) -> None:
        """Store what waits, then stop."""
        self._predictions.close()
        self._labels.close()

    def _count(self, what: str, answer: dict[str, Any], done: Future[None]) -> None:
        if done.exception():
            return
        with self._counting:
            for name, rows in (("stored", answer["accepted"]), ("refused", answer["refused_rows"])):
                field = f"{name}_{what}"
                setattr(self.counts, field, getattr(self.counts, field) + rows)
            if answer["refused"]:
                first = answer["refused"][0]
                self.counts.last_refusal = f"row {first['row']}: {first['field']}: {first['reason']}"


def _answer(accepted: int, refused: list[Refusal], refused_rows: int) -> dict[str, Any]:
    return {"accepted": accepted, "refused": [one._asdict() for one in refused], "refused_rows": refused_rows}
