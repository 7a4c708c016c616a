"""`assay compare` and `assay budgets`: what changed, and what is left to spend."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from assay.cli_options import Json, Model, Project, StoreUrl, Until, Url, asking, console, print_json
from assay.errors import AssayError
from assay.terminal_compare import budget_table, compare_table

Filters = Annotated[
    list[str] | None, typer.Option("--where", metavar="NAME=VALUE", help="Any filter, such as environment=production.")
]
Others = Annotated[list[str] | None, typer.Option("--with", metavar="NAME=VALUE", help="Any filter of the other side.")]


def add_compare(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(compare)
    app.command()(budgets)


def compare(
    url: Url = None,
    store: StoreUrl = None,
    since: Annotated[str, typer.Option(help="From then on: 30m, 24h, 7d or an ISO 8601 time.")] = "7d",
    until: Until = None,
    project: Project = None,
    model: Model = None,
    where: Filters = None,
    with_model: Annotated[str | None, typer.Option(help="Compare with this model, in the same time.")] = None,
    with_project: Annotated[str | None, typer.Option(help="Compare with this project, in the same time.")] = None,
    others: Others = None,
    with_since: Annotated[str | None, typer.Option(help="Compare with the calls from then on.")] = None,
    with_until: Annotated[
        str | None, typer.Option(help="... and before then.  [default: where --since begins]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what changed against the period before; or between two models, projects or other kinds of calls."""
    own = {"since": since, "until": until, "project": project, "model": model, **_pairs(where)}
    versus = {"since": with_since, "until": with_until, "project": with_project, "model": with_model, **_pairs(others)}
    with asking(url, store) as monitor:
        found = monitor.compare(**own, **{f"versus_{name}": value for name, value in versus.items()})
    if as_json:
        print_json(found)
    else:
        console.print(compare_table(found))


def budgets(url: Url = None, store: StoreUrl = None, as_json: Json = False) -> None:
    """Show what is spent of each budget in assay.toml, and what it will be by the end of its period."""
    with asking(url, store) as monitor:
        found = monitor.budgets()
    if as_json:
        print_json(found)
    elif found:
        console.print(budget_table(found))
    else:
        console.print("Nothing is spent of any budget, or none is set: see docs/budgets.md.", soft_wrap=True)


def _pairs(given: list[str] | None) -> dict[str, Any]:
    pairs = dict[str, Any]()
    for text in given or []:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise AssayError(f"{text!r} is no filter: write NAME=VALUE, such as environment=production")
        pairs[name.strip()] = value
    return pairs
