"""The routes that ask about classical models, about drift of LLM calls, and that compare the two."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from assay.analytics.buckets import buckets
from assay.analytics.selection import Selection, moment
from assay.errors import AssayError
from assay.ml.comparison import comparison
from assay.ml.conversations import conversation_drift, shipped_embedding
from assay.ml.drift import drift
from assay.ml.inputs import data_quality
from assay.ml.models import models
from assay.ml.performance import estimate, performance
from assay.ml.window import Window
from assay.quality.words import load_words
from assay.server.asking import as_json, only_known
from assay.server.compare_api import Pair, pairs
from assay.store.connect import Store

Since = Annotated[str | None, Query(description="an age (30m, 24h, 7d) or an ISO 8601 time")]
Until = Annotated[str | None, Query(description="like since; this moment itself is left out")]
Positive = Annotated[str | None, Query(description="of two classes the one that precision and recall are of")]
Bucket = Annotated[str | None, Query(description="30s, 5m, 1h, 1d, 1w; chosen for you if left out")]


def window(
    model: str,
    since: Since = None,
    until: Until = None,
    project: str | None = None,
    environment: str | None = None,
    version: Annotated[str | None, Query(description="of the model")] = None,
    segment: Annotated[str | None, Query(description="FEATURE=VALUE, or FEATURE=LOW..HIGH, either end open")] = None,
    *,
    _: Annotated[None, Depends(only_known)],
) -> Window:
    """The predictions that a request asks about."""
    now = datetime.now(UTC)
    return Window(
        model=model,
        since=moment(since, now) if since else None,
        until=moment(until, now) if until else None,
        project=project,
        environment=environment,
        version=version,
        segment=segment,
    )


Asked = Annotated[Window, Depends(window)]


def versus(
    asked: Asked,
    versus_since: Annotated[str | None, Query(description="hold it against the predictions from then on")] = None,
    versus_until: Annotated[
        str | None, Query(description="... and before then; where since begins if left out")
    ] = None,
    versus_version: Annotated[str | None, Query(description="or against another version of the model")] = None,
) -> Window | None:
    """The other window that a request names; None for the reference."""
    if not (versus_since or versus_until or versus_version):
        return None
    now = datetime.now(UTC)
    if versus_version and not (versus_since or versus_until):
        return msgspec.structs.replace(asked, version=versus_version)
    until = moment(versus_until, now) if versus_until else asked.since
    since = moment(versus_since, now) if versus_since else None
    if until is None:
        raise AssayError("the other window has no end: give versus_until, or since")
    return msgspec.structs.replace(asked, since=since, until=until, version=versus_version or asked.version)


Versus = Annotated[Window | None, Depends(versus)]


def model_routes(store: Store) -> APIRouter:
    """GET /models, /models/{model}/performance, estimated, drift and data-quality."""
    routes = APIRouter()

    @routes.get("/models", dependencies=[Depends(only_known)])
    def get_models(project: str | None = None, since: Since = None, until: Until = None) -> Response:
        """Each classical model: versions, rows, labels, when it was last asked, error rate, latency."""
        now = datetime.now(UTC)
        bounds = [moment(text, now) if text else None for text in (since, until)]
        return as_json({"models": models(store, project, *bounds)})

    @routes.get("/models/{model:path}/performance")
    def get_performance(
        asked: Asked,
        bucket: Bucket = None,
        by: Annotated[str | None, Query(description="version, or a feature")] = None,
        positive: Positive = None,
    ) -> Response:
        """How good it was where labels have come: figures with 95% intervals, over time, and by version or feature."""
        return as_json(performance(store, asked, bucket_seconds=_seconds(store, bucket), by=by, positive=positive))

    @routes.get("/models/{model:path}/estimated")
    def get_estimated(asked: Asked, bucket: Bucket = None, positive: Positive = None) -> Response:
        """How good it probably is before labels come, by its own calibrated probabilities (CBPE)."""
        return as_json(estimate(store, asked, bucket_seconds=_seconds(store, bucket), positive=positive))

    @routes.get("/models/{model:path}/drift")
    def get_drift(asked: Asked, against: Versus, joint: bool = True) -> Response:
        """How far features, prediction and confidence moved from the reference, one by one and jointly."""
        return as_json(drift(store, asked, against, joint=joint))

    @routes.get("/models/{model:path}/data-quality")
    def get_data_quality(asked: Asked, against: Versus) -> Response:
        """Missing, infinite, out of range, new, constant or changed features, and errors by type."""
        return as_json(data_quality(store, asked, against))

    return routes


def comparison_routes(store: Store) -> APIRouter:
    """GET /drift and /comparison."""
    routes = APIRouter()
    both: Any = Depends(pairs())

    @routes.get("/drift", dependencies=[Depends(only_known)])
    def get_drift(pair: Pair = both) -> Response:
        """What moved in LLM calls: prompts, responses, kinds of question, lengths, languages, scores.

        Against the period before, unless filters with `versus_` say which calls.
        """
        before, after = pair
        return as_json(conversation_drift(store, before, after, shipped_embedding()))

    @routes.get("/comparison", dependencies=[Depends(only_known)])
    def get_comparison(
        classical: Annotated[str, Query(description="the classical model's name")],
        classical_project: str | None = None,
        classical_version: str | None = None,
        pair: Pair = both,
    ) -> Response:
        """A classical model beside the selected LLM calls of the same time: the lab's table, from what was measured."""
        before, after = pair
        asked = Window(
            model=classical,
            project=classical_project,
            version=classical_version,
            since=after.since,
            until=after.until,
        )
        return as_json(comparison(store, asked, before, after, load_words(), shipped_embedding()))

    return routes


def _seconds(store: Store, bucket: str | None) -> int | None:
    if bucket is None:
        return None
    seconds = buckets(store, Selection(), bucket).seconds
    if seconds is None:
        raise AssayError("months are of no fixed length: write for example 30s, 5m, 1h, 1d or 1w")
    return seconds
