"""Acknowledged means stored: the server is killed under load, and the disk is filled up."""

from __future__ import annotations

import os
import secrets
import subprocess
import threading
import time
from collections import Counter
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


def stored_span_ids(server: Server, project: str) -> Counter[str]:
    found: Counter[str] = Counter()
    with connect(server.url) as monitor:
        cursor = None
        while True:
            page = monitor.calls(project=project, limit=1000, cursor=cursor)
            found.update(call["span_id"] for call in page["calls"])
            if not (cursor := page["next_cursor"]):
                return found


def test_kill_9_under_load_loses_nothing_acknowledged_and_counts_nothing_twice(
    own_server: Callable[..., Server], project: str
) -> None:
    server = own_server()
    senders = [Sender(server, project) for _ in range(4)]
    for sender in senders:
        sender.start()
    for kill in range(1, 4):
        so_far = sum(len(sender.acknowledged) for sender in senders)
        eventually(lambda least=so_far + 200: sum(len(s.acknowledged) for s in senders) > least)
        time.sleep(0.037 * kill)
        server.kill()
        server.start()
    for sender in senders:
        sender.stop()

    acknowledged = {span_id for sender in senders for span_id in sender.acknowledged}
    stored = stored_span_ids(server, project)
    assert len(acknowledged) > 800
    assert acknowledged - stored.keys() == set()
    assert {span_id: times for span_id, times in stored.items() if times > 1} == {}
    with connect(server.url) as monitor:
        assert monitor.usage(project=project)["total_conversations"] == len(stored)


def test_scores_are_whole_after_a_kill(own_server: Callable[..., Server], project: str) -> None:
    server = own_server()
    sender = Sender(server, project)
    sender.start()
    eventually(lambda: len(sender.acknowledged) > 300)
    server.kill()
    sender.stop()
    server.start()
    with connect(server.url) as monitor:
        calls = monitor.usage(project=project)["total_conversations"]

        def scored() -> dict[str, int]:
            return {
                name: s["n"] + s["not_assessable"] for name, s in monitor.quality(project=project)["scores"].items()
            }

        expected = dict.fromkeys(("coherence", "groundedness", "relevance", "toxicity"), calls)
        eventually(lambda: scored() == expected)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 60 MB; only root can mount one."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    directory = tmp_path / "disk"
    directory.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", directory], capture_output=True)
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
    with connect(server.url) as monitor:
        assert monitor.usage(project=project)["total_conversations"] == stored
        assert eventually(lambda: server.post(otlp({}, project=project)).status_code == 200)
        assert monitor.usage(project=project)["total_conversations"] == stored + 1
