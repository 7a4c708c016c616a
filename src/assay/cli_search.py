"""`assay search`: the calls that say something, newest first, with where they say it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any

import typer

from assay.cli_options import Json, Model, Project, Since, StoreUrl, Until, Url, asking, console, print_json
from assay.client.api.connection import Answer
from assay.client.monitor import Monitor
from assay.terminal_search import hits_table

_PAGE = 100


def search(
    words: Annotated[list[str], typer.Argument(help='Words; "a phrase" in quotation marks, begin*, *end.')],
    within: Annotated[str | None, typer.Option("--in", help="Only in prompt, response or messages.")] = None,
    without: Annotated[list[str] | None, typer.Option(help="Leave out calls with this; can be given again.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many calls.")] = 20,
    order: Annotated[str, typer.Option(help="started_at, cost or latency, from the largest down.")] = "started_at",
    url: Url = None,
    store: StoreUrl = None,
    since: Since = None,
    until: Until = None,
    project: Project = None,
    model: Model = None,
    session: Annotated[str | None, typer.Option(help="Only this session.")] = None,
    user: Annotated[str | None, typer.Option(help="Only this user.")] = None,
    as_json: Json = False,
) -> None:
    """Find calls by what was said in them, in any language.

    assay search refund late --since 7d   or   assay search '"late refund"' --without invoice
    """
    excluded = [f'-"{one}"' for one in without or []]
    filters = {"since": since, "until": until, "project": project, "model": model}
    asked = {"q": " ".join([*words, *excluded]), "within": within, "order": order, "kind": None, **filters}
    with asking(url, store) as monitor:
        found = _found(monitor, limit, **asked, session_id=session, user_id=user)
        calls = list(islice(found, limit + 1))
    if as_json:
        print_json(calls[:limit])
    elif calls:
        console.print(hits_table(calls[:limit]))
        if len(calls) > limit:
            console.print(f"There are more: --limit shows more than {limit}, --since and --until other times.")
    else:
        console.print("No call says that.")


def _found(monitor: Monitor, limit: int, **asked: Any) -> Iterator[Answer]:
    """Calls page by page: a page of a search may be short, or empty, and still not be the last."""
    cursor: str | None = ""
    while cursor is not None:
        page = monitor.calls(**asked, limit=min(limit + 1, _PAGE), cursor=cursor)
        yield from page["calls"]
        cursor = page["next_cursor"]
