"""The routes under /api/quality that fit scores to a project, list what was fitted, and go back."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import Annotated, Any

import msgspec
from fastapi import Body, FastAPI
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from assay.alerts.limits import project_limits
from assay.errors import AssayError, NotFound
from assay.processes import RemoteObject
from assay.quality.fit.fitter import Fitter, Outcome, TooFewLabels, require_enough
from assay.quality.fit.labels import METRICS, Labelled, labelled_calls, labelled_rows
from assay.quality.rows import Row
from assay.server.asking import as_json
from assay.store.connect import Store
from assay.store.fits import SHIPPED, Kept, insert_fit, kept_fits, use_fit

MOST_ROWS = 50_000
PATIENCE_SECONDS = 600.0


class NewFit(BaseModel):
    """What to fit. Without `rows` the project's own labels are used; without `metric` all that have enough."""

    model_config = ConfigDict(extra="forbid")

    project: Annotated[str, Field(min_length=1, max_length=200)] = "default"
    metric: Annotated[str, Field(json_schema_extra={"enum": ["", *METRICS]})] = ""
    rows: Annotated[list[dict[str, Any]], Field(max_length=MOST_ROWS)] | None = None
    dry_run: bool = False
    force: bool = False
    author: Annotated[str, Field(max_length=200)] = ""


class Use(BaseModel):
    """Which version to use; "shipped" for none, of one metric or of all."""

    model_config = ConfigDict(extra="forbid")

    project: Annotated[str, Field(min_length=1, max_length=200)] = "default"
    version: Annotated[str, Field(min_length=1, max_length=64)]
    metric: str = ""


def add_quality_routes(app: FastAPI, store: Store) -> None:
    """Add the routes to the API over an open store."""
    one_at_a_time = threading.Lock()

    @app.post("/quality/fit")
    def post_fit(wanted: Annotated[NewFit, Body()]) -> Response:
        """Learn from labels, in seconds, in a process of its own; kept, and used from now on unless it is worse."""
        labels = _labels(store, wanted)
        with one_at_a_time:
            outcomes, skipped = _outcomes(wanted, labels)
        return as_json(
            {"project": wanted.project, "fits": [_kept(store, wanted, o) for o in outcomes], "skipped": skipped}
        )

    @app.get("/quality/fits")
    def get_fits(project: str = "") -> Response:
        """Every version that was fitted, newest first within each metric, and which is in use."""
        return as_json({"fits": [_listed(kept) for kept in kept_fits(store, project)]})

    @app.post("/quality/use")
    def post_use(wanted: Annotated[Use, Body()]) -> Response:
        """Use a version that was kept, or go back to what ships."""
        return as_json({"project": wanted.project, "used": _use(store, wanted)})

    @app.get("/quality/thresholds")
    def get_thresholds(project: str = "default") -> Response:
        """A project's alert thresholds, and whether each rests on labels, on its own last week, or on the lab."""
        return as_json({"project": project, "limits": project_limits(store, project)})


def _labels(store: Store, wanted: NewFit) -> dict[str, list[Labelled]]:
    if wanted.metric and wanted.metric not in METRICS:
        raise AssayError(f"cannot fit {wanted.metric!r}: choose one of {', '.join(METRICS)}")
    if wanted.rows is not None:
        return labelled_rows(_rows(wanted.rows), wanted.metric or "toxicity")
    found = labelled_calls(store, wanted.project)
    if not found:
        raise TooFewLabels(
            f"nobody has labelled a call of project {wanted.project!r} yet: score calls by the names of metrics "
            "(assay.score, POST /api/scores), or fit to a file with --data"
        )
    if wanted.metric:
        return {wanted.metric: found.get(wanted.metric, [])}
    return found


def _rows(given: Sequence[dict[str, Any]]) -> list[Row]:
    found: list[Row] = []
    for number, row in enumerate(given, start=1):
        try:
            found.append(msgspec.convert(row, Row))
        except msgspec.ValidationError as error:
            raise AssayError(f"row {number} is not a row of labelled data: {error}") from None
    return found


def _outcomes(wanted: NewFit, labels: dict[str, list[Labelled]]) -> tuple[list[Outcome], dict[str, str]]:
    """What was learnt, and why of some metrics nothing was. Raises TooFewLabels where of none it was."""
    outcomes, skipped = list[Outcome](), dict[str, str]()
    with ExitStack() as stack:
        fitter: RemoteObject | None = None
        for metric, rows in labels.items():
            try:
                yes = sum(row.label for row in rows)
                require_enough(metric, yes, len(rows) - yes)
                if fitter is None:
                    fitter = stack.enter_context(closing(RemoteObject(Fitter)))
                asked = wanted.project, metric, rows, wanted.author
                outcomes.append(fitter.ask("fit", *asked, patience=PATIENCE_SECONDS))
            except TooFewLabels as error:
                skipped[metric] = str(error)
    if not outcomes:
        raise TooFewLabels("; ".join(skipped.values()) or "there are no labelled rows")
    return outcomes, skipped


def _kept(store: Store, wanted: NewFit, outcome: Outcome) -> dict[str, Any]:
    """Keep a fit unless nothing is to change; answers with its report."""
    live = not wanted.dry_run and (wanted.force or not outcome.report.worse)
    if not wanted.dry_run:
        insert_fit(store, outcome.fit, use=live)
    return {"version": outcome.fit.version, "live": live, **msgspec.to_builtins(outcome.report)}


def _listed(kept: Kept) -> dict[str, Any]:
    return {**msgspec.structs.asdict(kept), "report": msgspec.json.decode(kept.report)}


def _use(store: Store, wanted: Use) -> list[dict[str, str]]:
    known = [kept for kept in kept_fits(store, wanted.project) if wanted.metric in ("", kept.metric)]
    chosen = {kept.metric for kept in known if wanted.version in (SHIPPED, kept.version)}
    if not chosen:
        versions = ", ".join(f"{kept.version} ({kept.metric})" for kept in known if kept.version != SHIPPED)
        raise NotFound(f"project {wanted.project!r} has no fit {wanted.version!r}; it has: {versions or 'none'}")
    for metric in sorted(chosen):
        use_fit(store, wanted.project, metric, wanted.version)
    return [{"metric": metric, "version": wanted.version} for metric in sorted(chosen)]
