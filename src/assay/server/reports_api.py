"""The routes of reports: one at once, those that are scheduled, and sending one of these now."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import FastAPI, Query
from fastapi.responses import Response

from assay.alerts.rules import RuleBook
from assay.errors import AssayError, NotFound
from assay.reports.content import TITLE, stamp
from assay.reports.making import Circumstances, report
from assay.reports.pdf import why_no_pdf
from assay.reports.render import FORMATS, MEDIA_TYPES, known_format, render
from assay.reports.schedule import send_now, shown
from assay.server.asking import Selected, as_json, one_of
from assay.store.connect import Store
from assay.timetable import ScheduledReport

LONGEST_TITLE = 200


def add_reports(
    app: FastAPI,
    store: Store,
    made: Circumstances,
    scheduled: Sequence[ScheduledReport],
    book: Callable[[], RuleBook] | None = None,
) -> None:
    """Add the routes to the API. `book` has the channels where a server runs that delivers."""

    @app.get("/report")
    def get_report(
        selected: Selected,
        format: Annotated[str, one_of(FORMATS)] = "md",
        title: Annotated[str, Query(max_length=LONGEST_TITLE)] = TITLE,
        by: Annotated[list[str], Query(description="dimensions whose costs are told too: release, tag:team")] = [],  # noqa: B006
    ) -> Response:
        """The report as Markdown, HTML or PDF, or its figures as JSON. Without `since` from the first call on.

        The HTML holds no script and asks for nothing.
        """
        known_format(format)
        told = report(store, selected, made, title=title, by=by)
        name = f"assay-report-{re.sub(r'[^0-9TZ]', '', stamp(told.until))[:8]}.{format}"
        headers = {"Content-Disposition": f'inline; filename="{name}"', "X-Content-Type-Options": "nosniff"}
        return Response(render(told, format), media_type=MEDIA_TYPES[format], headers=headers)

    @app.get("/reports")
    def get_reports() -> Response:
        """The scheduled reports, with when each was due last and is due next; and why there is no PDF, if so."""
        now = datetime.now(UTC)
        return as_json({"reports": [shown(one, now) for one in scheduled], "no_pdf": why_no_pdf()})

    @app.post("/reports/{name}/send", status_code=201)
    def post_send(name: str) -> Response:
        """Send a scheduled report now; the delivery log tells what became of it."""
        one = next((one for one in scheduled if one.name == name), None)
        if one is None:
            there = ", ".join(known.name for known in scheduled) or "none: add [[report]] to assay.toml"
            raise NotFound(f"no report is named {name!r}; there are: {there}")
        if book is None:
            raise AssayError("reports are sent by a running server: start `assay serve`")
        sent = send_now(store, one, book())
        return as_json({"deliveries": [{"delivery_id": it.delivery_id, "channel": it.channel} for it in sent]}, 201)
