"""The routes of classical models' predictions: rows and labels coming in, and pages of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from assay.analytics.predictions import labels, predictions
from assay.analytics.selection import moment
from assay.errors import MalformedTelemetry, StoreUnavailable
from assay.ingest.prediction_receiver import PredictionReceiver
from assay.server.asking import as_json, only_known
from assay.store.connect import Store

BODY_SECONDS = 60.0
WRITES = ("/predictions", "/labels")
"""Routes that take what nothing else in the store depends on."""

Take = Callable[[bytes, str, str], tuple[dict[str, Any], "Future[None]"]]


def add_predictions(app: FastAPI, store: Store, receiver: PredictionReceiver) -> None:
    """Add POST and GET of /predictions and /labels to the API."""

    @app.post("/predictions")
    async def post_predictions(request: Request) -> Response:
        """Store predictions of a classical model: {"model": ..., "rows": [...]}, or an Arrow stream of rows.

        Answers how many rows were `accepted`, once they are on disk, and which were `refused`: [{row, field, reason}].
        """
        return await _taken(request, receiver, receiver.take_predictions)

    @app.post("/labels")
    async def post_labels(request: Request) -> Response:
        """Store what turned out to be true: {"model": ..., "labels": [{"key" or "prediction_id", "label"}]}."""
        return await _taken(request, receiver, receiver.take_labels)

    @app.get("/predictions", dependencies=[Depends(only_known)])
    def get_predictions(
        project: str | None = None,
        model: str | None = None,
        model_version: str | None = None,
        since: Annotated[str | None, Query(description="an age (30m, 24h, 7d) or an ISO 8601 time")] = None,
        until: Annotated[str | None, Query(description="like since; this moment itself is left out")] = None,
        key: str | None = None,
        prediction_id: str | None = None,
        status: Annotated[str | None, Query(description="ok or error")] = None,
        reference: Annotated[bool, Query(description="rows that others are compared with, instead of traffic")] = False,
        limit: int = 50,
        cursor: str = "",
    ) -> Response:
        """A page of predictions, newest first, each with its label where one is known."""
        filters = {
            "project": project,
            "model": model,
            "model_version": model_version,
            "key": key,
            "prediction_id": prediction_id,
            "status": status,
        }
        page = predictions(
            store,
            {name: value for name, value in filters.items() if value is not None},
            since=moment(since) if since else None,
            until=moment(until) if until else None,
            reference=reference,
            limit=limit,
            cursor=cursor,
        )
        return as_json(page._asdict())

    @app.get("/labels", dependencies=[Depends(only_known)])
    def get_labels(project: str | None = None, model: str | None = None) -> Response:
        """How many labels each model has, and how many of them never met a prediction (`unmet`)."""
        return as_json({"models": labels(store, project, model)})


async def _taken(request: Request, receiver: PredictionReceiver, take: Take) -> Response:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    encoding = request.headers.get("content-encoding", "").strip().lower()
    try:
        with receiver.held() as sizes:
            body = await _body(request, receiver, sizes)
            answer, stored = await run_in_threadpool(take, body, content_type, encoding)
            # Shielded: what is being inserted must not be cancelled under its committer.
            await asyncio.shield(asyncio.wrap_future(stored))
    except (MalformedTelemetry, StoreUnavailable) as error:
        receiver.refused(error)
        raise
    if answer["refused_rows"] and not answer["accepted"]:
        first = answer["refused"][0]
        said = f"no row was taken; row {first['row']}: {first['field']}: {first['reason']}"
        return as_json({"error": said, **answer}, 400)
    return as_json(answer)


async def _body(request: Request, receiver: PredictionReceiver, sizes: list[int]) -> bytes:
    chunks = list[bytes]()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                receiver.hold(sizes, len(chunk))
                chunks.append(chunk)
    except TimeoutError:
        raise MalformedTelemetry(f"the body did not come within {BODY_SECONDS:g} s", 408) from None
    return b"".join(chunks)
