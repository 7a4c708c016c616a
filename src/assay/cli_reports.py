"""`assay report`: a report as a document, or a scheduled one sent now."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from assay.cli_options import Json, StoreUrl, Url, asking, console, filtered
from assay.client.monitor import Monitor
from assay.errors import AssayError

ENDINGS = {"md": "md", "markdown": "md", "html": "html", "htm": "html", "pdf": "pdf", "json": "json"}


@filtered
def report(
    filters: dict[str, Any],
    url: Url = None,
    store: StoreUrl = None,
    by: Annotated[
        list[str] | None, typer.Option(help="Tell the costs by release, tag:team ... as well; may be repeated.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="What stands above it.")] = None,
    format: Annotated[
        str | None, typer.Option(help="md, html, pdf or json.  [default: the file's ending, else md]")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file.")] = None,
    as_json: Json = False,
    send: Annotated[str | None, typer.Option(help="Send this [[report]] of assay.toml now, to its channels.")] = None,
) -> None:
    """Write a report as Markdown, HTML or PDF: figures, quality, costs, errors, worst conversations, what to do."""
    with asking(url, store) as monitor:
        if send is not None:
            _send(monitor, send)
        else:
            _write(
                monitor,
                "json" if as_json else format or _format_of(output),
                output,
                {**filters, "title": title, "by": by},
            )


def _format_of(output: Path | None) -> str:
    ending = output.suffix.removeprefix(".").lower() if output else ""
    if ending and ending not in ENDINGS:
        raise AssayError(f"{output} has no ending of a report: call it .md, .html, .pdf or .json, or give --format")
    return ENDINGS[ending] if ending else "md"


def _write(monitor: Monitor, format: str, output: Path | None, filters: dict[str, Any]) -> None:
    if output is None and format == "pdf" and sys.stdout.isatty():
        raise AssayError("a PDF is nothing for a terminal: give it a file, -o report.pdf")
    if format == "json":
        import msgspec

        content = msgspec.json.format(msgspec.json.encode(monitor.report(format, **filters)), indent=2) + b"\n"
    else:
        told = monitor.report(format, **filters)
        content = told if isinstance(told, bytes) else told.encode()
    if output is None:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
    else:
        output.write_bytes(content)
        console.print(f"wrote {output}", highlight=False, soft_wrap=True)


def _send(monitor: Monitor, name: str) -> None:
    sent = monitor.send_report(name)
    channels = ", ".join(one["channel"] for one in sent)
    console.print(
        f"report {name} goes to {channels}; `assay alerts deliveries` tells what becomes of it", soft_wrap=True
    )
