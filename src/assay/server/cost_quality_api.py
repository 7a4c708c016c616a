"""Routes behind the Cost and Quality pages: prices of another model, how scores are spread, and the worst calls."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from assay.analytics.distribution import distributions, worst_of
from assay.analytics.what_if import what_if
from assay.ingest.pricing import Prices
from assay.server.asking import Selected, as_json
from assay.store.connect import Store


def cost_quality_routes(store: Store, prices: Prices) -> APIRouter:
    """GET /costs/what-if, /quality/distribution and /quality/worst."""
    routes = APIRouter()

    @routes.get("/costs/what-if")
    def get_what_if(
        selection: Selected,
        as_model: Annotated[list[str], Query(description="the model to price for; may be repeated")],
        as_provider: Annotated[str, Query(description="its provider, where the model's name does not tell")] = "",
    ) -> Response:
        """What the selected conversations would have cost with another model, from their recorded tokens."""
        return as_json(what_if(store, prices, selection, as_model, as_provider))

    @routes.get("/quality/distribution")
    def get_distribution(selection: Selected) -> Response:
        """How the values of each score are spread, and which scorers in which versions gave them."""
        return as_json({"scores": distributions(store, selection)})

    @routes.get("/quality/worst")
    def get_worst(selection: Selected, score: str, limit: int = 10, source: str = "") -> Response:
        """The conversations that a score speaks of worst, each with the reason that was given.

        By verdicts of one `source`: scorer, otel, judge or human; left out, the one that /quality shows.
        """
        return as_json({"calls": worst_of(store, selection, score, limit, source)})

    return routes
