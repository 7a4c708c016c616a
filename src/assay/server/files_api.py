"""The routes that give calls away as files, and that take imports."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from itertools import chain
from typing import Annotated, Any

import msgspec
from fastapi import FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response, StreamingResponse

from assay.analytics.selection import Selection
from assay.errors import MalformedTelemetry
from assay.ingest.batch import Batch, Take
from assay.ingest.importing import import_lines
from assay.ingest.wire import decompress
from assay.reports.columns import ALL, SETS
from assay.reports.exports import FORMATS, MEDIA_TYPES, export
from assay.store.connect import Store

FACTS_HEADER = "Assay-Export"
"""What the file says of itself: JSON with schema version, format, columns, range and filters."""


def add_export(app: FastAPI, store: Store, version: str, selected_by: Any) -> None:
    """Add GET /export to the API; `selected_by` is the dependency that makes a Selection of a request."""

    @app.get("/export")
    def get_export(
        selected: Selection = selected_by,
        format: Annotated[str, Query(json_schema_extra={"enum": list(FORMATS)})] = "csv",
        columns: Annotated[str, Query(description=f"{', '.join(SETS)}, or names with commas between")] = ALL,
    ) -> Response:
        """The selected calls as a file; what it holds is told in the header Assay-Export."""
        exported = export(store, selected, format, columns)
        # The first piece is made here, so that what is wrong becomes an error and not a broken file.
        first = next(exported.pieces, b"")
        return StreamingResponse(
            chain([first], exported.pieces),
            media_type=MEDIA_TYPES[format],  # pyright: ignore[reportArgumentType] export() has checked it
            headers={
                "Content-Disposition": f'attachment; filename="assay-export.{format}"',
                FACTS_HEADER: json.dumps({"assay_version": version, **exported.facts}),
            },
        )


def add_import(app: FastAPI, store: Store, take: Take, keep: Callable[[Batch], object], max_body_bytes: int) -> None:
    """Add POST /import to the API. `keep` is back when a batch is on disk; it raises StoreUnavailable."""
    one_at_a_time = threading.Lock()

    @app.post("/import")
    async def post_import(
        request: Request,
        replace: Annotated[bool, Query(description="store again what is stored already")] = False,
    ) -> Response:
        """Store spans with their verdicts: lines of JSON, as `assay import` sends them.

        Answers how many were `stored`, were there before (`known`), and were `refused`: [{line, reason}].
        """
        body = await _body(request, max_body_bytes)

        def stored() -> dict[str, Any]:
            # Two imports of one file at a time must not both find it missing.
            with one_at_a_time:
                inflated = decompress(body, request.headers.get("content-encoding", "").lower(), max_body_bytes)
                return import_lines(store, take, keep, inflated, replace=replace)

        answer = await asyncio.shield(run_in_threadpool(stored))
        return Response(msgspec.json.encode(answer), media_type="application/json")


async def _body(request: Request, limit: int) -> bytes:
    chunks, size = list[bytes](), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise MalformedTelemetry(f"the body is larger than {limit} bytes: send fewer lines at a time", 413)
        chunks.append(chunk)
    return b"".join(chunks)
