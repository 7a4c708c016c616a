"""Acknowledged means stored: the server is killed under load, and the disk is filled up."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from assay.client.monitor import connect
from conftest import PROTOBUF, Server, eventually, otlp

SPANS_A_REQUEST = 20


class Sender(threading.Thread):
    """Sends batches as fast as it can, each again until it is acknowledged, as an exporter does."""

    def __init__(self, server: Server, project: str) -> None:
        super().__init__(daemon=True)
        self.acknowledged: list[str] = []
        self.attempts = 0
        self._server = server
        self._project = project
        self._stopping = threading.Event()

    def run(self) -> None:
        with httpx.Client(timeout=10) as client:
            while not self._stopping.is_set():
                span_ids = [secrets.token_hex(8) for _ in range(SPANS_A_REQUEST)]
                body = otlp(*({"span_id": span_id} for span_id in span_ids), project=self._project).SerializeToString()
                while not self._stopping.is_set():
                    self.attempts += 1
                    if self._accepted(client, body):
                        self.acknowledged += span_ids
                        break
                    time.sleep(0.02)

    def _accepted(self, client: httpx.Client, body: bytes) -> bool:
        try:
            return client.post(f"{self._server.url}/v1/traces", content=body, headers=PROTOBUF).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        self._stopping.set()
        self.join()


def calls(server: Server, project: str) -> int:
    with connect(server.url) as monitor:
        return monitor.usage(project=project)["total_conversations"]


def test_kills_stops_and_a_full_disk_lose_nothing_acknowledged_and_count_nothing_twice(tmp_path: Path) -> None:
    chaos = Path(__file__).parent.parent / "benchmarks" / "chaos.py"
    run = subprocess.run([sys.executable, chaos, "--rounds", "2"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)["rows"]
    assert [(row["scenario"], row["lost"], row["twice"], row["set aside"]) for row in told] == [
        ("killed", 0, 0, 0),
        ("stopped", 0, 0, 0),
        ("disk full", 0, 0, 0),
    ]
    assert told[0]["acknowledged"] > 400
    assert told[1]["with rows in the journal"] == 0


def test_what_the_journal_holds_after_a_kill_is_stored_at_the_next_start(
    own_server: Callable[..., Server], project: str
) -> None:
    server = own_server(ASSAY_QUALITY__SCORERS="off")
    sender = Sender(server, project)
    sender.start()
    journal = server.directory / "data" / "journal"
    eventually(lambda: len(sender.acknowledged) > 300 and any(p.stat().st_size for p in journal.glob("*.journal")))
    server.kill()
    sender.stop()
    server.start()
    acknowledged = set(sender.acknowledged)
    with connect(server.url) as monitor:
        page = monitor.calls(project=project, limit=1000)
        found = [call["span_id"] for call in page["calls"]]
        while page["next_cursor"]:
            page = monitor.calls(project=project, limit=1000, cursor=page["next_cursor"])
            found += [call["span_id"] for call in page["calls"]]
    assert acknowledged - set(found) == set()
    assert len(found) == len(set(found)) == calls(server, project)
    assert list(journal.glob("*.bad")) == []


def test_scores_are_whole_after_a_kill(own_server: Callable[..., Server], project: str) -> None:
    server = own_server()
    sender = Sender(server, project)
    sender.start()
    eventually(lambda: len(sender.acknowledged) > 300)
    server.kill()
    sender.stop()
    server.start()
    with connect(server.url) as monitor:

        def scored() -> dict[str, int]:
            return {
                name: s["n"] + s["not_assessable"] for name, s in monitor.quality(project=project)["scores"].items()
            }

        names = ("coherence", "groundedness", "prompt_toxicity", "refusal", "relevance", "toxicity")
        expected = dict.fromkeys(names, calls(server, project))
        eventually(lambda: scored() == expected)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 340 MB, of whose last 256 MiB the store keeps off; only root can mount one."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    directory = tmp_path / "disk"
    directory.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=340m", "tmpfs", directory], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"this machine cannot mount a tmpfs: {mounted.stderr.decode().strip()}")
    yield directory
    subprocess.run(["umount", "-l", directory], check=True)


def test_a_full_disk_defers_and_goes_on_once_there_is_room(
    own_server: Callable[..., Server], small_disk: Path, project: str
) -> None:
    server = own_server(ASSAY_STORE=f"chdb:///{small_disk}/data", ASSAY_QUALITY__SCORERS="off")
    filler = small_disk / "filler"
    filler.write_bytes(os.urandom(1 << 20) * 40)
    noise = secrets.token_hex(200_000)

    stored = 0
    for _ in range(200):
        answer = server.post(otlp({"gen_ai.input.messages": noise[::-1] + secrets.token_hex(20_000)}, project=project))
        if answer.status_code != 200:
            break
        stored += 1
    assert (answer.status_code, answer.headers.get("retry-after")) == (503, "5")

    filler.unlink()
    eventually(lambda: calls(server, project) == stored)
    assert eventually(lambda: server.post(otlp({}, project=project)).status_code == 200)
    eventually(lambda: calls(server, project) == stored + 1)
