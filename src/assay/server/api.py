"""The HTTP API under /api: the questions of `analytics`, alerts, exports and reports, and scores coming in.

Answers are JSON with times in RFC 3339 (UTC). What is wrong with a request is said in {"error": ...}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response

from assay.alerts.limits import ProjectThresholds
from assay.alerts.thresholds import RECENT, recent_alerts
from assay.analytics.calls import ORDERS, call, calls, trace
from assay.analytics.checkup import checkup
from assay.analytics.doctor import findings, server_findings
from assay.analytics.ppi import with_judged
from assay.analytics.search import FIELDS
from assay.analytics.selection import DIMENSIONS, moment
from assay.analytics.summaries import quality, quality_by, usage
from assay.analytics.trends import latencies, trends
from assay.config import Config
from assay.errors import AssayError, MalformedTelemetry, NotFound, StoreError, StoreUnavailable
from assay.ingest.pricing import Prices
from assay.ingest.receiver import RETRY_AFTER_SECONDS
from assay.ingest.reprice import reprice
from assay.records import CALL_KINDS, Span
from assay.server.agreement_api import agreement_routes
from assay.server.analytics_api import analytics_routes
from assay.server.asking import Selected, as_json, one_of
from assay.server.backfill_api import add_backfill
from assay.server.compare_api import budget_routes, compare_routes
from assay.server.cost_quality_api import cost_quality_routes
from assay.server.docs import docs_page
from assay.server.feedback import NewScore, store_score
from assay.server.files_api import add_export
from assay.server.models_api import comparison_routes, model_routes
from assay.server.predictions_api import WRITES
from assay.server.quality_api import add_quality_routes
from assay.server.sql_api import sql_routes
from assay.store.connect import Store

Health = Callable[[], tuple[bool, dict[str, Any]]]
"""Tells whether all is well, and the figures behind it."""


def api(
    store: Store,
    health: Health,
    version: str,
    *,
    rewrite: Callable[[Sequence[Span]], None],
    prices: Prices,
    config: Config,
    caught_up: Callable[[], object] = lambda: None,
) -> FastAPI:
    """The API over an open store.

    `rewrite` stores spans in place of their former rows; `caught_up` waits, some seconds at most, for what was
    acknowledged before.
    """

    thresholds_of = ProjectThresholds(store)

    def after_what_was_acknowledged(request: Request) -> None:
        if request.method != "POST" or request.scope["route"].path not in WRITES:
            caught_up()

    app = FastAPI(
        title="Assay",
        version=version,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(after_what_was_acknowledged)],
    )

    @app.get("/health")
    def get_health() -> Response:
        """Whether the server works, and its counters. 503 when it does not."""
        well, figures = health()
        return as_json({"status": "ok" if well else "failing", **figures}, 200 if well else 503)

    @app.get("/usage")
    def get_usage(selected: Selected, group_by: Annotated[str | None, one_of(DIMENSIONS)] = None) -> Response:
        """Conversations, cost, tokens and latency; with `group_by` also for each of its values."""
        return as_json(usage(store, selected, group_by))

    @app.get("/quality")
    def get_quality(
        selected: Selected, group_by: Annotated[str | None, one_of(DIMENSIONS)] = None, score: str = ""
    ) -> Response:
        """Each score's mean with its interval, spread and count; with `group_by` also for each of its values.

        `score` keeps the one of that name, which is quicker. Where a judge read a sample, `judged` has what its
        verdicts and the scorers' together say of all calls.
        """
        names = [score] if score else []
        groups = {"groups": quality_by(store, selected, group_by, names)} if group_by else {}
        return as_json({"scores": with_judged(store, selected, quality(store, selected, names))} | groups)

    app.include_router(agreement_routes(store))
    app.include_router(analytics_routes(store, prices))
    app.include_router(cost_quality_routes(store, prices))
    app.include_router(compare_routes(store))
    app.include_router(budget_routes(store, config.budget, config.timezone))
    app.include_router(sql_routes(store, config.sql))
    app.include_router(model_routes(store))
    app.include_router(comparison_routes(store))

    @app.get("/trends")
    def get_trends(
        selected: Selected,
        bucket: Annotated[str | None, Query(description="30s, 5m, 1h, 1d, 1w, 1mo; chosen for you if left out")] = None,
        group_by: Annotated[str | None, one_of(DIMENSIONS)] = None,
        scores: bool = True,
        metric: Annotated[list[str], Query(description="a figure or score; may be repeated")] = [],  # noqa: B006
        tz: Annotated[str, Query(description="whose days, weeks and months, such as Europe/Berlin")] = "UTC",
    ) -> Response:
        """Figures and, unless `scores` is false, mean scores over time; or only the metrics that are named."""
        found = trends(store, selected, bucket, group_by, scores=scores, metrics=metric, tz=tz)
        return as_json(found._asdict())

    @app.get("/latencies")
    def get_latencies(selected: Selected) -> Response:
        """How many conversations took how long."""
        return as_json({"bins": latencies(store, selected)})

    @app.get("/calls")
    def get_calls(
        selected: Selected,
        kind: Annotated[str, one_of(CALL_KINDS)] = "",
        trace_id: str = "",
        q: Annotated[str, Query(description='words that were said; "a phrase", begin*, -without')] = "",
        within: Annotated[str, Query(alias="in", json_schema_extra={"enum": list(FIELDS)})] = "",
        order: Annotated[str, one_of(ORDERS)] = "started_at",
        limit: int = 50,
        cursor: str = "",
    ) -> Response:
        """A page of calls with their scores; with `q` also `highlights`, where each says what was looked for."""
        asked = {"q": q, "within": within, "kind": kind, "trace_id": trace_id, "order": order}
        return as_json(calls(store, selected, **asked, limit=limit, cursor=cursor)._asdict())

    @app.get("/calls/{span_id}")
    def get_call(span_id: str) -> Response:
        """One call in full, with the verdicts behind its scores."""
        return as_json(call(store, span_id))

    @app.get("/traces/{trace_id}")
    def get_trace(trace_id: str) -> Response:
        """All spans of a trace, counted or not; `duplicate_of` names the span under which a call is counted."""
        return as_json({"spans": trace(store, trace_id)})

    @app.post("/scores", status_code=201)
    def post_score(score: Annotated[NewScore, Body()]) -> Response:
        """Store a person's (or any outside judge's) score of a call."""
        return as_json(store_score(store, score), 201)

    @app.post("/reprice")
    def post_reprice(
        since: str | None = None, until: str | None = None, project: str = "", dry_run: bool = False
    ) -> Response:
        """Recompute costs and estimated tokens with the prices known now; `dry_run` only tells what would change."""
        first, last = (round(moment(text).timestamp() * 1e6) if text else None for text in (since, until))
        found = reprice(store, rewrite, prices, since=first or 0, until=last, project=project, dry_run=dry_run)
        return as_json(found._asdict())

    @app.get("/doctor")
    def get_doctor() -> Response:
        """What may be wrong with this server and with the last week's calls, and what to do about it."""
        _, figures = health()
        found = server_findings({"version": version} | figures, store) + findings(store)
        found += checkup(store, config, figures)
        return as_json({"findings": [finding._asdict() for finding in found]})

    @app.get("/alerts")
    def get_alerts(selected: Selected, recent: Annotated[int, Query(ge=1, le=1000)] = RECENT) -> Response:
        """Thresholds that the newest calls break: those of each project (GET /quality/thresholds)."""
        return as_json(
            {"recent": recent, "alerts": recent_alerts(store, selected, recent=recent, thresholds_of=thresholds_of)}
        )

    add_export(app, store, version)

    add_quality_routes(app, store)
    add_backfill(app, store, config.quality)

    @app.get("/docs", include_in_schema=False)
    def get_docs() -> HTMLResponse:
        return HTMLResponse(docs_page(app.openapi()))

    @app.exception_handler(RequestValidationError)
    def explain(_: Request, error: RequestValidationError) -> JSONResponse:
        # Without the input itself, which may be what JSON cannot hold (NaN, half a surrogate pair).
        problems = [{key: problem[key] for key in ("loc", "msg", "type")} for problem in error.errors()]
        return JSONResponse({"detail": problems}, 422)

    @app.exception_handler(AssayError)
    def refuse(_: Request, error: AssayError) -> JSONResponse:
        status = error.status if isinstance(error, MalformedTelemetry) else _STATUS.get(type(error), 400)
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 503 else None
        return JSONResponse({"error": str(error)}, status, headers)

    return app


_STATUS: dict[type[AssayError], int] = {NotFound: 404, StoreUnavailable: 503, StoreError: 500}
