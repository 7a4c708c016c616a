"""`assay doctor`: settings, the way spans take, the store and what is in it; also where no server or store works."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import httpx
import typer

from assay.cli_options import Json, StoreUrl, Url, asking, console, print_json
from assay.client.address import address
from assay.client.monitor import connect
from assay.config import Config, load_config
from assay.errors import AssayError, ConfigError
from assay.terminal import finding_table

PROBE_SECONDS = 5.0
_ORDER = ("failure", "warning", "ok")

Finding = dict[str, str]


def doctor(url: Url = None, store: StoreUrl = None, as_json: Json = False) -> None:
    """Check a server, or a store, and say what to do about what is wrong; exit code 1 for a failure."""
    found = sorted(_findings(url, store), key=lambda finding: _ORDER.index(finding["status"]))
    if as_json:
        print_json(found)
    else:
        console.print(finding_table(found))
    if any(finding["status"] == "failure" for finding in found):
        raise typer.Exit(1)


def _findings(url: str | None, store: str | None) -> Iterator[Finding]:
    try:
        config = load_config(store=store)
    except ConfigError as error:
        yield _finding("settings", "failure", str(error), "mend it; until then no `assay` command works")
        config = None
    else:
        yield _finding("settings", "ok", f"store {config.shown_store}")
    if store is None:
        yield from _way_of_spans(url, config)
    try:
        yield from _asked(url, store, config)
    except AssayError as error:
        yield _finding("store", "failure", str(error), _mended(str(error)))
        if config:
            yield from _room(config)


def _asked(url: str | None, store: str | None, config: Config | None) -> list[Finding]:
    """What the server finds, or the store itself. With broken settings only a server can be asked."""
    if config is None:
        with connect(url) as monitor:
            return monitor.doctor()
    with asking(url, store) as monitor:
        return monitor.doctor()


def _mended(problem: str) -> str:
    if "another assay process holds it" in problem:
        return "ask that process, or stop it"
    if "there is no store" in problem or "no Assay answers" in problem:
        return "start `assay serve` where the store is, or name it: --store, --url, ASSAY_STORE, ASSAY_URL"
    return "the directory `backups` beside the data has copies from before upgrades; see docs/using.md"


def _way_of_spans(url: str | None, config: Config | None) -> Iterator[Finding]:
    """Whether exporters of this environment reach a collector, asked with a request that holds no span."""
    headers = address(api_key=next(iter(config.keys), None) if config else None).headers
    server = address(url).url
    yield _probed("spans to Assay", f"{server}/v1/traces", headers)
    endpoint = _otlp_endpoint()
    if endpoint and endpoint != f"{server}/v1/traces":
        yield _probed("spans of OpenTelemetry", endpoint, {**headers, **_otlp_headers()})
        told = f"OpenTelemetry's variables send spans to {endpoint}, and Assay is looked for at {server}"
        yield _finding("endpoints", "warning", told, f"set OTEL_EXPORTER_OTLP_ENDPOINT={server}, or ASSAY_URL to match")


def _otlp_endpoint() -> str:
    if traces := os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "").strip():
        return traces
    common = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip().rstrip("/")
    return f"{common}/v1/traces" if common else ""


def _otlp_headers() -> dict[str, str]:
    pairs = (pair.partition("=") for pair in os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", "").split(","))
    return {name.strip(): value.strip() for name, equals, value in pairs if equals and name.strip()}


def _probed(check: str, endpoint: str, headers: dict[str, str]) -> Finding:
    try:
        answer = httpx.post(
            endpoint, content=b"", headers={**headers, "Content-Type": "application/x-protobuf"}, timeout=PROBE_SECONDS
        )
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        told = f"nothing takes spans at {endpoint} ({str(error) or type(error).__name__})"
        return _finding(check, "warning", told, "start `assay serve`, or set ASSAY_URL; the SDK keeps spans until then")
    if answer.status_code == 200:
        return _finding(check, "ok", f"{endpoint} takes them")
    if answer.status_code in (401, 403):
        fix = "set ASSAY_API_KEY, and OTEL_EXPORTER_OTLP_HEADERS=x-api-key=... for other exporters"
        return _finding(check, "failure", f"{endpoint} wants an API key, or another one", fix)
    told = f"{endpoint} answers {answer.status_code}: it is no OTLP/HTTP collector, or not well"
    return _finding(check, "failure", told, "look who listens there, and set ASSAY_URL to Assay's address")


def _room(config: Config) -> Iterator[Finding]:
    """Room on the disk of an embedded store that cannot be opened: a full disk is the usual reason."""
    from assay.store.connect import embedded_directory

    try:
        directory = embedded_directory(config.store)
        usage: Any = shutil.disk_usage(directory if directory and directory.exists() else ".") if directory else None
    except (AssayError, OSError):
        return
    if usage:
        free = usage.free / 2**30
        fix = "make room: a full disk stops Assay from taking spans" if free < 1 else ""
        yield _finding("disk", "failure" if free < 1 else "ok", f"{free:,.1f} GiB free", fix)


def _finding(check: str, status: str, found: str, fix: str = "") -> Finding:
    return {"check": check, "status": status, "found": found, "fix": fix}
