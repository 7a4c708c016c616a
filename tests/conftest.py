"""What tests share: a store inside this process, real servers on loopback, and OTLP spans to send."""

from __future__ import annotations

import json
import multiprocessing
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import hypothesis
import pytest
from httpx._config import DEFAULT_TIMEOUT_CONFIG
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from streamlit.components.v2 import manifest_scanner

from assay.cli import main
from assay.client.monitor import Monitor, connect
from assay.simulate.provider import running_provider
from assay.store.connect import Store, open_store

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

# Programs under test keep what waits for a server to themselves, not in the user's cache.
os.environ.setdefault("ASSAY_SPOOL_DIR", tempfile.mkdtemp(prefix="assay-spool-"))

# Timing never decides a test: a machine under load answers late.
hypothesis.settings.register_profile("assay", deadline=None)
hypothesis.settings.load_profile("assay")
PATIENCE_SECONDS = 60
DEFAULT_TIMEOUT_CONFIG.read = PATIENCE_SECONDS

PROTOBUF = {"Content-Type": "application/x-protobuf"}

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


LONGEST_FIRST = ("dashboard", "durability", "client_spool", "cli", "conversations_page", "demo", "auth", "truth")
"""Files that take long begin early, so that no process waits for another at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {f"test_{name}": place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(autouse=True)
def _wide_terminal() -> None:
    """Commands that run in this process write lines of one width, whatever was set when they were imported."""
    if options := sys.modules.get("assay.cli_options"):
        options.console.width = 200


# Forked from a process that has imported them: half of what a start costs is imports. What Streamlit would look for
# in every installed package, components of others, no test needs; there are many packages here.
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["assay.cli", "assay.server.serve"])


def _assay(arguments: Sequence[str], directory: Path, environment: dict[str, str], out: Path, errors: Path) -> None:
    """The `assay` command as a process of its own, which adds what it says to these files."""
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    for standard, path in ((1, out), (2, errors)):
        with path.open("ab", buffering=0) as file:
            os.dup2(file.fileno(), standard)
    manifest_scanner.scan_component_manifests = lambda: []
    sys.modules["assay.cli_options"].__dict__["console"].width = int(environment.get("COLUMNS", 160))
    sys.argv = ["assay", *arguments]
    main()


def run_assay(
    *arguments: object, cwd: Path | None = None, environment: Mapping[str, str] = os.environ
) -> subprocess.CompletedProcess[str]:
    """Run an `assay` command to its end, as `subprocess.run` would `python -m assay`, without its imports."""
    words = [str(argument) for argument in arguments]
    with tempfile.TemporaryDirectory() as directory:
        out, errors = Path(directory, "out"), Path(directory, "errors")
        process = FORKED.Process(target=_assay, args=(words, cwd or Path.cwd(), dict(environment), out, errors))
        process.start()
        process.join(PATIENCE_SECONDS)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(words, PATIENCE_SECONDS)
        return subprocess.CompletedProcess(words, process.exitcode, out.read_text(), errors.read_text())


class Server:
    """An `assay serve` of its own on a free port, which can be killed and started again."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        own = {"ASSAY_PORT": str(self.port), "ASSAY_STORE": str(directory / "data")}
        self._environment = {**os.environ, **own, **environment}
        self._process: Any = None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def log(self) -> str:
        return (self.directory / "server.log").read_text()

    def start(self) -> Server:
        log = self.directory / "server.log"
        self._process = FORKED.Process(target=_assay, args=(["serve"], self.directory, self._environment, log, log))
        self._process.start()
        deadline = time.monotonic() + 60
        while self._process.is_alive() and time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.url}/api/health", timeout=5).status_code in (200, 401):
                    return self
            except httpx.HTTPError:
                time.sleep(0.05)
        raise AssertionError(f"the server did not start:\n{self.log}")

    def kill(self) -> None:
        """kill -9: no time to finish anything."""
        assert self._process
        self._process.kill()
        self._process.join(10)

    def stop(self) -> int:
        assert self._process
        self._process.terminate()
        self._process.join(20)
        return self._process.exitcode

    def post(self, spans: ExportTraceServiceRequest | bytes, **headers: str) -> httpx.Response:
        body = spans if isinstance(spans, bytes) else spans.SerializeToString()
        return httpx.post(f"{self.url}/v1/traces", content=body, headers={**PROTOBUF, **headers}, timeout=30)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def otlp(*spans: dict[str, Any], project: str = "default") -> ExportTraceServiceRequest:
    """A request with these spans; each a dictionary of what differs from an ordinary chat call of now.

    Keys with a dot are attributes; `attributes` replaces all of them.
    """
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.extend(key_values({"service.name": "tests", "assay.project": project}))
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = "tests"
    for wanted in spans:
        span = scope_spans.spans.add()
        now = time.time_ns()
        span.trace_id = bytes.fromhex(wanted.get("trace_id", secrets.token_hex(16)))
        span.span_id = bytes.fromhex(wanted.get("span_id", secrets.token_hex(8)))
        span.parent_span_id = bytes.fromhex(wanted.get("parent_span_id", ""))
        span.name = wanted.get("name", "chat gpt-4o-mini")
        span.start_time_unix_nano = wanted.get("start_ns", now - 1_000_000_000)
        span.end_time_unix_nano = wanted.get("end_ns", span.start_time_unix_nano + 800_000_000)
        if "error" in wanted:
            span.status.code = span.status.STATUS_CODE_ERROR
            span.status.message = wanted["error"]
        own = {key: value for key, value in wanted.items() if "." in key}
        span.attributes.extend(key_values(wanted.get("attributes", {**chat_attributes(), **own})))
    return request


def chat_attributes(
    prompt: str = "What is machine learning?", response: str = "A way to learn from data."
) -> dict[str, Any]:
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.output_tokens": 500,
        "gen_ai.input.messages": messages(user=prompt),
        "gen_ai.output.messages": messages(assistant=response),
    }


def messages(**by_role: str) -> str:
    return json.dumps(
        [{"role": role, "parts": [{"type": "text", "content": content}]} for role, content in by_role.items()]
    )


def key_values(attributes: dict[str, Any]) -> Iterator[KeyValue]:
    for key, value in attributes.items():
        pair = KeyValue(key=key)
        match value:
            case bool():
                pair.value.bool_value = value
            case int():
                pair.value.int_value = value
            case float():
                pair.value.double_value = value
            case list():
                for item in value:
                    pair.value.array_value.values.add().string_value = item
            case _:
                pair.value.string_value = value
        yield pair


def eventually(condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """The first true value of a condition. Fails with what it said last after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still {value!r} after {seconds} s"
        time.sleep(0.05)
    return value


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The one store of this process (the engine allows one path a process); tests keep apart by `project`."""
    opened = open_store(str(tmp_path_factory.mktemp("store")))
    yield opened
    opened.close()


@pytest.fixture
def project() -> str:
    """A project that no other test uses."""
    return f"test-{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that all tests share; they keep apart by `project`."""
    started = Server(tmp_path_factory.mktemp("server")).start()
    yield started
    started.stop()
    assert "Stack (most recent call last)" not in started.log


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Makes servers of the test's own, with settings as environment variables, in a directory with `files`."""
    made: list[Server] = []

    def make(*files: Path, **environment: str) -> Server:
        directory = tmp_path / f"server-{len(made)}"
        directory.mkdir()
        for file in files:
            shutil.copy(file, directory)
        made.append(Server(directory, **environment))
        return made[-1].start()

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def monitor(server: Server) -> Iterator[Monitor]:
    with connect(server.url) as connected:
        yield connected


@pytest.fixture(scope="session")
def provider_url() -> Iterator[str]:
    """The base URL of a simulated provider that answers at once."""
    with running_provider(latency_scale=0) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[BrowserContext]:
    from playwright.sync_api import expect, sync_playwright

    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert executable, "no Chromium on the PATH: install it with `apt-get install chromium`"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        context = chromium.new_context(viewport={"width": 1280, "height": 900}, timezone_id="UTC")
        context.set_default_timeout(PATIENCE_SECONDS * 1000)
        expect.set_options(timeout=PATIENCE_SECONDS * 1000)
        yield context
        chromium.close()


@pytest.fixture
def page(browser: BrowserContext) -> Iterator[Page]:
    opened = browser.new_page()
    yield opened
    opened.close()
