"""What the benchmarks share: a server of their own, chat spans of a given size, and how results are shown."""

from __future__ import annotations

import json
import os
import platform
import random
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from rich.console import Console
from rich.table import Table

WORDS = [*Path(__file__).read_text().split(), *["shipping", "heat", "pumps", "prices", "orders", "answer"]]


@contextmanager
def server(directory: Path, **environment: str) -> Generator[tuple[str, int]]:
    """A fresh `assay serve` in `directory`; yields its URL and process id."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    settings = {"ASSAY_PORT": str(port), "ASSAY_STORE": str(directory / "data"), **environment}
    process = subprocess.Popen([sys.executable, "-m", "assay", "serve"], env={**os.environ, **settings}, stdout=-3)
    url = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None and not _answers(url):
            time.sleep(0.05)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(30)


def chat_batch(spans: int, text_bytes: int, rng: random.Random) -> bytes:
    """An OTLP request of chat calls with about `text_bytes` of prompt and response each."""
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.add(key="service.name").value.string_value = "benchmark"
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = "benchmark"
    for _ in range(spans):
        now = time.time_ns()
        span = scope_spans.spans.add(
            trace_id=rng.randbytes(16),
            span_id=rng.randbytes(8),
            name="chat gpt-4o-mini",
            start_time_unix_nano=now - 10**9,
            end_time_unix_nano=now,
        )
        for key, value in chat_attributes(text_bytes, rng).items():
            pair = span.attributes.add(key=key)
            if isinstance(value, int):
                pair.value.int_value = value
            else:
                pair.value.string_value = value
    return request.SerializeToString()


def chat_attributes(text_bytes: int, rng: random.Random) -> dict[str, str | int]:
    """The attributes of one chat call in the GenAI conventions."""
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.response.id": f"chatcmpl-{rng.getrandbits(64):016x}",
        "gen_ai.usage.input_tokens": rng.randint(50, 900),
        "gen_ai.usage.output_tokens": rng.randint(50, 400),
        "session.id": f"session-{rng.randint(1, 5000)}",
        "user.id": f"user-{rng.randint(1, 500)}",
        "gen_ai.input.messages": _message("user", text_bytes // 2, rng),
        "gen_ai.output.messages": _message("assistant", text_bytes // 2, rng),
    }


def memory_mb(pid: int) -> float:
    """Resident memory of a process in MB (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024


def cpu_seconds(pid: int) -> dict[str, float]:
    """CPU time of a process so far, by the names of its threads (Linux)."""
    seconds: dict[str, float] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        stat = (task / "stat").read_text()
        name, fields = stat[stat.index("(") + 1 : stat.rindex(")")], stat[stat.rindex(")") + 2 :].split()
        ticks = int(fields[11]) + int(fields[12])
        seconds[name] = seconds.get(name, 0.0) + ticks / os.sysconf("SC_CLK_TCK")
    return seconds


def show(name: str, rows: list[dict[str, Any]], **facts: Any) -> None:
    """A table for people on standard error, JSON for programs on standard output."""
    table = Table(title=name, title_justify="left")
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*(f"{value:,.2f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(stderr=True, width=None if sys.stderr.isatty() else 160).print(table)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    json.dump(
        {"benchmark": name, "at": datetime.now(UTC).isoformat(), "machine": machine, **facts, "rows": rows}, sys.stdout
    )
    sys.stdout.write("\n")


def _message(role: str, size: int, rng: random.Random) -> str:
    words = " ".join(rng.choices(WORDS, k=size // 6))
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": words[:size]}]}])


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api/health", timeout=2).is_success
    except httpx.HTTPError:
        return False
