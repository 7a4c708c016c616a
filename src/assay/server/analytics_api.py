"""Routes of the questions about use: what stands out, sessions, errors, costs and speed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import Response

from assay.analytics.costs import costs
from assay.analytics.errors import errors
from assay.analytics.names import names
from assay.analytics.selection import DIMENSIONS
from assay.analytics.sessions import ORDERS, session, sessions
from assay.analytics.speed import speed
from assay.analytics.top import MEASURES, top
from assay.ingest.pricing import Prices
from assay.server.asking import Selected, as_json, one_of
from assay.store.connect import Store


def analytics_routes(store: Store, prices: Prices) -> APIRouter:
    """GET /names, /top, /sessions, /sessions/{session_id}, /errors, /costs and /speed.

    `selected` is FastAPI's dependency that reads a Selection from a request.
    """
    routes = APIRouter()

    @routes.get("/names")
    def get_names() -> Response:
        """The projects, models, environments and releases that there are calls of."""
        return as_json(names(store))

    @routes.get("/top")
    def get_top(
        group_by: Annotated[str, one_of((*DIMENSIONS, "prompt"))],
        selection: Selected,
        by: Annotated[str, one_of(MEASURES)] = "cost",
        limit: int = 20,
    ) -> Response:
        """The users, sessions, prompts, models (any dimension, or tag:KEY) with most cost, calls, tokens ..."""
        return as_json(top(store, selection, group_by, by, limit))

    @routes.get("/sessions")
    def get_sessions(
        selection: Selected,
        order: Annotated[str, one_of(ORDERS)] = "recent",
        limit: int = 50,
        cursor: str = "",
    ) -> Response:
        """A page of sessions."""
        return as_json(sessions(store, selection, order=order, limit=limit, cursor=cursor)._asdict())

    @routes.get("/sessions/{session_id:path}")
    def get_session(session_id: str, project: str | None = None, limit: int = 200, cursor: str = "") -> Response:
        """One session with its calls in order, by trace."""
        return as_json(session(store, session_id, project, limit=limit, cursor=cursor))

    @routes.get("/errors")
    def get_errors(selection: Selected, group_by: Annotated[str | None, one_of(DIMENSIONS)] = None) -> Response:
        """The error rate with its interval, and each type of error."""
        return as_json(errors(store, selection, group_by))

    @routes.get("/costs")
    def get_costs(selection: Selected, group_by: Annotated[str | None, one_of(DIMENSIONS)] = None) -> Response:
        """Cost split into input, output and what caching saved, and the models without a price."""
        return as_json(costs(store, prices, selection, group_by))

    @routes.get("/speed")
    def get_speed(selection: Selected, group_by: Annotated[str, one_of(DIMENSIONS)] = "model") -> Response:
        """Percentiles of latency, time to first token and output tokens per second."""
        return as_json(speed(store, selection, group_by))

    return routes
