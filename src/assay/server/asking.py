"""What routes share: the calls that a request asks about, and how a question is refused or answered."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Query, Request
from fastapi.responses import Response

from assay.analytics.selection import Selection, moment
from assay.analytics.selection import tag as pair
from assay.errors import AssayError


def selection(
    since: Annotated[str | None, Query(description="an age (30m, 24h, 7d) or an ISO 8601 time")] = None,
    until: Annotated[str | None, Query(description="like since; this moment itself is left out")] = None,
    project: str | None = None,
    environment: str | None = None,
    service: str | None = None,
    release: Annotated[str | None, Query(description="the resource's service.version")] = None,
    model: str | None = None,
    provider: str | None = None,
    operation: str | None = None,
    session_id: str | None = None,
    user_id: str | None = None,
    status: Annotated[str | None, Query(description="ok or error")] = None,
    error_type: str | None = None,
    prompt_group: Annotated[
        str | None, Query(description="the id of a kind of question (GET /groups), or other")
    ] = None,
    min_latency_ms: Annotated[float | None, Query(description="calls that took so long or longer")] = None,
    max_latency_ms: Annotated[float | None, Query(description="calls that took less")] = None,
    tag: Annotated[list[str], Query(description="KEY:VALUE, an attribute of the calls; may be repeated")] = [],  # noqa: B006
) -> Selection:
    """The calls that a request asks about."""
    now = datetime.now(UTC)
    return Selection(
        since=moment(since, now) if since else None,
        until=moment(until, now) if until else None,
        project=project,
        environment=environment,
        service=service,
        release=release,
        model=model,
        provider=provider,
        operation=operation,
        session_id=session_id,
        user_id=user_id,
        status=status,
        error_type=error_type,
        tags=tuple(map(pair, tag)),
        prompt_group=prompt_group,
        min_latency_ms=min_latency_ms,
        max_latency_ms=max_latency_ms,
    )


def only_known(request: Request) -> None:
    """Raises AssayError for a parameter that the route does not know: a misspelt filter that is ignored answers
    another question than was asked."""
    described = request.app.openapi()["paths"][request.scope["route"].path_format][request.method.lower()]
    known = [parameter["name"] for parameter in described["parameters"] if parameter["in"] == "query"]
    for name in request.query_params:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            meant = f" (did you mean {near[0]!r}?)" if near else ""
            raise AssayError(f"there is no parameter {name!r}{meant}: this question takes {', '.join(sorted(known))}")


def asked(chosen: Annotated[Selection, Depends(selection)], _: Annotated[None, Depends(only_known)]) -> Selection:
    """The selection of a route that takes nothing it does not know."""
    return chosen


def one_of(choices: Iterable[str]) -> Any:
    """A parameter with these choices, for the documentation: what is wrong with another the question itself says."""
    return Query(json_schema_extra={"enum": list(choices)})


Selected = Annotated[Selection, Depends(asked)]


def as_json(data: Any, status: int = 200) -> Response:
    """The answer, with times in RFC 3339."""
    return Response(msgspec.json.encode(data), status, media_type="application/json")
