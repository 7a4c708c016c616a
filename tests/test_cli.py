"""The `assay` command, run as a user would: another process, its output, its exit code."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import httpx
import openai
import pyarrow.parquet as pq
import pytest

from conftest import Server, eventually, free_port, otlp, run_assay

SCORES = {"coherence", "groundedness", "prompt_toxicity", "refusal", "relevance", "toxicity"}
IDS = ["00000000000000c1", "00000000000000c2"]


def assay(*arguments: str | Path, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, where no server answers unless the environment names one."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ASSAY_")}
    alone = {"ASSAY_URL": f"http://127.0.0.1:{free_port()}", "COLUMNS": "120"}
    return run_assay(*arguments, cwd=cwd, environment={**clean, **alone, **environment})


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on standard error of a command that was refused."""
    assert (done.returncode, done.stdout) == (1, ""), done
    assert done.stderr.startswith("assay: ")
    assert done.stderr.count("\n") == 1
    return done.stderr.strip()


class Running:
    """A command that runs until a signal comes."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        self.said = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "assay", *arguments],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            # Whoever runs the tests in the background has SIGINT ignored, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def stop(self, by: signal.Signals) -> tuple[int, str]:
        """Its exit code and what it said on standard error, after a signal."""
        self.process.send_signal(by)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


class Lab(NamedTuple):
    """A directory whose store ./assay-data has two scored conversations, one of them slow, and no server."""

    directory: Path

    @property
    def store(self) -> Path:
        return self.directory / "assay-data"


def fill(server: Server, project: str) -> None:
    now = time.time_ns()
    background = json.dumps([{"type": "text", "content": "Machine learning is a way to learn from data. " * 10}])
    with_background = {"gen_ai.system_instructions": background}
    server.post(
        otlp(
            {"span_id": IDS[0], "start_ns": now - 60 * 10**9, "session.id": "user_001", **with_background},
            {"span_id": IDS[1], "start_ns": now - 50 * 10**9, "end_ns": now - 45 * 10**9, **with_background},
            project=project,
        )
    )
    urls = [f"{server.url}/api/calls/{span_id}" for span_id in IDS]
    eventually(lambda: all(set(httpx.get(url).json().get("scores", ())) >= SCORES for url in urls))
    groups = f"{server.url}/api/groups?project={project}"
    eventually(lambda: httpx.get(groups).json()["groups"])  # or a report has them the second time only


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    directory = tmp_path_factory.mktemp("lab")
    one = Server(directory).start()
    fill(one, "lab")
    assert one.stop() == 0
    (directory / "data").rename(directory / "assay-data")
    return Lab(directory)


@pytest.fixture(scope="module")
def url(server: Server) -> str:
    """A running server with the same two conversations, in project cli."""
    fill(server, "cli")
    return server.url


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """`assay serve` on a free port, which has said that it is ready."""
    made = Running("serve", "--port", str(free_port()), "--store", str(tmp_path / "data"), cwd=tmp_path)
    try:
        assert made.process.stdout
        for line in made.process.stdout:
            made.said += line
            if "/api/docs" in line:
                break
        yield made
    finally:
        made.end()


# Help


def test_help_lists_the_commands() -> None:
    done = assay("--help")
    assert done.returncode == 0
    assert re.findall(r"^│ ([a-z]+) ", done.stdout, re.MULTILINE) == [
        "serve",
        "demo",
        "usage",
        "trends",
        "top",
        "sessions",
        "errors",
        "costs",
        "speed",
        "compare",
        "budgets",
        "search",
        "similar",
        "sql",
        "report",
        "drift",
        "export",
        "import",
        "reprice",
        "doctor",
        "simulate",
        "groups",
        "models",
        "quality",
        "alerts",
    ]


def test_each_command_explains_its_options() -> None:
    assert {"--once", "--time-scale", "--seed"} <= set(re.findall(r"--[\w-]+", assay("demo", "--help").stdout))
    assert {"--format", "--output", "--url", "--since"} <= set(re.findall(r"--\w+", assay("export", "--help").stdout))


def test_version_is_the_packages() -> None:
    done = assay("--version")
    assert (done.returncode, done.stdout) == (0, f"assay {version('assay')}\n")


def test_an_unknown_command_is_a_usage_error() -> None:
    done = assay("destroy")
    assert done.returncode == 2
    assert "No such command 'destroy'" in done.stderr


# Asked of a running server


def test_alerts_of_a_running_server(url: str) -> None:
    done = assay("alerts", "--url", url, "--project", "cli")
    assert done.returncode == 0
    assert "High latency: 5000 ms" in done.stdout
    assert IDS[1] in done.stdout
    assert assay("alerts", "--url", url, "--project", "none").stdout == "No alerts among the last 10 calls.\n"


def test_agreement_and_consistency_are_told_once_there_is_something_to_tell(url: str) -> None:
    def ask(command: str, project: str) -> str:
        done = assay("quality", command, "--url", url, "--project", project, COLUMNS="200")
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert ask("agreement", "none").startswith("No labels yet")
    assert ask("consistency", "none").startswith("No prompt was asked twice")
    for author, value in (("ada", 1), ("bob", 0)):
        label = {"span_id": IDS[0], "name": "relevance", "value": value, "author": author}
        assert httpx.post(f"{url}/api/scores", json=label).status_code == 201
    told = ask("agreement", "cli")
    assert re.search(r"relevance +│ local +│ relevance +│ 0 +│ auroc - +│ - +│ 0 labelled calls are too few", told)
    assert "Agreement of people with each other" in told
    assert re.search(
        r"gpt-4o-mini-2024-07-18 +│ not given +│ 1 +│ 2 +│ 0.00 \(0.00 to 0.79\)", ask("consistency", "cli")
    )


def test_the_server_may_be_named_by_the_environment(url: str) -> None:
    assert "High latency" in assay("alerts", "--project", "cli", ASSAY_URL=url).stdout


def test_the_report_of_a_running_server(url: str, tmp_path: Path) -> None:
    printed = assay("report", "--url", url, "--project", "cli")
    assert printed.stdout.startswith("# LLM monitoring summary report\n")
    assert "| Conversations | 2 |" in printed.stdout
    command = next(line.strip() for line in printed.stdout.splitlines() if line.startswith("    assay report"))
    again = assay(*shlex.split(command)[1:], "--url", url, "-o", tmp_path / "report.md")
    assert again.stdout.endswith("report.md\n")
    figures = [re.sub(r"\nMade .* by", "", text) for text in (printed.stdout, (tmp_path / "report.md").read_text())]
    assert figures[0] == figures[1], "the command that a report names makes the same report again"


def test_the_files_ending_chooses_the_reports_format(url: str, tmp_path: Path) -> None:
    assay("report", "--url", url, "--project", "cli", "-o", tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    refused = assay("report", "--url", url, "-o", tmp_path / "report.docx")
    assert "call it .md, .html, .pdf or .json, or give --format" in " ".join(refused.stderr.split())
    refused = assay("report", "--url", url, "--format", "docx")
    assert "cannot write a report as 'docx': choose one of md, html, pdf, json" in " ".join(refused.stderr.split())


def test_the_files_ending_chooses_the_exports_format(url: str, tmp_path: Path) -> None:
    for name in ("calls.csv", "calls.jsonl", "calls.parquet"):
        done = assay("export", "--url", url, "--project", "cli", "--columns", "calls", "-o", tmp_path / name)
        size = (tmp_path / name).stat().st_size
        assert (done.returncode, done.stdout.split()[-2:]) == (0, [f"{size:,}", "bytes"])
    assert [row["span_id"] for row in csv.DictReader((tmp_path / "calls.csv").open())] == IDS
    assert [json.loads(line)["span_id"] for line in (tmp_path / "calls.jsonl").open()] == IDS
    assert pq.read_table(tmp_path / "calls.parquet")["span_id"].to_pylist() == IDS


def test_the_format_option_wins_over_the_ending(url: str, tmp_path: Path) -> None:
    assay("export", "--url", url, "--project", "cli", "--format", "jsonl", "-o", tmp_path / "calls.txt")
    assert json.loads((tmp_path / "calls.txt").open().readline())["project"] == "cli"


def test_an_export_to_standard_output_is_nothing_but_the_data(url: str) -> None:
    done = assay("export", "--url", url, "--project", "cli", "--columns", "calls", "-o", "-")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["project"] for row in rows] == ["cli", "cli"]
    assert all(row[name] for row in rows for name in SCORES)


def test_files_are_imported_into_a_new_store_and_refused_lines_are_told(tmp_path: Path) -> None:
    good = {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]}
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(good)}\nno json\n")
    store = f"chdb:///{tmp_path}/new"
    done = assay("import", "openai", tmp_path / "a.jsonl", "--store", store, cwd=tmp_path)
    assert done.returncode == 1, "something was refused"
    assert re.search(r"openai +│ +2 │ +1 │ +0 │ +0 │ +1 ", done.stdout)
    assert "a.jsonl, line 2: is no JSON: " in done.stdout
    again = assay("import", tmp_path / "a.jsonl", "--store", store, "--json", cwd=tmp_path)
    assert json.loads(again.stdout)[0].items() >= {"stored": 0, "known": 1, "refused": 1}.items()


def test_an_unknown_format_is_refused_in_one_line(url: str, tmp_path: Path) -> None:
    done = assay("export", "--url", url, "-o", tmp_path / "calls.xml")
    assert refused(done) == "assay: cannot export 'xml': choose one of csv, jsonl, parquet"
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_refused_in_one_line(url: str, tmp_path: Path) -> None:
    missing = tmp_path / "no such directory"
    assert str(missing) in refused(assay("export", "--url", url, "-o", missing / "calls.csv"))
    assert str(missing) in refused(assay("report", "--url", url, "-o", missing / "report.md"))


def test_a_server_that_was_asked_for_and_does_not_answer_is_refused_in_one_line(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert refused(assay("report", "--url", url, cwd=tmp_path)).startswith(f"assay: no Assay answers at {url} ")


@pytest.mark.parametrize("url", ["nonsense", "http://127.0.0.1:port"])
def test_an_address_that_is_none_is_refused_in_one_line(url: str, tmp_path: Path) -> None:
    refused(assay("report", "--url", url, cwd=tmp_path))


def test_a_time_that_is_none_is_refused_in_one_line(url: str) -> None:
    assert "yesterdayish" in refused(assay("report", "--url", url, "--since", "yesterdayish"))


# Asked of the store itself


def test_where_no_server_runs_the_store_here_is_asked(lab: Lab) -> None:
    assert "| Conversations | 2 |" in assay("report", cwd=lab.directory).stdout


def test_a_store_may_be_named(lab: Lab, tmp_path: Path) -> None:
    done = assay("export", "--store", f"chdb:///{lab.store}", "-o", "-", cwd=tmp_path)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(row["span_id"], row["session_id"]) for row in rows] == [
        (IDS[0], "user_001"),
        (IDS[1], ""),
    ]


def test_a_store_that_a_server_holds_is_refused_with_where_to_ask(url: str, server: Server) -> None:
    store = server.directory / "data"
    assert refused(assay("report", "--store", store)) == (
        f"assay: cannot open {store}: another assay process holds it (pid {server.pid}). "
        f"Use --url {server.url} to ask that one."
    )


def test_where_there_is_neither_server_nor_store_it_says_how_to_start(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert refused(assay("report", cwd=tmp_path, ASSAY_URL=url)) == (
        f"assay: no server answers at {url} and there is no store at assay-data: start with `assay serve`"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_store_url_that_is_none_is_refused_in_one_line(tmp_path: Path) -> None:
    assert "a store is chdb:///./directory" in refused(assay("report", "--store", "mysql://there", cwd=tmp_path))


# serve


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_serve_stops_cleanly_and_the_store_can_be_opened_at_once(
    running: Running, tmp_path: Path, by: signal.Signals
) -> None:
    code, errors = running.stop(by)
    assert code == 0
    assert "Traceback" not in errors
    done = assay("report", "--store", tmp_path / "data")
    assert done.returncode == 0
    assert "No call was recorded" in done.stdout


def test_serve_says_where_everything_is_each_on_a_line_of_its_own(running: Running, tmp_path: Path) -> None:
    [url] = re.findall(r"dashboard +(\S+)", running.said)
    assert running.said.splitlines() == [
        f"assay {version('assay')}, store {tmp_path / 'data'}",
        f"  dashboard   {url}",
        f"  send spans  {url}/v1/traces",
        f"  API         {url}/api/docs",
    ]


def test_once_serve_says_where_it_is_it_answers_there(running: Running) -> None:
    [url] = re.findall(r"dashboard +(\S+)", running.said)
    assert httpx.get(f"{url}/api/health").json()["status"] == "ok"


def test_serve_on_a_port_that_is_taken_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = assay("serve", "--port", str(port), "--store", tmp_path / "data", cwd=tmp_path)
    assert refused(done).startswith(f"assay: cannot listen on 127.0.0.1:{port}: Address already in use.")
    assert not (tmp_path / "data").exists()


def test_serve_with_a_setting_that_is_wrong_says_which(tmp_path: Path) -> None:
    assert "port" in refused(assay("serve", "--port", "70000", cwd=tmp_path))
    (tmp_path / "assay.toml").write_text("prot = 4318\n")
    assert "prot" in refused(assay("serve", cwd=tmp_path))


def test_serve_to_the_whole_network_without_a_key_is_refused(tmp_path: Path) -> None:
    done = assay("serve", "--host", "0.0.0.0", "--port", str(free_port()), cwd=tmp_path)
    assert "refusing to listen on 0.0.0.0 without API keys" in refused(done)


# simulate


def test_simulate_answers_the_openai_client_until_a_signal_comes(tmp_path: Path) -> None:
    simulated = Running("simulate", "--port", str(free_port()), "--latency-scale", "0", cwd=tmp_path)
    try:
        assert simulated.process.stdout
        said = simulated.process.stdout.readline()
        [base_url] = re.findall(r"base_url='(.*)'", said)
        with openai.OpenAI(base_url=base_url, api_key="any") as client:
            asked = [{"role": "user", "content": "What is 2+2?"}]
            answer = client.chat.completions.create(model="gpt-4o-mini", messages=asked)  # type: ignore[arg-type]
        assert "4" in (answer.choices[0].message.content or "")
        code, errors = simulated.stop(signal.SIGINT)
    finally:
        simulated.end()
    assert code in (0, 130)
    assert "Traceback" not in errors
    with pytest.raises(httpx.ConnectError):
        httpx.get(base_url)


def test_simulate_on_a_port_that_is_taken_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = assay("simulate", "--port", str(port), cwd=tmp_path)
    assert f"cannot start the simulated provider on 127.0.0.1:{port}: Address already in use" in refused(done)
