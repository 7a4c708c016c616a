"""`assay report`: a report as a document, or a scheduled one sent now."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from assay.cli_options import Json, Model, Project, Since, StoreUrl, Until, Url, asking, console
from assay.client.monitor import Monitor
from assay.errors import AssayError

ENDINGS = {"md": "md", "markdown": "md", "html": "html", "htm": "html", "pdf": "pdf", "json": "json"}


def report(
    url: Url = None,
    store: StoreUrl = None,
    since: Since = None,
    until: Until = None,
    project: Project = None,
    model: Model = None,
    environment: Annotated[str | None, typer.Option(help="Only this environment.")] = None,
    service: Annotated[str | None, typer.Option(help="Only this service.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only this provider.")] = None,
    session_id: Annotated[str | None, typer.Option(help="Only this session.")] = None,
    user_id: Annotated[str | None, typer.Option(help="Only this user.")] = None,
    status: Annotated[str | None, typer.Option(help="Only calls that ended so: ok or error.")] = None,
    title: Annotated[str | None, typer.Option(help="What stands above it.")] = None,
    format: Annotated[
        str | None, typer.Option(help="md, html, pdf or json.  [default: the file's ending, else md]")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file.")] = None,
    as_json: Json = False,
    send: Annotated[str | None, typer.Option(help="Send this [[report]] of assay.toml now, to its channels.")] = None,
) -> None:
    """Write a report as Markdown, HTML or PDF: figures, quality, costs, errors, worst conversations, what to do."""
    filters = {
        "since": since,
        "until": until,
        "project": project,
        "model": model,
        "environment": environment,
        "service": service,
        "provider": provider,
        "session_id": session_id,
        "user_id": user_id,
        "status": status,
        "title": title,
    }
    with asking(url, store) as monitor:
        if send is not None:
            _send(monitor, send)
        else:
            _write(monitor, "json" if as_json else format or _format_of(output), output, filters)


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
