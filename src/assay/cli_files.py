"""`assay export` and `assay import`: calls out into files, and in from files of Assay and of other tools."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from assay.cli_options import Json, StoreUrl, Url, asking, console, filtered, print_json
from assay.client.imports.sending import FORMATS
from assay.client.monitor import Monitor
from assay.errors import AssayError
from assay.terminal_files import import_summary


@filtered
def export(
    filters: dict[str, Any],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write; - for standard output.")],
    format: Annotated[str | None, typer.Option(help="csv, jsonl or parquet.  [default: the file's ending]")] = None,
    columns: Annotated[
        str, typer.Option(help="all (for an import), calls, lab, or names such as started_at,prompt,relevance.")
    ] = "all",
    url: Url = None,
    store: StoreUrl = None,
    as_json: Json = False,
) -> None:
    """Write calls with their scores to a file, and beside it FILE.meta.json with what it holds and its checksum."""
    chosen = format or output.suffix.removeprefix(".") or "csv"
    with asking(url, store) as monitor:
        if str(output) == "-":
            monitor.export(sys.stdout.buffer, chosen, columns=columns, **filters)
            return
        facts = monitor.export(output, chosen, columns=columns, **filters)
    if as_json:
        print_json({"file": str(output), **facts})
    else:
        rows = "" if facts["rows"] is None else f"{facts['rows']:,} rows, "
        console.print(f"wrote {output}: {rows}{facts['bytes']:,} bytes", highlight=False, soft_wrap=True)


def import_(
    files: Annotated[list[Path], typer.Argument(help="Files, each recognised by what is in it.", metavar="FILE...")],
    format: Annotated[str | None, typer.Option(help=f"Not recognised but said: {', '.join(FORMATS)}.")] = None,
    project: Annotated[str | None, typer.Option(help="The project of the calls.  [default: their own]")] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Zone of times without one, such as Europe/Berlin.  [default: this machine's]")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Store again what is stored already.")] = False,
    url: Url = None,
    store: StoreUrl = None,
    as_json: Json = False,
) -> None:
    """Store the calls of files: exports of Assay, the lab's database, Phoenix, Langfuse, OpenAI's JSON Lines.

    What is stored already stays, so the same command again goes on where it was interrupted. Exit code 1 where lines
    were refused. The format may also stand before the files: assay import lab llm_monitoring.db
    """
    if len(files) > 1 and str(files[0]) in FORMATS and not files[0].exists():
        format, files = format or str(files[0]), files[1:]
    zone = _zone(timezone)
    with asking(url, store, create=True) as monitor, _progress(as_json) as bars:
        found = [
            _imported(monitor, bars, file, format=format, project=project, zone=zone, replace=replace) for file in files
        ]
    if as_json:
        print_json(found)
    else:
        console.print(import_summary(found))
    if any(one["refused"] for one in found):
        raise typer.Exit(1)


def _imported(monitor: Monitor, bars: Progress, file: Path, **options: Any) -> dict[str, Any]:
    bar = bars.add_task(file.name, total=1.0)
    return monitor.import_file(file, progress=lambda fraction: bars.update(bar, completed=fraction), **options)


def _progress(quiet: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet)


def _zone(name: str | None) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise AssayError(f"{name!r} is no time zone: write one such as Europe/Berlin or UTC") from None
