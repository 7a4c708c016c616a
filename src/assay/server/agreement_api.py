"""Questions about how far the scores, and the models, can be trusted: agreement with people, and consistency."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from fastapi.responses import Response

from assay.analytics.agreement import THRESHOLD, agreement_with_people
from assay.analytics.consistency import consistency
from assay.analytics.selection import Selection
from assay.quality.words import load_words
from assay.store.connect import Store


def agreement_routes(store: Store, selected: Any) -> APIRouter:
    """GET /agreement and /consistency. `selected` is FastAPI's dependency that reads a Selection from a request."""
    routes = APIRouter()
    words = cache(load_words)

    @routes.get("/agreement")
    def get_agreement(
        selection: Selection = selected, threshold: Annotated[float, Query(ge=0, le=1)] = THRESHOLD
    ) -> Response:
        """How well each scorer agrees with people on the same calls, and people with each other."""
        return _json(agreement_with_people(store, selection, threshold))

    @routes.get("/consistency")
    def get_consistency(selection: Selection = selected) -> Response:
        """How often, and how far, answers to the same prompt differ, by model and temperature."""
        return _json(consistency(store, selection, words()))

    return routes


def _json(data: Any) -> Response:
    return Response(msgspec.json.encode(data), media_type="application/json")
