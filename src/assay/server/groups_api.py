"""The routes of prompt groups, and of calls that are alike."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

import msgspec
from fastapi import FastAPI, Query
from fastapi.responses import Response

from assay.analytics.groups import group, groups
from assay.analytics.similar import similar_to, similar_to_call
from assay.errors import AssayError
from assay.quality.groups.embedding import load_embedder
from assay.quality.groups.grouping import Grouping
from assay.quality.groups.mask import template
from assay.server.api import Selected
from assay.store.connect import Store

LONGEST_TEXT = 10_000


def add_group_routes(app: FastAPI, store: Store, grouping: Grouping, catch_up: Callable[[], object]) -> None:
    """Add the routes to the API. `catch_up` reads prompts that are stored and not yet read, where no follower does."""
    embedder = cache(load_embedder)

    @app.get("/groups")
    def get_groups(selected: Selected) -> Response:
        """Kinds of question with share, cost, latency, errors and quality; with `since` also what changed before it."""
        return _json(groups(store, selected))

    @app.post("/groups/refit")
    def post_refit(project: str | None = None) -> Response:
        """Find the kinds of question anew, in seconds; those that remain keep their ids."""
        catch_up()
        found = grouping.refit(project)
        return _json({"projects": [{"project": one, "groups": len(of_one)} for one, of_one in found.items()]})

    @app.get("/groups/{group_id}")
    def get_group(group_id: str, selected: Selected) -> Response:
        """One kind of question with its most frequent templates; its calls are GET /calls?prompt_group=ID."""
        return _json(group(store, selected, group_id))

    @app.get("/calls/{span_id}/similar")
    def get_similar(span_id: str, selected: Selected, limit: int = 20) -> Response:
        """Calls whose prompts ask something alike, one row a template."""
        return _json(similar_to_call(store, selected, span_id, limit))

    @app.get("/similar")
    def get_similar_to_text(
        selected: Selected, q: Annotated[str, Query(max_length=LONGEST_TEXT)], limit: int = 20
    ) -> Response:
        """Calls whose prompts ask something like this text, one row a template."""
        asked = template(q)
        vector = embedder().embed([asked])[0]
        if not vector.any():
            raise AssayError("q has no word to compare: write a question as a user would")
        return _json({"of": {"template": asked}, "similar": similar_to(store, selected, vector.tolist(), limit)})


def _json(data: Any) -> Response:
    return Response(msgspec.json.encode(data), media_type="application/json")
