"""Record what real instrumentations send, with its truth: `python scripts/recording/record.py [NAME[/SCENARIO] ...]`.

recordings.toml says which program of programs/ runs with which packages and settings, in an environment of its own
that uv makes under --environments, against the simulated provider. What the provider got and answered is the truth;
what the program exports over OTLP is the payload, without paths, hosts and process ids. Out, under
tests/otlp_cases/NAME: SCENARIO.pb, SCENARIO.logs.pb and SCENARIO.expected.json. Then look at what comes out wrong.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from assay.simulate.faults import Faults
from assay.simulate.provider import provider_app
from expectation import expectation

HERE = Path(__file__).parent
CASES = HERE.parents[1] / "tests" / "otlp_cases"
EXPORTER = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")
TIMEOUT_S = 180

Json = dict[str, Any]

_MACHINE = re.compile(r"^(host|process|os|container|service\.instance|thread|code|telemetry)\.|^openinference\.project")
_RETRY = b"x-stainless-retry-count"
_PATH = re.compile(r"(?:/[\w.@+~-]+)+/(?=[\w.@+-]+\.(?:py|js|mjs|ts)\b)")


class Stage:
    """The provider and the collector, for one scenario at a time."""

    def set(self, scenario: str) -> None:
        """A provider that knows nothing of other scenarios, and nothing recorded yet."""
        faults = Faults(error_429="error_429" in scenario, error_500="error_500" in scenario)
        self._provider: Any = provider_app(latency_scale=0.3 if "early_close" in scenario else 0, faults=faults)
        self.exchanges: list[Json] = []
        self.traces, self.logs = ExportTraceServiceRequest(), ExportLogsServiceRequest()

    async def provider(self, scope: Any, receive: Any, send: Any) -> None:
        """The simulated provider, with each exchange written down."""
        exchange: Json = {"path": scope["path"], "began_ns": time.time_ns(), "request": b"", "answer": b""}

        async def hear() -> Any:
            message = await receive()
            exchange["request"] += message.get("body", b"")
            return message

        async def say(message: Any) -> None:
            exchange["answer"] += message.get("body", b"")
            exchange["status"] = message.get("status", exchange.get("status"))
            exchange["ended_ns"] = time.time_ns()
            await send(message)

        if scope["method"] == "POST" and dict(scope["headers"]).get(_RETRY, b"0") == b"0":
            self.exchanges.append(exchange)  # what a client tries again by itself is still the same call
        await self._provider(scope, hear, say)

    async def collect(self, request: Request) -> Response:
        """Take in OTLP; metrics are not kept."""
        body = await request.body()
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        kept = {"traces": self.traces, "logs": self.logs}.get(request.path_params["signal"])
        if kept is not None:
            kept.MergeFromString(body)
        return Response(b"", media_type="application/x-protobuf")


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve an ASGI app on a free port of this machine; its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", interface="asgi3"))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(timeout=10)


class Runner:
    """Runs programs, each in the environment that its recording names."""

    def __init__(self, folder: Path, packages: dict[str, list[str]], provider: str, collector: str) -> None:
        self._folder, self._packages = folder, packages
        self._variables = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "OPENAI_", "ANTHROPIC_", "PYTHON"))},
            **dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY"), "sk-test"),
            **dict.fromkeys(("OPENAI_BASE_URL", "OPENAI_API_BASE"), f"{provider}/v1"),
            **dict.fromkeys(("ANTHROPIC_BASE_URL", "ANTHROPIC_API_BASE"), provider),
            **dict.fromkeys(("OTEL_EXPORTER_OTLP_ENDPOINT", "LANGFUSE_HOST", "LANGFUSE_BASE_URL"), collector),
            **dict.fromkeys(("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"), "test"),
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_SERVICE_NAME": "recorded-app",
            "LITELLM_LOCAL_MODEL_COST_MAP": "true",
            "PYTHONPATH": str(HERE),
        }

    def run(self, recording: Json, scenario: str) -> str:
        """What a scenario of a program printed. Raises RuntimeError when it fails."""
        program = HERE / "programs" / recording["program"]
        with_node = program.suffix == ".mjs"
        folder = self._environment(recording["environment"], with_node)
        # Node looks for packages beside the program.
        command = ["node", shutil.copy(program, folder)] if with_node else [folder / "bin" / "python", program]
        settings = {"INSTRUMENTED": " ".join(recording.get("instrumented", ())), **recording.get("settings", {})}
        done = subprocess.run(
            [*command, scenario],
            env=self._variables | settings,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        return done.stdout

    def _environment(self, name: str, with_node: bool) -> Path:
        folder, packages = self._folder / name, self._packages[name]
        if not (folder / "made").exists():
            folder.mkdir(parents=True, exist_ok=True)
            if with_node:
                subprocess.run(["npm", "install", "--silent", *packages], cwd=folder, check=True)
            else:
                subprocess.run(["uv", "venv", "-q", "--python", sys.executable, "--allow-existing", folder], check=True)
                install = ["uv", "pip", "install", "-q", "--python", folder / "bin" / "python", *packages, *EXPORTER]
                subprocess.run(install, check=True)
            (folder / "made").touch()
        return folder


def record(stage: Stage, runner: Runner, name: str, recording: Json, scenario: str) -> str:
    """Record one scenario; answers a line about it."""
    stage.set(scenario)
    printed = runner.run(recording, scenario)
    received = re.search(r"^received: (.*)$", printed, re.MULTILINE)
    for message in (stage.traces, stage.logs):
        scrub(message)
    told = expectation(name, scenario, stage.traces, stage.logs, stage.exchanges, received and received[1])
    target = CASES / name / scenario
    target.parent.mkdir(exist_ok=True)
    sizes = {".pb": stage.traces.ByteSize(), ".logs.pb": stage.logs.ByteSize()}
    for suffix, message in ((".pb", stage.traces), (".logs.pb", stage.logs)):
        target.with_name(scenario + suffix).unlink(missing_ok=True)
        if sizes[suffix]:
            target.with_name(scenario + suffix).write_bytes(message.SerializeToString())
    target.with_name(f"{scenario}.expected.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    untold = sum(not call["accepted_span_ids"] for call in told["calls"])
    return f"{len(told['calls'])} calls, {untold} without a span, {sizes}"


def scrub(message: Any) -> None:
    """Take out of a payload what names the machine: host, process, paths."""
    for field, value in message.ListFields():
        if field.name == "attributes":
            kept = [attribute for attribute in value if not _MACHINE.match(attribute.key)]
            del value[:]
            value.extend(kept)
        if field.type == field.TYPE_STRING and not field.is_repeated:
            setattr(message, field.name, _PATH.sub("", value))
        elif field.type == field.TYPE_MESSAGE:
            for item in value if field.is_repeated else [value]:
                scrub(item)


def main() -> int:
    """Record what the command line asks for, all without a name; 1 when any failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="*", help="a recording, or one scenario of it")
    parser.add_argument("--environments", type=Path, default=Path(tempfile.gettempdir()) / "assay-recordings")
    options = parser.parse_args()
    stage, failed = Stage(), 0
    collector = Starlette(routes=[Route("/{path:path}v1/{signal}", stage.collect, methods=["POST"])])
    with serving(stage.provider) as provider, serving(collector) as collected:
        listed = tomllib.loads((HERE / "recordings.toml").read_text())
        runner = Runner(options.environments.resolve(), listed.pop("packages"), provider, collected)
        for name, recording in listed.items():
            for scenario in recording["scenarios"]:
                if options.name and not {name, f"{name}/{scenario}"} & set(options.name):
                    continue
                try:
                    print(f"{name}/{scenario}", record(stage, runner, name, recording, scenario), flush=True)
                except (RuntimeError, subprocess.SubprocessError, LookupError, ValueError) as error:
                    failed += 1
                    print(f"{name}/{scenario} FAILED: {error}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
