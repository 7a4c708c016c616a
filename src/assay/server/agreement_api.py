"""Questions about how far the scores, and the models, can be trusted: agreement with people, and consistency."""

from __future__ import annotations

from functools import cache
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from assay.analytics.agreement import THRESHOLD, agreement_with_people
from assay.analytics.consistency import consistency
from assay.quality.words import load_words
from assay.server.asking import Selected, as_json
from assay.store.connect import Store


def agreement_routes(store: Store) -> APIRouter:
    """GET /agreement and /consistency. `selected` is FastAPI's dependency that reads a Selection from a request."""
    routes = APIRouter()
    words = cache(load_words)

    @routes.get("/agreement")
    def get_agreement(selection: Selected, threshold: Annotated[float, Query(ge=0, le=1)] = THRESHOLD) -> Response:
        """How well each scorer agrees with people on the same calls, and people with each other."""
        return as_json(agreement_with_people(store, selection, threshold))

    @routes.get("/consistency")
    def get_consistency(selection: Selected) -> Response:
        """How often, and how far, answers to the same prompt differ, by model and temperature."""
        return as_json(consistency(store, selection, words()))

    return routes
