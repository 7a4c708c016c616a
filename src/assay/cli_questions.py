"""The commands that ask about use: usage, trends, top, sessions, errors, costs and speed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from assay.cli_options import Json, StoreUrl, Url, asking, console, filtered, print_json
from assay.client.api.connection import Answer
from assay.terminal_questions import (
    cost_tables,
    error_tables,
    session_table,
    speed_table,
    thread_table,
    top_table,
    trend_table,
    usage_tables,
    what_if_tables,
)

GroupBy = Annotated[
    str | None,
    typer.Option(help="A row for each model, user_id, session_id, release, error_type, tag:KEY ... as well."),
]
Filters = dict[str, Any]
NO_CALLS = "No calls match: nothing can be said of them. Look at the time range and the filters."


@filtered
def usage(
    filters: Filters, group_by: GroupBy = None, as_json: Json = False, url: Url = None, store: StoreUrl = None
) -> None:
    """Show calls, cost, tokens and latency, if wanted by a dimension."""
    with asking(url, store) as monitor:
        found = monitor.usage(group_by=group_by, **filters)
    _show(found, as_json, usage_tables, found["total_calls"])


@filtered
def trends(
    filters: Filters,
    metric: Annotated[list[str] | None, typer.Option(help="A figure or score; may be repeated.")] = None,
    bucket: Annotated[str | None, typer.Option(help="5m, 1h, 1d, 1w, 1mo.  [default: about 60 rows]")] = None,
    group_by: GroupBy = None,
    tz: Annotated[str | None, typer.Option(help="Whose days, weeks and months: Europe/Berlin.  [default: UTC]")] = None,
    as_json: Json = False,
    url: Url = None,
    store: StoreUrl = None,
) -> None:
    """Show how figures move over time."""
    metrics = metric or ["calls", "errors", "cost_usd", "total_tokens", "p95_latency_ms"]
    with asking(url, store) as monitor:
        found = monitor.trends(metric=metrics, bucket=bucket, group_by=group_by, tz=tz, **filters)
    _show(found, as_json, trend_table, len(found["points"]))


@filtered
def top(
    filters: Filters,
    what: Annotated[str, typer.Argument(help="users, sessions, prompts, models, or any dimension, such as tag:team.")],
    by: Annotated[str, typer.Option(help="cost, calls, tokens, latency or failures.")] = "cost",
    limit: Annotated[int, typer.Option(help="So many.")] = 20,
    as_json: Json = False,
    url: Url = None,
    store: StoreUrl = None,
) -> None:
    """Rank users, sessions, prompts, models and more by cost, calls, tokens, latency or failures."""
    with asking(url, store) as monitor:
        found = monitor.top(what, by=by, limit=limit, **filters)
    _show(found, as_json, top_table, found["calls"])


@filtered
def sessions(
    filters: Filters,
    session: Annotated[str | None, typer.Argument(help="Show this one with its calls.")] = None,
    order: Annotated[str, typer.Option(help="recent, cost, calls, tokens, length or errors.")] = "recent",
    limit: Annotated[int, typer.Option(help="So many sessions, or calls of one.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Go on from there: next_cursor of --json.")] = None,
    as_json: Json = False,
    url: Url = None,
    store: StoreUrl = None,
) -> None:
    """List sessions with cost, length, errors and worst score; or show one with its calls."""
    narrowing = [name for name, value in filters.items() if value and name != "project"]
    if session is not None and narrowing:
        raise typer.BadParameter(f"one session is shown whole: leave out {', '.join(narrowing)}", param_hint="SESSION")
    with asking(url, store) as monitor:
        if session is not None:
            found = monitor.session(session, project=filters["project"], limit=limit, cursor=cursor)
            _show(found, as_json, thread_table, found["calls"])
            return
        page = monitor.sessions(order=order, limit=limit, cursor=cursor, **filters)
    _show(page, as_json, session_table, len(page["sessions"]), "No sessions match.")


@filtered
def errors(
    filters: Filters, group_by: GroupBy = None, as_json: Json = False, url: Url = None, store: StoreUrl = None
) -> None:
    """Show the error rate with its interval, and each type of error with an example."""
    with asking(url, store) as monitor:
        found = monitor.errors(group_by=group_by, **filters)
    _show(found, as_json, error_tables, found["calls"])


@filtered
def costs(
    filters: Filters,
    group_by: GroupBy = None,
    what_if: Annotated[
        list[str] | None,
        typer.Option(help="What these calls would have cost with this model; may be repeated.", metavar="MODEL"),
    ] = None,
    what_if_provider: Annotated[str, typer.Option(help="Its provider, where the model's name does not tell.")] = "",
    as_json: Json = False,
    url: Url = None,
    store: StoreUrl = None,
) -> None:
    """Split cost into input, output and what caching saved; or price the same calls for another model."""
    with asking(url, store) as monitor:
        if what_if:
            priced = monitor.what_if(*what_if, as_provider=what_if_provider, **filters)
            _show(priced, as_json, what_if_tables, priced["calls"])
            return
        found = monitor.costs(group_by=group_by, **filters)
    _show(found, as_json, cost_tables, found["calls"])


@filtered
def speed(
    filters: Filters, group_by: GroupBy = None, as_json: Json = False, url: Url = None, store: StoreUrl = None
) -> None:
    """Show percentiles of latency, time to first token and output tokens per second, by model if nothing else."""
    with asking(url, store) as monitor:
        found = monitor.speed(group_by=group_by, **filters)
    _show(found, as_json, speed_table, found["conversations"])


def _show(
    found: Answer, as_json: bool, tables: Callable[[Answer], RenderableType], calls: int, nothing: str = NO_CALLS
) -> None:
    if as_json:
        print_json(found)
    else:
        console.print(tables(found) if calls else nothing)
