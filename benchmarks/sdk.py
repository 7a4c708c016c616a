"""What monitoring costs the application a call, beside bare OpenTelemetry in the same run.

Each call has 1 kB in and out and a client that answers at once; spans go through a batch processor to an
exporter that drops them, so only the application's own thread is measured. With the server away they go to
the spool of a temporary directory instead.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from types import SimpleNamespace
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import assay
from assay.client.address import Address
from assay.client.delivery import SpoolingExporter
from assay.client.session import SessionProcessor
from assay.client.spool import Spool
from measuring import chat_attributes, show


class Dropping(SpanExporter):
    """Takes spans and forgets them."""

    def export(self, spans: Any) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as spool:
        ways = _ways(Path(spool))
        costs: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, call in ways.items():
                costs[name].append(_p50_us(call, options.calls))
    bare = median(costs["bare OpenTelemetry"])
    rows = [{"way": name, "p50 us": median(values), "x bare": median(values) / bare} for name, values in costs.items()]
    show("sdk", rows)


def _ways(spool: Path) -> dict[str, Callable[[], Any]]:
    attributes = chat_attributes(2000, random.Random(0))
    question, answer = _text(attributes["gen_ai.input.messages"]), _text(attributes["gen_ai.output.messages"])
    completion = SimpleNamespace(
        id="chatcmpl-1",
        model="gpt-4o-mini",
        choices=[SimpleNamespace(message=SimpleNamespace(content=answer), finish_reason="stop")],
        usage=SimpleNamespace(prompt_tokens=200, completion_tokens=200, total_tokens=400),
    )
    client = SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=lambda **_: completion)))
    bare_provider = TracerProvider()
    bare_provider.add_span_processor(BatchSpanProcessor(Dropping(), schedule_delay_millis=1000))
    bare_tracer = bare_provider.get_tracer("bare")
    away_provider = TracerProvider()
    away_provider.add_span_processor(SessionProcessor())
    away = SpoolingExporter(Address("http://127.0.0.1:9", ""), Spool(spool / "away", 256_000_000))
    away_provider.add_span_processor(BatchSpanProcessor(away, schedule_delay_millis=1000))
    away_tracer = away_provider.get_tracer("away")
    assay.init(exporter=Dropping(), instrument=False)
    tracer = trace.get_tracer("benchmark")
    llm = assay.MonitoredLLM(client, "gpt-4o-mini")
    observed = assay.observe(lambda prompt: answer)

    def bare() -> None:
        with bare_tracer.start_as_current_span("chat gpt-4o-mini") as span:
            span.set_attributes(attributes)

    def under_init() -> None:
        with assay.session("user_001"), tracer.start_as_current_span("chat gpt-4o-mini") as span:
            span.set_attributes(attributes)

    def server_away() -> None:
        with assay.session("user_001"), away_tracer.start_as_current_span("chat gpt-4o-mini") as span:
            span.set_attributes(attributes)

    def monitored() -> None:
        llm.chat_completion("user_001", question)
        llm._histories.clear()  # pyright: ignore[reportPrivateUsage] a new session each time: 1 kB in, not 100

    return {
        "bare OpenTelemetry": bare,
        "the same span under assay.init and assay.session": under_init,
        "the same with the server away": server_away,
        "assay.observe": lambda: observed(question),
        "assay.MonitoredLLM": monitored,
    }


def _p50_us(call: Callable[[], Any], calls: int) -> float:
    times = list[float]()
    for _ in range(calls):
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1e6)
    return quantiles(times, n=2)[0]


def _text(messages: str | int) -> str:
    return json.loads(str(messages))[0]["parts"][0]["content"]


if __name__ == "__main__":
    main()
