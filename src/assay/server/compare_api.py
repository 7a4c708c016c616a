"""GET /api/compare, where the second selection has filters of its own with the prefix versus_; GET /api/budgets."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from fastapi import APIRouter, Depends
from fastapi.responses import Response

from assay.analytics.budgets import budgets
from assay.analytics.compare import compare, period_before
from assay.analytics.selection import Selection
from assay.config import Budget
from assay.errors import AssayError
from assay.server.asking import only_known, selection
from assay.store.connect import Store

PREFIX = "versus_"

Pair = tuple[Selection, Selection]


def compare_routes(store: Store) -> APIRouter:
    """The route."""
    router = APIRouter()
    asked: Any = Depends(pairs())

    @router.get("/compare", dependencies=[Depends(only_known)])
    def get_compare(pair: Pair = asked) -> Response:
        """Each figure of the selected calls beside that of the others, with the difference and its 95% interval.

        The others are the same calls of the period before, unless filters with `versus_` say which: of another model,
        for example, in the same period.
        """
        before, after = pair
        told = {"before": _told(before), "after": _told(after), "changes": compare(store, before, after)}
        return Response(msgspec.json.encode(told), media_type="application/json")

    return router


def budget_routes(store: Store, wanted: Sequence[Budget], timezone: str) -> APIRouter:
    """The route, for the budgets of the settings."""
    router = APIRouter()

    @router.get("/budgets")
    def get_budgets() -> Response:
        """What is spent of each budget in assay.toml, and what it will be by the end of its period."""
        told = {"timezone": timezone, "budgets": budgets(store, wanted, timezone)}
        return Response(msgspec.json.encode(told), media_type="application/json")

    return router


def pairs() -> Callable[..., Pair]:
    """A dependency that has every parameter of `selection` twice, once with the prefix."""
    own = list(inspect.signature(selection, eval_str=True).parameters.values())
    others = [one.replace(name=PREFIX + one.name) for one in own]

    def pair(**given: Any) -> Pair:
        after = {one.name: given[one.name] for one in own}
        versus = {one.name: given[PREFIX + one.name] for one in own if given[PREFIX + one.name] != one.default}
        return _pair(after, versus)

    # FastAPI asks the signature for a request's parameters.
    keyword_only = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in (*own, *others)]
    pair.__signature__ = inspect.Signature(keyword_only)  # pyright: ignore[reportFunctionMemberAccess]
    return pair


def _pair(given: dict[str, Any], versus: dict[str, Any]) -> Pair:
    after = selection(**given)
    after = msgspec.structs.replace(after, until=after.until or datetime.now(UTC))
    if not versus:
        return period_before(after), after
    other = selection(**given | versus)
    if not {"since", "until"} & versus.keys():
        return msgspec.structs.replace(other, since=after.since, until=after.until), after
    since, until = (getattr(other, bound) if bound in versus else None for bound in ("since", "until"))
    before = msgspec.structs.replace(other, since=since, until=until or after.since)
    if since is None and after.since and after.until and until:
        before = msgspec.structs.replace(before, since=until - (after.until - after.since))
    _require_apart(before, after)
    return before, after


def _require_apart(before: Selection, after: Selection) -> None:
    """Raises AssayError for ranges that share calls: their difference would look surer, or less sure, than it is."""
    if msgspec.structs.replace(before, since=after.since, until=after.until) != after:
        return
    starts_later = before.since and after.until and before.since >= after.until
    ends_sooner = before.until and after.since and before.until <= after.since
    if not (starts_later or ends_sooner):
        raise AssayError("the two ranges share calls: end one where the other begins (versus_since, versus_until)")


def _told(selection: Selection) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(selection).items() if value}
