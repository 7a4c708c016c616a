"""The demo as a newcomer sees it: a command, its output, the calls that it leaves, and how it ends.

Both demos run side by side, since they mostly wait for simulated answers.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from assay.client.monitor import Monitor, connect
from assay.simulate.traffic import EXTENDED_PROMPTS, TEST_SCENARIOS
from conftest import eventually, free_port

SCORES = {"coherence", "groundedness", "prompt_toxicity", "refusal", "relevance", "toxicity"}
PROMPTS = [*(scenario.prompt for scenario in TEST_SCENARIOS), *EXTENDED_PROMPTS]


SEED_WHOSE_FIRST_CALL_FAILS = "9"
"""The provider answers the first turn of its first visit with 429, at any hour of the day."""


class Demo:
    """An `assay demo` on a port and store of its own."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.store = directory / "data"
        self.began = time.monotonic()
        self._out = directory / "out"
        self._errors = directory / "errors"
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("ASSAY_", "OTEL_"))}
        with self._out.open("wb") as out, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "assay",
                    "demo",
                    "--port",
                    str(self.port),
                    "--store",
                    str(self.store),
                    *arguments,
                ],
                cwd=directory,
                env={**clean, "PYTHONUNBUFFERED": "1", "COLUMNS": "160"},
                stdout=out,
                stderr=errors,
                # Whoever runs the tests in the background has SIGINT ignored, and children inherit that.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        self._known: set[int] = set()

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    @property
    def children(self) -> set[int]:
        """All processes that it started, found while they run."""
        found: set[int] = set()
        for directory in Path("/proc").glob("[0-9]*/task/*/children"):
            if directory.parts[2] in {str(pid) for pid in (self.process.pid, *found)}:
                found |= {int(pid) for pid in directory.read_text().split()}
        self._known |= found
        return found

    @property
    def left_over(self) -> set[int]:
        """Those that still run."""
        return {pid for pid in self._known if _runs(pid)}

    def wait_until_ready(self) -> float:
        """Wait for the dashboard's URL; answers after how many seconds it was printed."""
        eventually(lambda: self.url in self.out or self.process.poll() is not None, 60)
        assert self.url in self.out, self.errors
        assert self.children
        return time.monotonic() - self.began

    def end(self) -> None:
        self.children  # noqa: B018 (remembers them)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self.left_over:
            os.kill(pid, signal.SIGKILL)


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def port_is_free(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Demo, Demo]]:
    once = Demo(tmp_path_factory.mktemp("once"), "--once")
    steady = Demo(tmp_path_factory.mktemp("steady"), "--time-scale", "8000", "--seed", SEED_WHOSE_FIRST_CALL_FAILS)
    yield once, steady
    once.end()
    steady.end()


@pytest.fixture(scope="module")
def ready_after(demos: tuple[Demo, Demo]) -> float:
    """When the first demo had printed its URL, seconds after its start."""
    return max(demo.wait_until_ready() for demo in demos)


@pytest.fixture(scope="module")
def once(demos: tuple[Demo, Demo], ready_after: float) -> Demo:
    """`assay demo --once`, ended."""
    demo, _ = demos
    demo.process.wait(90)
    return demo


@pytest.fixture(scope="module")
def rows(once: Demo) -> list[dict[str, Any]]:
    """What it left in its store."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "assay",
            "export",
            "--store",
            str(once.store),
            "--format",
            "jsonl",
            "--columns",
            "calls",
            "-o",
            "-",
        ],
        capture_output=True,
        timeout=60,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def steady(demos: tuple[Demo, Demo], ready_after: float) -> Demo:
    """`assay demo`, which has come to its traffic."""
    _, demo = demos
    eventually(lambda: "Yesterday passes" in demo.out or demo.process.poll() is not None, 90)
    assert demo.process.poll() is None, demo.errors
    return demo


@pytest.fixture(scope="module")
def monitor(steady: Demo) -> Iterator[Monitor]:
    with connect(steady.url) as connected:
        yield connected


# assay demo --once


def test_the_dashboards_url_is_printed_within_a_minute(ready_after: float) -> None:
    assert ready_after < 60


def test_the_fixed_conversations_end_well_and_leave_nothing_running(once: Demo) -> None:
    assert (once.process.returncode, once.errors) == (0, "")
    assert port_is_free(once.port)
    assert once.left_over == set()


def test_all_fifteen_conversations_are_shown_with_their_figures(once: Demo) -> None:
    shown = re.findall(r"^ ?\d+/15  \w+: (.*)\n +(\S.*)\n +(\$[\d.]+), ([\d,]+ ms); (.*)$", once.out, re.MULTILINE)
    assert [prompt for prompt, *_ in shown] == PROMPTS
    assert all({score.split()[0] for score in scores.split(", ")} == SCORES for *_, scores in shown)


def test_the_labs_two_predictions_are_shown_as_it_shows_them(once: Demo) -> None:
    shown = re.search(r"^Traditional ML  (.*) each$", once.out, re.MULTILINE)
    assert shown
    said, _, took = shown[1].rpartition("; ")
    assert said == "first prediction 1, second prediction 1 (1 is benign); deterministic: yes"
    assert re.fullmatch(r"[\d.,]+ m?s", took)


def test_the_report_has_usage_quality_and_alerts(once: Demo) -> None:
    report = once.out.partition("LLM monitoring report")[2]
    assert re.search(r"Total conversations +│ 15 ", report)
    assert re.search(r"Total cost +│ \$0\.00\d\d ", report)
    assert re.search(r"Errors +│ 0 ", report)
    assert {name for name in SCORES if re.search(rf"{name} +│ 0\.\d", report)} == SCORES
    assert re.search(r"^(Alerts|No alerts)", report, re.MULTILINE)


def test_the_store_holds_the_fifteen_conversations_scored_and_priced(rows: list[dict[str, Any]]) -> None:
    assert [row["prompt"] for row in rows] == PROMPTS
    for row in rows:
        assert row["model"] == "gpt-4o-mini-2024-07-18"
        assert row["response"]
        assert row["cost_usd"] > 0
        assert row["latency_ms"] > 0
        assert set(row) >= SCORES
        assert (row["status"], row["project"], row["service"]) == ("ok", "demo", "assay-demo")
    sessions = {row["session_id"] for row in rows}
    assert sessions == {"user_001", "user_002", "user_003", "test_user_1", "test_user_2", "test_user_3"}


# assay demo


def test_the_traffic_is_varied_and_spread_over_the_last_day(monitor: Monitor) -> None:
    def varied() -> bool:
        usage = monitor.usage(project="demo")
        return usage["total_calls"] > 60 and usage["errors"] > 0

    eventually(varied, 90)
    calls = monitor.calls(limit=1000)["calls"]
    started = [datetime.fromisoformat(call["started_at"]) for call in calls]
    now = datetime.now(UTC)
    assert min(started) > now - timedelta(hours=24, minutes=10)
    assert monitor.calls(until="12h", limit=1)["calls"]
    assert max(started) < now + timedelta(minutes=1)
    assert len({moment.hour for moment in started}) > 6
    streamed = [call["time_to_first_token_ms"] for call in calls if call["stream"]]
    assert any(waited and waited > 0 for waited in streamed)
    assert len({call["model"] for call in calls}) > 2
    assert len({call["user_id"] for call in calls}) > 5
    assert {call["status"] for call in calls} == {"ok", "error"}
    assert any(call["error_message"] for call in calls if call["status"] == "error")


def test_the_traffic_is_scored_while_it_runs(monitor: Monitor) -> None:
    eventually(lambda: monitor.quality()["scores"].get("toxicity", {"n": 0})["n"] > 40)


def test_the_labs_model_predicts_beside_it_and_labels_come_later(monitor: Monitor) -> None:
    def screened() -> list[dict[str, Any]]:
        rows = monitor.predictions(project="demo", model="breast-cancer", limit=1000)["predictions"]
        return rows if len(rows) > 100 and sum(row["label"] is not None for row in rows) > 20 else []

    rows = eventually(screened)
    # Asked for apart: a demo that has run for long has more than a page of newer ones.
    eventually(lambda: monitor.predictions(project="demo", model="breast-cancer", until="12h", limit=1)["predictions"])
    assert all(row["confidence"] and len(row["features"]) == 10 for row in rows if row["status"] == "ok")
    later = [row for row in rows if row["label"] and not row["key"].startswith("lab-")]
    assert all(row["labelled_at"] > row["predicted_at"] for row in later)
    references = monitor.predictions(project="demo", reference=True, limit=1000)["predictions"]
    assert len(references) == 114


def test_ctrl_c_stops_everything(steady: Demo, monitor: Monitor) -> None:
    assert monitor.health()["status"] == "ok"
    assert steady.children
    steady.process.send_signal(signal.SIGINT)
    assert steady.process.wait(30) in (0, 130)
    assert "Traceback" not in steady.errors
    assert steady.left_over == set()
    assert port_is_free(steady.port)


# Other ends


def test_a_demo_terminated_in_the_middle_of_its_conversations_leaves_nothing_running(
    tmp_path: Path,
) -> None:
    demo = Demo(tmp_path, "--once")
    try:
        demo.wait_until_ready()
        demo.process.send_signal(signal.SIGTERM)
        demo.process.wait(30)
        assert "Traceback" not in demo.errors
        eventually(lambda: not demo.left_over)
        assert port_is_free(demo.port)
    finally:
        demo.end()


def test_a_demo_on_a_port_that_is_taken_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "assay", "demo", "--once", "--port", str(port), "--store", str(tmp_path / "data")],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"assay: cannot listen on 127.0.0.1:{port}: Address already in use.")
