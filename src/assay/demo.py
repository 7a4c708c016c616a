"""The demo: a server, a simulated provider and a real openai client between them, and the lab's classical model beside.

First the lab's fifteen conversations, one after the other, and its two predictions; then, unless told to end there, a
day of believable traffic of both in a minute and after it steady traffic until Ctrl-C.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import IO

import openai
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from rich.console import Console
from rich.text import Text

from assay.client.address import address
from assay.client.labels import label
from assay.client.llm import MonitoredLLM, MonitoredResponse
from assay.client.model import MonitoredModel
from assay.client.monitor import connect
from assay.client.session import session
from assay.client.setup import flush, init, otlp_exporter
from assay.config import Config
from assay.errors import AssayError, ServerError
from assay.simulate.classical import Floats, Lab, lab_forest, screen
from assay.simulate.drive import drive
from assay.simulate.provider import running_provider
from assay.simulate.texts import library
from assay.simulate.timelapse import TimeLapse
from assay.simulate.traffic import lab_conversations, lapsed_day, visits
from assay.terminal import dollars, excerpt, fraction, milliseconds, print_report

MODEL = "gpt-4o-mini"
DAY_NS = 86_400 * 10**9
RECALIBRATED_HOURS_AGO = 14
"""Midway through the day of the demo's screening: most of its cases come after."""
START_SECONDS = 60
STOP_SECONDS = 15
FLUSH_SECONDS = 5
CLASSICAL = "breast-cancer"

# At 1440 times the real speed this is about 500 calls in the first minute, then two a second.
PEAK_CALLS_PER_SECOND = 20.0
STEADY_CALLS_PER_SECOND = 2.0


def demo(config: Config, console: Console, *, once: bool, time_scale: float, seed: int) -> None:
    """Run the demo until Ctrl-C, or with `once` until the fixed conversations are reported. Raises AssayError."""
    began = datetime.now(UTC)
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _exit)
    with running_server(config) as url, running_provider(seed=seed) as provider_url:
        where = address(url, next(iter(config.keys), ""))
        now_ns = time.time_ns()
        # Begins with the traffic; until then spans keep their own time.
        lapse = TimeLapse(otlp_exporter(where), now_ns - DAY_NS, time_scale, start_ns=now_ns + DAY_NS)
        init(url, service="assay-demo", project="demo", api_key=where.api_key, exporter=lapse, spool=False)
        # Made before anyone is told to look: a client that a signal leaves half made complains when it is deleted.
        client = openai.OpenAI(base_url=provider_url, api_key="simulated")
        drivers = openai.AsyncOpenAI(base_url=provider_url, api_key="simulated")
        console.print(f"\n[bold]Dashboard[/bold]  [link={url}]{url}[/link]\n")
        with connect(url, api_key=where.api_key) as monitor, _exporting_ended():
            trained = _in_background(lab_forest)
            _lab(console, client)
            lab = trained.result()
            _lab_predictions(console, lab)
            if once:
                print_report(console, monitor, since=began.isoformat())
                return
            console.print(
                f"\nYesterday passes in a minute, then traffic goes on. Watch {url}; Ctrl-C stops everything."
            )
            with _screening(lab, lapse, seed):
                asyncio.run(_traffic(drivers, lapse, seed))


def _exit(*_: object) -> None:
    """Leave by way of every `with`: so the server is stopped too."""
    sys.exit(0)


@contextmanager
def _exporting_ended() -> Generator[None]:
    """Send what waits before the server that takes it is stopped."""
    try:
        yield
    finally:
        flush(FLUSH_SECONDS)
        provider = trace.get_tracer_provider()
        if isinstance(provider, TracerProvider):
            provider.shutdown()


@contextmanager
def running_server(config: Config) -> Generator[str]:
    """`assay serve` as a process of its own; yields its URL once it answers. Raises AssayError if it ends."""
    environment = {**os.environ, "ASSAY_HOST": config.host, "ASSAY_PORT": str(config.port), "ASSAY_STORE": config.store}
    with tempfile.TemporaryFile("w+") as errors:
        # A session of its own: Ctrl-C reaches the demo, which then stops the server in order.
        server = subprocess.Popen(
            [sys.executable, "-m", "assay", "serve"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        try:
            url = f"http://{config.host}:{config.port}"
            _await_answer(server, url, next(iter(config.keys), ""), errors)
            yield url
        finally:
            server.terminate()
            with suppress(subprocess.TimeoutExpired):
                server.wait(STOP_SECONDS)
            server.kill()
            server.wait()


def _await_answer(server: subprocess.Popen[bytes], url: str, key: str, errors: IO[str]) -> None:
    deadline = time.monotonic() + START_SECONDS
    with connect(url, api_key=key, timeout_seconds=2) as monitor:
        while server.poll() is None and time.monotonic() < deadline:
            with suppress(ServerError):
                monitor.health()
                return
            time.sleep(0.1)
    errors.seek(0)
    said = errors.read().strip().removeprefix("assay: ")
    raise AssayError(said or f"the server did not answer at {url} within {START_SECONDS} s")


def _lab(console: Console, client: openai.OpenAI) -> None:
    """The lab's conversations through MonitoredLLM, each with its figures."""
    llm = MonitoredLLM(client, MODEL, system=f"You are a helpful teacher. Background:\n{_background()}")
    turns = lab_conversations()
    for number, (session_id, prompt) in enumerate(turns, 1):
        answer = llm.chat_completion(session_id=session_id, prompt=prompt, temperature=0.7)
        console.print(_told(f"{number:>2}/{len(turns)}", session_id, prompt, answer, console.width - 8))


def _in_background(make: Callable[[], Lab]) -> Future[Lab]:
    """What `make` makes, meanwhile: whoever ends the demo before need not wait for it."""
    made: Future[Lab] = Future()

    def work() -> None:
        try:
            made.set_result(make())
        except Exception as error:
            made.set_exception(error)

    threading.Thread(target=work, name="assay-demo-forest", daemon=True).start()
    return made


def _monitored(lab: Lab, clock: Callable[[], float]) -> MonitoredModel:
    return MonitoredModel(lab.forest, CLASSICAL, "1", feature_names=lab.feature_names, clock=clock)


def _lab_predictions(console: Console, lab: Lab) -> None:
    """The lab's two predictions of one input, as it shows them.

    The cases that the forest was not trained on are the reference: of its training set a forest is always right.
    """
    model, row = _monitored(lab, time.time), lab.test[:1]
    model.log_reference(lab.test, lab.test_labels)
    results, began = list[int](), time.perf_counter()
    for key in ("lab-1", "lab-2"):
        results.append(int(model.predict(row, keys=[key])[0]))
        model.predict_proba(row)
    latency_ms = (time.perf_counter() - began) / len(results) * 1000
    model.label(["lab-1", "lab-2"], [int(lab.test_labels[0])] * 2)
    console.print(
        Text.assemble(
            ("\nTraditional ML  ", "bold"),
            f"first prediction {results[0]}, second prediction {results[1]} (1 is benign); "
            f"deterministic: {'yes' if results[0] == results[1] else 'no'}; {milliseconds(latency_ms)} each",
        )
    )


@contextmanager
def _screening(lab: Lab, lapse: TimeLapse, seed: int) -> Generator[None]:
    """The forest at work in a clinic, beside everything else."""

    def simulated_clock() -> float:
        return lapse.simulated_ns(time.time_ns()) / 1e9

    model, stopping = _monitored(lab, simulated_clock), threading.Event()

    def predict(rows: Floats, keys: Sequence[str]) -> object:
        return model.predict_proba(rows, keys=keys)

    def tell(keys: Sequence[str], classes: Sequence[int], at: float) -> None:
        label(keys, classes, model=CLASSICAL, at=at)

    def work() -> None:
        recalibrated_at = time.time() - RECALIBRATED_HOURS_AGO * 3600
        screen(lab, predict, tell, clock=simulated_clock, recalibrated_at=recalibrated_at, stopping=stopping, seed=seed)

    thread = threading.Thread(target=work, name="assay-demo-screening", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(STOP_SECONDS)


def _background() -> str:
    return "\n".join(topic.note for topic in library().topics if topic.area == "general" and topic.note)


def _told(number: str, session_id: str, prompt: str, answer: MonitoredResponse, width: int) -> Text:
    scores = ", ".join(f"{name} {fraction(value)}" for name, value in answer.quality.items())
    figures = f"{dollars(answer.cost_usd)}, {milliseconds(answer.latency_ms)}"
    return Text.assemble(
        (f"{number}  {session_id}: {prompt}\n", "bold"),
        f"       {excerpt(answer.response, width)}\n",
        (f"       {figures}; {scores}", "dim"),
    )


async def _traffic(client: openai.AsyncOpenAI, lapse: TimeLapse, seed: int) -> None:
    lapse.begin()

    def simulated_clock() -> float:
        return lapse.simulated_ns(time.time_ns()) / 1e9

    rate = lapsed_day(
        simulated_clock,
        (lapse.end_ns - time.time_ns()) / 1e9,
        peak=PEAK_CALLS_PER_SECOND,
        after=STEADY_CALLS_PER_SECOND,
    )
    async with client:
        await drive(client, visits(seed, clock=simulated_clock), rate=rate, session=session, seed=seed)
