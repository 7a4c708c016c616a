"""`assay sql`: ask the store in SQL, read-only."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from assay.cli_options import Json, StoreUrl, Url, asking, console, print_json
from assay.client.api.connection import Answer
from assay.client.rows import as_csv, as_text
from assay.errors import AssayError
from assay.terminal import excerpt, table

_CELL = 200


def sql(
    query: Annotated[str, typer.Argument(help="A SELECT over calls, scores_wide and sessions; - reads it.")] = "",
    url: Url = None,
    store: StoreUrl = None,
    as_json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="CSV instead of a table.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Show the views and their columns.")] = False,
) -> None:
    """Answer a question in SQL over the views calls, scores_wide and sessions (docs/sql.md). It can only read."""
    with asking(url, store) as monitor:
        if schema:
            views = monitor.sql_schema()
            _show_schema(views, as_json)
            return
        found = monitor.sql(_read(query))
    if as_json:
        print_json(found)
    elif csv:
        sys.stdout.write(as_csv([column["name"] for column in found["columns"]], found["rows"]))
    else:
        console.print(_table(found))
    if found["truncated"] and not as_json:
        note = f"Only the first {len(found['rows']):,} rows (sql.max_rows): group, or add LIMIT."
        typer.echo(note, err=True)


def _read(query: str) -> str:
    if query == "-":
        return sys.stdin.read()
    if not query:
        raise AssayError(
            "there is no query: write for example assay sql 'SELECT model, count() FROM calls GROUP BY model'; "
            "assay sql --schema shows the columns"
        )
    return query


def _table(found: Answer) -> Table:
    shown = table("", *(column["name"] for column in found["columns"]))
    shown.title = None
    for column, made in zip(found["columns"], shown.columns, strict=True):
        made.header = Text(column["name"])
        made.justify = (
            "right" if column["type"].removeprefix("Nullable(").startswith(("Int", "UInt", "Float")) else "left"
        )
    for row in found["rows"]:
        shown.add_row(*(Text(excerpt(as_text(value), _CELL)) for value in row))
    rows = "row" if len(found["rows"]) == 1 else "rows"
    shown.caption = f"{len(found['rows']):,} {rows}, {found['rows_read']:,} read in {found['seconds'] * 1000:,.0f} ms"
    shown.caption_justify = "left"
    return shown


def _show_schema(views: dict[str, list[Answer]], as_json: bool) -> None:
    if as_json:
        print_json(views)
        return
    for name, columns in views.items():
        shown = table(name, "Column", "Type")
        for column in columns:
            shown.add_row(Text(column["name"]), Text(column["type"]))
        console.print(shown)
