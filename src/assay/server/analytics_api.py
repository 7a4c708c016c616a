"""Routes of the questions about use: what stands out, sessions, errors, costs and speed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from fastapi.responses import Response

from assay.analytics.costs import costs
from assay.analytics.errors import errors
from assay.analytics.selection import DIMENSIONS, Selection
from assay.analytics.sessions import ORDERS, session, sessions
from assay.analytics.speed import speed
from assay.analytics.top import MEASURES, top
from assay.ingest.pricing import Prices
from assay.store.connect import Store


def analytics_routes(store: Store, prices: Prices, selected: Any) -> APIRouter:
    """GET /top, /sessions, /sessions/{session_id}, /errors, /costs and /speed.

    `selected` is FastAPI's dependency that reads a Selection from a request.
    """
    routes = APIRouter()

    @routes.get("/top")
    def get_top(
        group_by: Annotated[str, _one_of((*DIMENSIONS, "prompt"))],
        selection: Selection = selected,
        by: Annotated[str, _one_of(MEASURES)] = "cost",
        limit: int = 20,
    ) -> Response:
        """The users, sessions, prompts, models (any dimension, or tag:KEY) with most cost, calls, tokens ..."""
        return _json(top(store, selection, group_by, by, limit))

    @routes.get("/sessions")
    def get_sessions(
        selection: Selection = selected,
        order: Annotated[str, _one_of(ORDERS)] = "recent",
        limit: int = 50,
        cursor: str = "",
    ) -> Response:
        """A page of sessions."""
        return _json(sessions(store, selection, order=order, limit=limit, cursor=cursor)._asdict())

    @routes.get("/sessions/{session_id:path}")
    def get_session(session_id: str, project: str | None = None, limit: int = 200, cursor: str = "") -> Response:
        """One session with its calls in order, by trace."""
        return _json(session(store, session_id, project, limit=limit, cursor=cursor))

    @routes.get("/errors")
    def get_errors(
        selection: Selection = selected, group_by: Annotated[str | None, _one_of(DIMENSIONS)] = None
    ) -> Response:
        """The error rate with its interval, and each type of error."""
        return _json(errors(store, selection, group_by))

    @routes.get("/costs")
    def get_costs(
        selection: Selection = selected, group_by: Annotated[str | None, _one_of(DIMENSIONS)] = None
    ) -> Response:
        """Cost split into input, output and what caching saved, and the models without a price."""
        return _json(costs(store, prices, selection, group_by))

    @routes.get("/speed")
    def get_speed(selection: Selection = selected, group_by: Annotated[str, _one_of(DIMENSIONS)] = "model") -> Response:
        """Percentiles of latency, time to first token and output tokens per second."""
        return _json(speed(store, selection, group_by))

    return routes


def _one_of(choices: Iterable[str]) -> Any:
    return Query(json_schema_extra={"enum": list(choices)})


def _json(data: Any) -> Response:
    return Response(msgspec.json.encode(data), media_type="application/json")
