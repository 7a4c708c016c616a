"""What the recorded programs share: texts, OpenTelemetry that exports at once, instrumentations by name."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import Callable
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from opentelemetry import trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

SYSTEM = "You are a terse helpdesk."
CAPITAL = "What is the capital of Australia?"
VACCINES = "How do vaccines work?"
WHERE = "Where is my order FH-20417?"
HANDBOOK = "Parcels that weigh more than thirty kilograms go by freight, on pallets, from Rotterdam. " * 80
STATUS = '{"order": "FH-20417", "status": "delivered"}'
SESSION, USER = "session-4711", "user-0815"
ORDER = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}
LOOKUP = {"name": "lookup_order", "description": "Look up the status of an order.", "parameters": ORDER}

INSTRUMENTORS = {
    "openinference": ("openinference.instrumentation.openai", "OpenAIInstrumentor"),
    "openinference-anthropic": ("openinference.instrumentation.anthropic", "AnthropicInstrumentor"),
    "openinference-agents": ("openinference.instrumentation.openai_agents", "OpenAIAgentsInstrumentor"),
    "openinference-langchain": ("openinference.instrumentation.langchain", "LangChainInstrumentor"),
    "openinference-litellm": ("openinference.instrumentation.litellm", "LiteLLMInstrumentor"),
    "openai-v2": ("opentelemetry.instrumentation.openai_v2", "OpenAIInstrumentor"),
    "genai": ("opentelemetry.instrumentation.genai.openai", "OpenAIInstrumentor"),
    "genai-anthropic": ("opentelemetry.instrumentation.genai.anthropic", "AnthropicInstrumentor"),
    "traceloop": ("opentelemetry.instrumentation.openai", "OpenAIInstrumentor"),
    "traceloop-anthropic": ("opentelemetry.instrumentation.anthropic", "AnthropicInstrumentor"),
    "traceloop-agents": ("opentelemetry.instrumentation.openai_agents", "OpenAIAgentsInstrumentor"),
    "traceloop-langchain": ("opentelemetry.instrumentation.langchain", "LangchainInstrumentor"),
}


def export() -> TracerProvider:
    """Tracer and logger providers that send each span and record as it ends."""
    spans, logs = TracerProvider(), LoggerProvider()
    spans.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
    logs.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter()))
    trace.set_tracer_provider(spans)
    set_logger_provider(logs)
    return spans


def instrument() -> list[str]:
    """Turn on what the recording names, the later around the earlier; answers the names."""
    names = os.environ["INSTRUMENTED"].split()
    for name in names:
        {"logfire": _logfire, "openlit": _openlit, "mlflow": _mlflow}.get(name.split(":")[0], _instrumentor)(name)
    return names


def _instrumentor(name: str) -> None:
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        export()
    module, kind = INSTRUMENTORS[name]
    getattr(import_module(module), kind)().instrument()


def _logfire(name: str) -> None:
    import logfire

    logfire.configure(send_to_logfire=False, console=False, service_name="recorded-app")
    for library in name.split(":")[1:]:
        getattr(logfire, f"instrument_{library}")()


def _openlit(_name: str) -> None:
    import openlit

    openlit.init(disable_batch=True)


def _mlflow(name: str) -> None:
    import mlflow

    os.environ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] + "/v1/traces"
    for library in name.split(":")[1:]:
        getattr(mlflow, library).autolog()


@contextmanager
def parent(**attributes: str) -> Any:
    """A span of the application's own around its calls."""
    with trace.get_tracer("app").start_as_current_span("handle request", attributes=attributes) as span:
        yield span


def in_session() -> Any:
    """A span of the application's own that names its session and user."""
    return parent(**{"session.id": SESSION, "user.id": USER})


def play(scenarios: dict[str, Callable[[], Any]]) -> None:
    """Run the function that the command line names; the provider's errors are what some of them are about."""
    name = sys.argv[1]
    try:
        if inspect.isawaitable(result := scenarios[name]()):
            asyncio.run(_finished(result))
    except Exception as error:
        if "error_" not in name:
            raise
        print(type(error).__name__)
    for provider in (trace.get_tracer_provider(),):
        if hasattr(provider, "force_flush"):
            provider.force_flush()


async def _finished(result: Any) -> None:
    await result
