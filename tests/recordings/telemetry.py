"""What the recorded programs share: OpenTelemetry that exports at once, the texts, and the scenario to run."""

from __future__ import annotations

import asyncio
import inspect
import sys
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

SYSTEM = "You are a terse helpdesk."
CAPITAL = "What is the capital of Australia?"
VACCINES = "How do vaccines work?"
WHERE = "Where is my order FH-20417?"
HANDBOOK = "Parcels that weigh more than thirty kilograms go by freight, on pallets, from Rotterdam. " * 80
RESULT = '{"order": "FH-20417", "status": "delivered"}'
ORDER = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}
LOOKUP = {"name": "lookup_order", "description": "Look up the status of an order.", "parameters": ORDER}


def export() -> TracerProvider:
    """A tracer provider that sends each span as it ends."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider


def export_logs() -> Any:
    """A logger provider that sends each record as it comes."""
    from opentelemetry._logs import set_logger_provider
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor

    provider = LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter()))
    set_logger_provider(provider)
    return provider


def play(functions: dict[str, Any]) -> None:
    """Run the function that the command line names; the provider's errors are what some of them are about."""
    name = sys.argv[1]
    try:
        result = functions[name]()
        if inspect.isawaitable(result):
            asyncio.run(_finished(result))
    except Exception as error:
        if not name.startswith("error_"):
            raise
        print(type(error).__name__)
    if hasattr(trace.get_tracer_provider(), "force_flush"):
        trace.get_tracer_provider().force_flush()


async def _finished(result: Any) -> None:
    await result
