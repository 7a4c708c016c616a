"""Alerting over HTTP, through the Python client and the command, on real servers."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from alerting import Receiver, receiver
from assay.client.monitor import Monitor, connect
from assay.errors import AssayError, NotFound
from conftest import Server, eventually, otlp, run_assay

RULES = """
defaults = false

[engine]
every = "5s"
delay = "0s"

[[rule]]
name = "slow"
metric = "latency"
above = 1000
window = "10m"
group_by = "project"
severity = "HIGH"

[[rule]]
name = "quiet"
metric = "cost"
above = 1000
enabled = false

[[rule]]
name = "broken"
metric = "latency"

[[channel]]
name = "hook"
webhook = "{url}"
secret = "a long random text"
"""


@pytest.fixture(scope="module")
def hook() -> Iterator[Receiver]:
    with receiver() as got:
        yield got


@pytest.fixture(scope="module")
def alerted(tmp_path_factory: pytest.TempPathFactory, hook: Receiver) -> Iterator[Server]:
    """A server whose rule fires on calls of one project that took three seconds."""
    directory = tmp_path_factory.mktemp("alerted")
    (directory / "alerts.toml").write_text(RULES.format(url=hook.url))
    server = Server(directory, ASSAY_QUALITY__SCORERS="off").start()
    now = time.time_ns()
    slow = [
        {"start_ns": now - 20_000_000_000 + i, "end_ns": now - 17_000_000_000 + i * 1000, "user.id": "<b>ann</b>"}
        for i in range(30)
    ]
    assert server.post(otlp(*slow, project="sluggish")).is_success
    yield server
    server.stop()


@pytest.fixture
def monitor(alerted: Server) -> Iterator[Monitor]:
    with connect(alerted.url) as connected:
        yield connected


def assay(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_assay("alerts", *arguments, cwd=directory, environment=os.environ | {"COLUMNS": "200"})


def test_calls_that_are_sent_become_an_incident_and_a_message(monitor: Monitor, hook: Receiver) -> None:
    [incident] = eventually(lambda: monitor.incidents(phase="firing"), 60)
    assert (incident["rule"], incident["group"], incident["severity"]) == ("slow", "sluggish", "HIGH")
    assert len(incident["evidence"]["worst_calls"]) == 10
    full = monitor.incident(incident["incident_id"])
    assert [event["kind"] for event in full["events"]] == ["pending", "firing"]
    message = eventually(lambda: hook.messages)[0]
    assert message["incidents"][0]["incident_id"] == incident["incident_id"]
    assert [one["state"] for one in eventually(lambda: [d for d in monitor.deliveries() if d["state"] == "sent"])]


def test_an_incident_is_commented_on_silenced_and_acknowledged(monitor: Monitor) -> None:
    [incident] = eventually(lambda: monitor.incidents(phase="firing"), 60)
    key = incident["incident_id"]
    monitor.comment(key, "looking at it", author="ann")
    monitor.acknowledge(key, author="ann")
    silence = monitor.silence("2h", incident_id=key)
    after = monitor.incident(key)
    assert {event["kind"]: event["author"] for event in after["events"]} == {
        "pending": "",
        "firing": "",
        "comment": "ann",
        "acknowledged": "ann",
    }
    assert monitor.incidents(phase="firing")[0]["unsaid"].startswith("silenced until")
    assert [one["silence_id"] for one in monitor.silences()] == [silence["silence_id"]]
    monitor.end_silence(silence["silence_id"])
    assert monitor.silences() == []
    assert monitor.incidents(phase="firing")[0]["unsaid"] == ""


def test_the_rules_are_shown_with_what_is_wrong_and_no_secret(monitor: Monitor) -> None:
    eventually(lambda: monitor.rules()["rules"][0]["state"], 60)
    told = monitor.rules()
    assert [rule["name"] for rule in told["rules"]] == ["slow", "quiet"]
    assert "line 22: rule 'broken': give one limit" in told["problems"][0]
    assert told["channels"] == [{"name": "hook", "kind": "webhook", "min_severity": "LOW"}]
    assert "a long random text" not in json.dumps(told)
    assert told["rules"][0]["for"] == 0


def test_rules_are_replayed_before_they_are_switched_on(monitor: Monitor) -> None:
    eventually(lambda: monitor.incidents(phase="firing"), 60)
    mine = (
        'defaults = false\n[engine]\nevery = "5s"\n'  # a replay ends with the last whole step
        '[[rule]]\nname = "mine"\nmetric = "latency"\nabove = 2000\nwindow = "5m"\nenabled = false\n'
    )
    asleep = monitor.replay(mine, since="1h")
    assert asleep["rules"] == []
    told = monitor.replay(mine, since="1h", only=["mine"], at_most_a_week=0)
    [rule] = told["rules"]
    assert (rule["fired"], rule["setting"], rule["limit"]) == (1, "above", 2000)
    assert rule["suggested"] > 2000, "with which it would not have fired"
    again = monitor.replay(mine.replace("2000", str(rule["suggested"])), since="1h", only=["mine"])
    assert again["rules"][0]["fired"] == 0


@pytest.mark.parametrize(
    ("ask", "error", "said"),
    [
        (lambda m: m.incident("0" * 16), NotFound, "there is no incident"),
        (lambda m: m.incidents(phase="burning"), AssayError, "choose of pending, firing"),
        (lambda m: m.silence("2h"), AssayError, "say what to silence"),
        (lambda m: m.silence("2020-01-01T00:00:00Z", rule="x"), AssayError, "is over"),
        (lambda m: m.silence("soon", rule="x"), AssayError, "is no point in time"),
        (lambda m: m.replay(since="9999d"), AssayError, "choose a later"),
        (lambda m: m.replay(only=["nothing"]), AssayError, "no rule 'nothing'"),
        (lambda m: m.test_channels("pager"), AssayError, "no channel 'pager'; there are: hook"),
        (lambda m: m.end_silence("abc"), NotFound, "there is no silence"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(
    monitor: Monitor, ask: Callable[[Monitor], object], error: type[AssayError], said: str
) -> None:
    with pytest.raises(error, match=said):
        ask(monitor)


def test_the_command_asks_the_same(alerted: Server, monitor: Monitor, hook: Receiver) -> None:
    [incident] = eventually(lambda: monitor.incidents(phase="firing"), 60)
    shown = assay(alerted.directory, "incidents", "--url", alerted.url)
    assert incident["incident_id"] in shown.stdout, shown.stderr
    sent = assay(alerted.directory, "test", "--url", alerted.url)
    assert (sent.returncode, "sent" in sent.stdout) == (0, True), sent.stderr
    assert any(message["status"] == "test" for message in hook.messages)
    replayed = assay(alerted.directory, "replay", "--url", alerted.url, "--since", "1h", "--json")
    assert [rule["rule"] for rule in json.loads(replayed.stdout)["rules"]] == ["slow"]
    assert "slow" in assay(alerted.directory, "rules", "--url", alerted.url).stdout


def test_check_names_the_line_and_leaves_with_one(tmp_path: Path) -> None:
    (tmp_path / "alerts.toml").write_text(RULES.format(url="https://hook.example"))
    done = assay(tmp_path, "check")
    assert done.returncode == 1
    assert "alerts.toml, line 22: rule 'broken'" in done.stdout
    assert "2 rules, 1 channels: slow (threshold)" in done.stdout
    (tmp_path / "good.toml").write_text("")
    assert assay(tmp_path, "check", "good.toml").returncode == 0
    assert "there is no file nothing.toml" in assay(tmp_path, "check", "nothing.toml").stderr


def test_nothing_is_lost_or_told_twice_over_a_kill(tmp_path: Path) -> None:
    with receiver(503) as hook:
        (tmp_path / "alerts.toml").write_text(RULES.format(url=hook.url))
        server = Server(tmp_path, ASSAY_QUALITY__SCORERS="off").start()
        try:
            now = time.time_ns()
            slow = [{"start_ns": now - 20_000_000_000 + i, "end_ns": now - 15_000_000_000 + i * 99} for i in range(30)]
            server.post(otlp(*slow, project="killed"))
            eventually(lambda: hook.bodies, 60)
            server.kill()
            server.start()
            with connect(server.url) as monitor:
                eventually(lambda: [one for one in monitor.deliveries() if one["state"] == "sent"], 60)
                assert len(monitor.incidents()) == 1
            server.kill()
            server.start()
            time.sleep(6)
        finally:
            server.stop()
    assert len(hook.bodies) == 2, "the one that was refused, and the one that arrived"
    assert len({header["webhook-id"] for header in hook.headers}) == 1
