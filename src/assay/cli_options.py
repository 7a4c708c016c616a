"""What commands share: the console, options with one meaning everywhere, and the server that is asked."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType

from assay.client.address import address
from assay.client.monitor import Monitor, connect
from assay.config import Config, load_config
from assay.errors import ServerError, StoreError

# Into a file or a pipe a table is as wide as it needs to be.
console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160)

Host = Annotated[str | None, typer.Option(help="Address to listen on; another than loopback needs ASSAY_API_KEYS.")]
Port = Annotated[int | None, typer.Option(help="Port for spans, API and dashboard.  [default: 4318]")]
StoreUrl = Annotated[
    str | None,
    typer.Option("--store", help="chdb:///./directory or clickhouse://...  [default: chdb:///./assay-data]"),
]
Url = Annotated[str | None, typer.Option(help="A running server.  [default: ASSAY_URL or http://127.0.0.1:4318]")]
Since = Annotated[str | None, typer.Option(help="Only calls since then: 30m, 24h, 7d or an ISO 8601 time.")]
Until = Annotated[str | None, typer.Option(help="Only calls before then.")]
Project = Annotated[str | None, typer.Option(help="Only this project.")]
Model = Annotated[str | None, typer.Option(help="Only this model.")]
Json = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]


def _filter(*names: str, help: str) -> Any:
    return Annotated[str | None, typer.Option(*names, help=help, rich_help_panel="Which calls")]


_FILTERS: dict[str, Any] = {
    "since": _filter(help="Only calls since then: 30m, 24h, 7d or an ISO 8601 time."),
    "until": _filter(help="Only calls before then."),
    "project": _filter(help="Only this project."),
    "environment": _filter(help="Only this environment."),
    "service": _filter(help="Only this service."),
    "release": _filter(help="Only this release (service.version)."),
    "model": _filter(help="Only this model."),
    "provider": _filter(help="Only this provider."),
    "operation": _filter(help="Only this operation, such as chat."),
    "session_id": _filter("--session", help="Only this session."),
    "user_id": _filter("--user", help="Only this user."),
    "status": _filter(help="Only ok or error."),
    "error_type": _filter(help="Only this type of error."),
    "min_latency_ms": _filter(help="Only calls that took so many milliseconds or more."),
    "max_latency_ms": _filter(help="Only calls that took less."),
    "tag": Annotated[
        list[str] | None,
        typer.Option(help="KEY:VALUE, an attribute of the calls; may be repeated.", rich_help_panel="Which calls"),
    ],
}


def filtered(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options that narrow every question, which it gets as one dictionary `filters`."""
    own = [one for one in inspect.signature(command, eval_str=True).parameters.values() if one.name != "filters"]
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _FILTERS.items()
    ]

    def run(**given: Any) -> None:
        filters = {name: given.pop(name) for name in _FILTERS}
        command(**given, filters=filters)

    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own] + options
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    run.__dict__["__signature__"] = inspect.Signature(parameters)
    return run


@contextmanager
def asking(url: str | None, store: str | None, *, create: bool = False) -> Generator[Monitor]:
    """The running server, or where none answers and none was asked for, the store itself; `create` makes a new one."""
    config = load_config(store=store)
    if store is None:
        key = next(iter(config.keys), None)
        with connect(url, api_key=key) as monitor:
            try:
                monitor.health()
            except ServerError:
                if url is not None:
                    raise
            else:
                yield monitor
                return
    with _served(config, create) as local, connect(local) as monitor:
        yield monitor


@contextmanager
def _served(config: Config, create: bool) -> Generator[str]:
    from assay.server.serve import temporary_server
    from assay.store.connect import embedded_directory

    directory = embedded_directory(config.store)
    if directory is not None and not directory.exists() and not create:
        raise StoreError(
            f"no server answers at {address().url} and there is no store at {directory}: start with `assay serve`"
        )
    with temporary_server(config) as url:
        yield url


def print_json(found: Any) -> None:
    """What a command found, for other programs: indented JSON on standard output."""
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n")


def show(found: Any, as_json: bool, table: Callable[[Any], RenderableType]) -> None:
    """What a command found, as JSON or as a table; of an empty list a person is told that there is none."""
    if as_json:
        print_json(found)
    else:
        console.print(table(found) if found else "None.")
