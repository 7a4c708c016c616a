"""Fuzzed bodies at a real server: none may bring a 5xx, and memory must not grow.

Real payloads of three signals, in protobuf and JSON, are mutated, truncated, spliced and mislabelled, with random
bytes among them. Exits with 1 when a body was answered with a 5xx or not at all, when a defect of Assay's own cost
an item, or when the server grew by 50 MB.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import http.client
import json
import math
import random
import re
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf import json_format
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from measuring import chat_batch, memory_mb, server, show

CASES = Path(__file__).parent.parent / "tests" / "otlp_cases"
LARGEST_GROWTH_MB = 50
CONNECTIONS = 2
SLICES = 10
PROTOBUF, JSON = "application/x-protobuf", "application/json"
TYPES = {
    "traces": (".pb", ExportTraceServiceRequest),
    "logs": (".logs.pb", ExportLogsServiceRequest),
    "metrics": (".metrics.pb", ExportMetricsServiceRequest),
}
ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": lambda body: body,
    "br": lambda body: body,
}


class Sample(NamedTuple):
    """A request as it is sent."""

    signal: str
    content_type: str
    body: bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bodies", type=int, default=100_000)
    parser.add_argument("--warm-up", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    samples = real_samples(random.Random(options.seed))
    with (
        tempfile.TemporaryDirectory() as directory,
        server(Path(directory), ASSAY_QUALITY__SCORERS="off") as (url, pid),
    ):
        before = max(_warmed_up(url, pid, samples, options.warm_up, options.seed))
        statuses = send(url, samples, options.bodies, str(options.seed))
        growth = settled_memory_mb(pid, before) - before
    bad = {status: count for status, count in statuses.items() if status >= 500}
    row = {"bodies": options.bodies, **{str(status): statuses[status] for status in sorted(statuses)}}
    show("fuzz", [{**row, "MB before": before, "growth MB": growth}], seed=options.seed)
    sys.exit(1 if bad or growth >= LARGEST_GROWTH_MB else 0)


def real_samples(rng: random.Random) -> list[Sample]:
    """Recorded payloads of every signal and batches of ours, each in protobuf and in JSON."""
    samples = list[Sample]()
    for signal, (ending, request_type) in TYPES.items():
        paths = [path for path in sorted(CASES.rglob(f"*{ending}")) if path.name.count(".") == ending.count(".")]
        bodies = [body for path in paths if len(body := path.read_bytes()) < 20_000]
        bodies += [chat_batch(3, 500, rng)] if signal == "traces" else []
        for body in bodies:
            samples.append(Sample(signal, PROTOBUF, body))
            samples.append(Sample(signal, JSON, as_json(request_type.FromString(body))))
    return samples


def as_json(request: Message) -> bytes:
    """The JSON encoding of OTLP: ids in hex."""
    document = json_format.MessageToJson(request, indent=None)
    return re.sub(
        r'"(traceId|spanId|parentSpanId)": "([^"]*)"',
        lambda found: f'"{found[1]}": "{base64.b64decode(found[2]).hex()}"',
        document,
    ).encode()


def fuzzed(samples: list[Sample], rng: random.Random) -> tuple[str, dict[str, str], bytes]:
    """The path, headers and body of one request."""
    sample = rng.choice(samples)
    body = rng.choice(MUTATIONS)(sample.body, rng.choice(samples).body, rng)
    headers = {"Content-Type": sample.content_type if rng.random() < 0.95 else rng.choice([PROTOBUF, JSON, "x/y"])}
    if rng.random() < 0.2:
        headers["Content-Encoding"] = rng.choice(list(ENCODINGS))
        packed = ENCODINGS[headers["Content-Encoding"]](body)
        body = packed if rng.random() < 0.7 else flipped(packed, b"", rng)
    signal = sample.signal if rng.random() < 0.95 else rng.choice([*TYPES, "profiles", "traces/"])
    return f"/v1/{signal}", headers, body


def flipped(body: bytes, _: bytes, rng: random.Random) -> bytes:
    """A few bytes changed."""
    changed = bytearray(body)
    for _i in range(rng.randint(1, 8) if body else 0):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def cut(body: bytes, _: bytes, rng: random.Random) -> bytes:
    """Ended too early."""
    return body[: rng.randint(0, len(body))]


def spliced(body: bytes, other: bytes, rng: random.Random) -> bytes:
    """Begun as one request, ended as another."""
    return cut(body, b"", rng) + other[rng.randint(0, len(other)) :]


def repeated(body: bytes, _: bytes, rng: random.Random) -> bytes:
    """A part of it twice or more."""
    begin = rng.randint(0, len(body))
    end = min(len(body), begin + rng.randint(0, 200))
    return body[:end] + body[begin:end] * rng.randint(1, 20) + body[end:]


def restructured(body: bytes, other: bytes, rng: random.Random) -> bytes:
    """JSON whose values are put in place of each other, or are of another kind; protobuf is flipped."""
    if not body.startswith(b"{"):
        return flipped(body, other, rng)
    document = json.loads(body)
    for _ in range(rng.randint(1, 6)):
        _replace_one(document, rng)
    return json.dumps(document).encode()


def _replace_one(document: Any, rng: random.Random) -> None:
    while isinstance(document, dict | list) and document:
        key = rng.choice(list(document)) if isinstance(document, dict) else rng.randrange(len(document))
        if not isinstance(document[key], dict | list) or rng.random() < 0.02:
            document[key] = (
                rng.choice([*ODD, rng.choice(list(document.values()))]) if isinstance(document, dict) else None
            )
            return
        document = document[key]


ODD = (None, {}, [], "", -1, 1e308, math.nan, "NaN", "\ud800", 2**64, True, "[[", '{"role": 3}', [{"type": {}}], "\0")


def noise(_body: bytes, _: bytes, rng: random.Random) -> bytes:
    """Anything."""
    return rng.randbytes(rng.randint(0, 400))


def nested(body: bytes, _: bytes, rng: random.Random) -> bytes:
    """Brackets that do not end."""
    return body[: rng.randint(0, len(body))] + rng.choice([b"[", b'{"a":', b"\x0a\x7f"]) * rng.randint(1, 5_000)


MUTATIONS = (*[flipped] * 3, *[restructured] * 5, cut, spliced, repeated, noise, nested)


def send(url: str, samples: list[Sample], bodies: int, seed: str) -> Counter[int]:
    """How often each status was answered; 599 stands for no answer, 598 for an item lost by a defect."""
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        each = [bodies // CONNECTIONS + (n < bodies % CONNECTIONS) for n in range(CONNECTIONS)]
        counts = pool.map(lambda n: _send(url, samples, each[n], random.Random(f"{seed}-{n}")), range(CONNECTIONS))
        return sum(counts, Counter[int]())


def _send(url: str, samples: list[Sample], bodies: int, rng: random.Random) -> Counter[int]:
    statuses = Counter[int]()
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    for _ in range(bodies):
        path, headers, body = fuzzed(samples, rng)
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            status = 598 if b"cannot be read:" in answer.read() else answer.status
        except (OSError, http.client.HTTPException):
            status = 599
            connection.close()
        statuses[status] += 1
        if status >= 500:
            print(status, path, headers, body[:2000], file=sys.stderr)
    connection.close()
    return statuses


def _warmed_up(url: str, pid: int, samples: list[Sample], bodies: int, seed: int) -> Iterator[float]:
    """Memory now and then while bodies are sent: the engine's merges make it swing by tens of MB."""
    for slice_number in range(SLICES):
        send(url, samples, bodies // SLICES, f"{seed}-warm-up-{slice_number}")
        yield memory_mb(pid)


def settled_memory_mb(pid: int, enough: float, seconds: float = 30) -> float:
    """Memory once what was accepted has been stored: the least within some seconds, or the first below `enough`."""
    least, deadline = memory_mb(pid), time.monotonic() + seconds
    while least > enough and time.monotonic() < deadline:
        time.sleep(0.5)
        least = min(least, memory_mb(pid))
    return least


if __name__ == "__main__":
    main()
