"""POST /api/sql: a user's own SELECT over the documented views."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Body
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict

from assay.analytics.sql import Desk
from assay.config import Sql
from assay.store.connect import Store


class Asked(BaseModel):
    """One SELECT."""

    model_config = ConfigDict(extra="forbid")

    query: str


def sql_routes(store: Store, limits: Sql) -> APIRouter:
    """The routes, with the limits of one query."""
    router = APIRouter()
    desk = Desk(store, limits)

    @router.post("/sql")
    def post_sql(asked: Annotated[Asked, Body()]) -> Response:
        """Answer a SELECT over calls, scores_wide and sessions, within limits of time, memory and rows."""
        return _json(desk.answer(asked.query))

    @router.get("/sql/schema")
    def get_schema() -> Response:
        """The columns of each view, and the limits of a query."""
        return _json({"views": desk.schema(), "limits": limits.model_dump()})

    return router


def _json(data: Any) -> Response:
    return Response(msgspec.json.encode(data), media_type="application/json")
