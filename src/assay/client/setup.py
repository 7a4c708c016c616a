"""Switch monitoring on: provider, exporter, session marks and every installed GenAI instrumentation."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points
from multiprocessing import util
from typing import Literal

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from assay.client.address import Address, address
from assay.client.delivery import SpoolingExporter
from assay.client.session import SessionProcessor
from assay.client.spool import DEFAULT_MB, Spool, spool_directory

EXPORT_EVERY_MS = 1000
CHILD_EXIT_SECONDS = 2.0

# The newest convention mode with texts on the span itself; whoever set these already has the last word.
_CONVENTION = {
    "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental",
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
}

_NUMBER = re.compile(r"\d+(\.\d*)?")
_GENAI_PACKAGE = re.compile(r"opentelemetry-instrumentation-genai-|openinference-instrumentation-")
_GENAI_NAMES = frozenset(
    {
        "agno",
        "alephalpha",
        "anthropic",
        "autogen",
        "bedrock",
        "chroma",
        "chromadb",
        "cohere",
        "crewai",
        "dspy",
        "google-genai",
        "google_genai",
        "google_generativeai",
        "groq",
        "haystack",
        "instructor",
        "lancedb",
        "langchain",
        "litellm",
        "llama-index",
        "llama_index",
        "llamaindex",
        "marqo",
        "mcp",
        "milvus",
        "mistralai",
        "ollama",
        "openai",
        "openai-agents",
        "openai_agents",
        "pinecone",
        "portkey",
        "qdrant",
        "replicate",
        "sagemaker",
        "smolagents",
        "together",
        "transformers",
        "vertexai",
        "voyageai",
        "watsonx",
        "weaviate",
        "writer",
    }
)
"""Entry-point names of the GenAI instrumentations outside of those packages (OpenLLMetry and openai-v2)."""

log = logging.getLogger(__name__)
_started: dict[str, Address] = {}
_spool_choice: list[str | os.PathLike[str] | Literal[False] | None] = []


def init(
    url: str | None = None,
    *,
    service: str | None = None,
    project: str | None = None,
    environment: str | None = None,
    release: str | None = None,
    api_key: str | None = None,
    instrument: bool = True,
    exporter: SpanExporter | None = None,
    spool: str | os.PathLike[str] | Literal[False] | None = None,
) -> None:
    """Send this program's model calls to Assay at `url` (default ASSAY_URL, else http://127.0.0.1:4318).

    Uses the tracer provider that is there, or sets one up. `service`, `project`, `environment` and `release` (such
    as "1.4.2") name the origin of the calls. With `instrument`, every installed GenAI instrumentation is switched
    on, one for each library. `exporter` takes the place of the OTLP exporter. Calling it again changes nothing.
    Never raises: what does not work is logged.

    While the server is away, spans wait in a private directory of at most ASSAY_SPOOL_MB megabytes (default
    256; the oldest are dropped first), and this or a later process with the same `url` delivers them.
    `spool` is the directory to make it in (default ASSAY_SPOOL_DIR, else the user's cache); with False, or
    ASSAY_SPOOL_MB=0, nothing is written to disk and a few MB wait in memory. Predictions and labels of classical
    models wait in the same way, scores in memory only.
    """
    if "address" in _started:
        return
    where = _started["address"] = address(url, api_key)
    _spool_choice.append(spool)
    for name, value in _CONVENTION.items():
        os.environ.setdefault(name, value)
    try:
        provider = _provider(service, project, environment, release)
        provider.add_span_processor(SessionProcessor())
        _exporters.append(_Noting(exporter or SpoolingExporter(where, _spool(where, spool))))
        provider.add_span_processor(BatchSpanProcessor(_exporters[-1], schedule_delay_millis=EXPORT_EVERY_MS))
        util.register_after_fork(_exporters[-1], _flush_at_exit)
    except Exception:
        log.exception("assay.init() could not set up tracing; the program goes on without monitoring")
    if instrument:
        _instrument(entry_points(group="opentelemetry_instrumentor"))


def otlp_exporter(where: Address) -> SpanExporter:
    """The exporter that sends spans to Assay, and keeps a few in memory while it is away."""
    return SpoolingExporter(where, Spool(None, 0))


def server() -> Address:
    """Where `init` sends to; the default address before it was called."""
    return _started.get("address") or address()


def origin() -> dict[str, str]:
    """Project, service and environment that `init`, or OTEL_RESOURCE_ATTRIBUTES with it, named; without them {}."""
    provider = trace.get_tracer_provider()
    named = provider.resource.attributes if isinstance(provider, TracerProvider) else {}
    keys = {"project": "assay.project", "service": "service.name", "environment": "deployment.environment.name"}
    told = {name: str(named.get(key, "")) for name, key in keys.items()}
    return {name: value for name, value in told.items() if value and not value.startswith("unknown_service")}


def server_is_away() -> bool:
    """Whether the server did not answer when spans were last sent."""
    return any(exporter.away for exporter in _exporters)


def spool_for(what: str) -> Spool:
    """Where what is no span waits: in a directory of that name within the one for spans."""
    spool = _spool(server(), _spool_choice[0] if _spool_choice else None, what)
    if spool.directory:
        spool.directory = spool.directory / what
    return spool


def flush(timeout_seconds: float = 10.0) -> bool:
    """Send what waits now; False if it could not be sent, or not in time. Never raises."""
    from assay.client.feedback import flush_scores
    from assay.client.row_delivery import flush_rows

    deadline = time.monotonic() + timeout_seconds
    spans = threading.Thread(target=_flush_spans, args=(deadline,), name="assay-flush", daemon=True)
    for exporter in _exporters:
        exporter.failed = False
    spans.start()
    spans.join(timeout_seconds)
    sent = not spans.is_alive() and not any(exporter.failed for exporter in _exporters)
    scored = flush_scores(max(deadline - time.monotonic(), 0))
    return flush_rows(max(deadline - time.monotonic(), 0)) and scored and sent


class _Noting(SpanExporter):
    """Hands spans on and notes whether that failed, which OpenTelemetry's own flush does not tell."""

    def __init__(self, exporter: SpanExporter) -> None:
        self.failed = False
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self.failed = result is not SpanExportResult.SUCCESS
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        sent = self._exporter.force_flush(timeout_millis)
        self.failed = self.failed or not sent
        return sent

    @property
    def away(self) -> bool:
        """Whether the server did not answer when it was last asked."""
        return isinstance(self._exporter, SpoolingExporter) and self._exporter.away


_exporters: list[_Noting] = []


def _flush_spans(deadline: float) -> None:
    provider = trace.get_tracer_provider()
    try:
        if isinstance(provider, TracerProvider):
            provider.force_flush()
        for exporter in _exporters:
            exporter.force_flush(max(int((deadline - time.monotonic()) * 1000), 0))
    except Exception:
        log.exception("assay.flush() failed")


def _flush_at_exit(_: object) -> None:
    """Let a child that multiprocessing forked send its last second: such a child runs no atexit functions."""
    util.Finalize(None, flush, args=(CHILD_EXIT_SECONDS,), exitpriority=100)


def _spool(where: Address, chosen: str | os.PathLike[str] | Literal[False] | None, what: str = "spans") -> Spool:
    megabytes = os.environ.get("ASSAY_SPOOL_MB", "")
    limit_bytes = int(float(megabytes if _NUMBER.fullmatch(megabytes) else DEFAULT_MB) * 1_000_000)
    if chosen is False or not limit_bytes:
        return Spool(None, 0, what)
    try:
        return Spool(spool_directory(where.url, chosen or None), limit_bytes, what)
    except (RuntimeError, OSError) as error:
        log.warning("assay: no directory for %s to wait in (%s): set ASSAY_SPOOL_DIR", what, error)
        return Spool(None, 0, what)


def _provider(service: str | None, project: str | None, environment: str | None, release: str | None) -> TracerProvider:
    present = trace.get_tracer_provider()
    if isinstance(present, TracerProvider):
        return present
    named = {
        "service.name": service,
        "assay.project": project,
        "deployment.environment.name": environment,
        "service.version": release,
    }
    provider = TracerProvider(resource=Resource.create({k: v for k, v in named.items() if v}))
    trace.set_tracer_provider(provider)
    return provider


def _instrument(installed: Iterable[EntryPoint]) -> None:
    for entry in _one_each(installed):
        try:
            entry.load()().instrument()
        except Exception as error:
            log.warning("assay.init() could not switch on the instrumentation %r: %s", entry.name, error)


def _one_each(installed: Iterable[EntryPoint]) -> list[EntryPoint]:
    """The GenAI instrumentations, one a library: two of them would report every call twice."""
    chosen: dict[str, EntryPoint] = {}
    for entry in sorted(installed, key=_preference):
        if entry.name in _GENAI_NAMES or _GENAI_PACKAGE.match(_package(entry)):
            chosen.setdefault(_library(entry.name), entry)
    return list(chosen.values())


def _library(name: str) -> str:
    """One name for the spellings of a library: openai-agents and openai_agents, chroma and chromadb."""
    plain = name.lower().replace("-", "").replace("_", "")
    return {"chromadb": "chroma"}.get(plain, plain)


def _preference(entry: EntryPoint) -> tuple[bool, str]:
    return not _package(entry).startswith("opentelemetry-instrumentation-genai-"), _package(entry)


def _package(entry: EntryPoint) -> str:
    return entry.dist.name.lower().replace("_", "-") if entry.dist else ""
