"""Acknowledged means stored: a server under load is killed, stopped, restarted and put on a full disk.

Clients send batches, each again until it is acknowledged, as exporters do. Every round kills the server at a random
moment, sometimes again while it is starting and storing what the journal holds. At the end every acknowledged span
must be in the store, and none twice: by the API, by the table read as it is asked (FINAL), and after all parts are
merged. Exits with 1 if that is not so.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from assay.ingest.otlp import PROTOBUF, decode
from assay.store.connect import Store, open_store
from measuring import chat_batch, show

SPANS_A_REQUEST = 20
SENDERS = 4


class Server:
    """An `assay serve` over one store directory that is ended and started again."""

    def __init__(self, directory: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self.store = directory / "data"
        self._log = directory / "server.log"
        self._environment = {
            **os.environ,
            "ASSAY_PORT": str(self.port),
            "ASSAY_STORE": str(self.store),
            "ASSAY_QUALITY__SCORERS": "off",
        }

    @property
    def log(self) -> str:
        return self._log.read_text()

    def launch(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "assay", "serve"], env=self._environment, stdout=log, stderr=log
            )

    def start(self) -> None:
        self.launch()
        deadline = time.monotonic() + 60
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server did not start:\n{self.log}")
            time.sleep(0.05)

    def end(self, how: signal.Signals) -> None:
        self._process.send_signal(how)
        self._process.wait(60)

    def answers(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/api/health", timeout=5).is_success
        except httpx.HTTPError:
            return False

    def pending(self) -> int:
        answer = httpx.get(f"http://127.0.0.1:{self.port}/api/health", timeout=5).json()
        return answer["ingest"]["pending_spans"]


class Sender(threading.Thread):
    """Sends batches as fast as it can, each again until it is acknowledged."""

    def __init__(self, port: int, seed: int, text_bytes: int = 200) -> None:
        super().__init__(daemon=True)
        self.acknowledged: list[str] = []
        self.answers: Counter[int] = Counter()
        self._port = port
        self._random = random.Random(f"{seed}-{secrets.token_hex(8)}")
        self._text_bytes = text_bytes
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.is_set():
            body = chat_batch(SPANS_A_REQUEST, self._text_bytes, self._random)
            while not self._stopping.is_set():
                status = self._status(body)
                self.answers[status] += 1
                if status == 200:
                    self.acknowledged += span_ids(body)
                    break
                time.sleep(0.02)

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def _status(self, body: bytes) -> int:
        """The answer's status, 0 where there was none."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        try:
            connection.request("POST", "/v1/traces", body, {"Content-Type": PROTOBUF})
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of the moments at which the server is ended")
    options = parser.parse_args()
    rows = [in_a_directory(options, killed), in_a_directory(options, stopped), in_a_directory(options, disk_full)]
    show("chaos", rows)
    if any(row["lost"] or row["twice"] or row["set aside"] for row in rows):
        raise SystemExit(1)


def in_a_directory(
    options: argparse.Namespace, scenario: Callable[[argparse.Namespace, Path], dict[str, Any]]
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        return {"scenario": scenario.__name__.replace("_", " "), **scenario(options, Path(directory))}


def killed(options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """kill -9 under load, `rounds` times, every third time once more while the server is starting."""
    moments = random.Random(options.seed)
    server = Server(directory)
    server.start()
    senders = started(server)
    left_segments = 0
    for count in range(options.rounds):
        await_progress(senders, server)
        time.sleep(moments.uniform(0, 0.5))
        server.end(signal.SIGKILL)
        left_segments += has_segments(server)
        if count % 3 == 0:
            server.launch()
            time.sleep(moments.uniform(0.2, 3.0))
            server.end(signal.SIGKILL)
        server.start()
    return {"times": options.rounds, "with rows in the journal": left_segments, **verdict(server, senders)}


def stopped(options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """Stopped in order under load: nothing may be left in the journal."""
    server = Server(directory)
    server.start()
    senders, left_segments = started(server), 0
    times = max(options.rounds // 10, 1)
    for _ in range(times):
        await_progress(senders, server)
        server.end(signal.SIGTERM)
        left_segments += has_segments(server)
        server.start()
    return {"times": times, "with rows in the journal": left_segments, **verdict(server, senders)}


def disk_full(options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """The store on a small disk of which another program takes all room: requests are deferred until there is some."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=420m", "tmpfs", directory]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        return {"times": 0, "with rows in the journal": 0, "acknowledged": 0, "lost": 0, "twice": 0, "set aside": 0}
    try:
        server = Server(directory)
        server.start()
        senders, left_segments = started(server, text_bytes=4000), 0
        times = max(options.rounds // 10, 1)
        for _ in range(times):
            await_progress(senders, server)
            deferred = sum(sender.answers[503] for sender in senders)
            filler = fill(directory)
            while sum(sender.answers[503] for sender in senders) == deferred:
                time.sleep(0.05)
            left_segments += has_segments(server)
            filler.unlink()
        await_progress(senders, server)
        return {"times": times, "with rows in the journal": left_segments, **verdict(server, senders)}
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


def fill(directory: Path) -> Path:
    """A file that takes all that is free."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1 << 18)):
            pass
    return filler


def started(server: Server, text_bytes: int = 200) -> list[Sender]:
    senders = [Sender(server.port, seed, text_bytes) for seed in range(SENDERS)]
    for sender in senders:
        sender.start()
    return senders


def await_progress(senders: list[Sender], server: Server, spans: int = 200) -> None:
    """Until `spans` more are acknowledged."""
    enough = sum(len(sender.acknowledged) for sender in senders) + spans
    deadline = time.monotonic() + 60
    while sum(len(sender.acknowledged) for sender in senders) < enough:
        if time.monotonic() > deadline:
            raise SystemExit(f"no span was acknowledged for a minute:\n{server.log}")
        time.sleep(0.01)


def verdict(server: Server, senders: list[Sender]) -> dict[str, int]:
    """What was acknowledged and is not stored, and what is stored twice."""
    for sender in senders:
        sender.stop()
    while server.pending():
        time.sleep(0.05)
    server.end(signal.SIGTERM)
    acknowledged = {span_id for sender in senders for span_id in sender.acknowledged}
    store = open_store(str(server.store))
    try:
        asked = stored_times(store, "spans FINAL")
        store.command("OPTIMIZE TABLE spans FINAL")
        merged = stored_times(store, "spans")
    finally:
        store.close()
    return {
        "acknowledged": len(acknowledged),
        "lost": len((acknowledged - asked.keys()) | (acknowledged - merged.keys())),
        "twice": sum(times > 1 for found in (asked, merged) for times in found.values()),
        "set aside": len(list((server.store / "journal").glob("*.bad"))),
    }


def stored_times(store: Store, table: str) -> dict[str, int]:
    return {row["span_id"]: row["n"] for row in store.query(f"SELECT span_id, count() AS n FROM {table} GROUP BY 1")}


def span_ids(body: bytes) -> list[str]:
    return [span.span_id for span in decode(body, PROTOBUF).spans]


def has_segments(server: Server) -> bool:
    return any(path.stat().st_size for path in (server.store / "journal").glob("*.journal"))


if __name__ == "__main__":
    main()
