"""`assay compare` and `assay budgets`: what changed, and what is left to spend."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from assay.cli_options import Json, StoreUrl, Url, asking, console, filtered, print_json
from assay.errors import AssayError
from assay.terminal_compare import budget_table, compare_table
from assay.terminal_models import comparison_table

DAYS = "7d"
"""What is compared where nobody says since when."""

Others = Annotated[
    list[str] | None,
    typer.Option("--with", metavar="NAME=VALUE", help="Any filter of the other side, such as environment=staging."),
]


@filtered
def compare(
    filters: dict[str, Any],
    with_model: Annotated[str | None, typer.Option(help="Compare with this model, in the same time.")] = None,
    with_release: Annotated[str | None, typer.Option(help="Compare with this release, in the same time.")] = None,
    with_project: Annotated[str | None, typer.Option(help="Compare with this project, in the same time.")] = None,
    others: Others = None,
    with_since: Annotated[str | None, typer.Option(help="Compare with the calls from then on.")] = None,
    with_until: Annotated[
        str | None, typer.Option(help="... and before then.  [default: where --since begins]")
    ] = None,
    with_classical: Annotated[
        str | None, typer.Option(help="Instead compare with this classical model: the lab's table, as measured.")
    ] = None,
    as_json: Json = False,
    url: Url = None,
    store: StoreUrl = None,
) -> None:
    """Show what changed against the period before, or between models, releases or other kinds of calls; of 7 days."""
    versus = {"since": with_since, "until": with_until, "project": with_project}
    versus |= {"model": with_model, "release": with_release, **_pairs(others)}
    asked = {**filters, "since": filters["since"] or DAYS}
    if with_classical is not None:
        with asking(url, store) as monitor:
            aspects = monitor.comparison(with_classical, **asked)
        return print_json(aspects) if as_json else console.print(comparison_table(aspects))
    with asking(url, store) as monitor:
        found = monitor.compare(**asked, **{f"versus_{name}": value for name, value in versus.items()})
    return print_json(found) if as_json else console.print(compare_table(found))


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
