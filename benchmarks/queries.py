"""How long every question of the dashboard takes over a big store, asked as the pages ask: over HTTP.

Warm is the median of some repetitions. Cold is the first time a question is asked of a server just started, after the
system was told to forget the store's files. Exits with 1 where the warm median of a question is above `--limit-ms`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from assay.client.monitor import Monitor, connect
from assay.dashboard.data import Filter
from assay.dashboard.overview_data import overview
from assay.store.connect import open_store
from measuring import memory_mb, server, show
from seed import seed

Question = Callable[[Monitor], Any]


@cache
def _newest(monitor: Monitor) -> dict[str, Any]:
    return monitor.calls(limit=1, kind="llm")["calls"][0]


QUESTIONS: dict[str, Question] = {
    "usage": lambda m: m.usage(since="30d"),
    "top users by cost": lambda m: m.top("user_id", since="30d"),
    "top sessions by latency": lambda m: m.top("session_id", by="latency", since="30d"),
    "top prompts by calls": lambda m: m.top("prompt", by="calls", since="30d"),
    "sessions": lambda m: m.sessions(since="30d"),
    "dearest sessions": lambda m: m.sessions(since="30d", order="cost"),
    "a session": lambda m: m.session(_newest(m)["session_id"], project=_newest(m)["project"]),
    "errors": lambda m: m.errors(since="30d"),
    "costs by model": lambda m: m.costs(since="30d", group_by="model"),
    "speed by model": lambda m: m.speed(since="30d"),
    "two weeks compared": lambda m: m.compare(since="7d"),
    "kinds of question": lambda m: m.groups(since="30d"),
    "similar calls": lambda m: m.similar(_newest(m)["span_id"]),
    "search, one word": lambda m: m.calls(q="prices", limit=10),
    "SQL: cost by model": lambda m: m.sql("SELECT model, sum(cost_usd) FROM calls GROUP BY model"),
    "usage by model": lambda m: m.usage(since="30d", group_by="model"),
    "usage by user": lambda m: m.usage(since="30d", group_by="user_id"),
    "quality": lambda m: m.quality(since="30d"),
    "quality by model": lambda m: m.quality(since="30d", group_by="model"),
    "trends": lambda m: m.trends(since="30d"),
    "trends by model": lambda m: m.trends(since="30d", group_by="model"),
    "latencies": lambda m: m.latencies(since="30d"),
    "newest calls": lambda m: m.calls(limit=50),
    "dearest calls": lambda m: m.calls(order="cost", since="30d", limit=50),
    "one model's slowest calls": lambda m: m.calls(order="latency", since="30d", model="gpt-4o-2024-08-06", limit=50),
    "agreement": lambda m: m.agreement(since="30d"),
    "alerts": lambda m: m.alerts(),
    "incidents": lambda m: m.incidents(),
}


def _overview(monitor: Monitor, chosen: Filter) -> None:
    """All that the page takes from its answers."""
    with overview(monitor, chosen) as found:
        for part in (
            "usage",
            "points",
            "by_model",
            "latencies",
            "calls",
            "alerts",
            "incidents",
            "compared",
            "troubles",
        ):
            getattr(found, part)


_OF_READ_PROMPTS = ("kinds of question", "similar calls")

PAGES: dict[str, Question] = {
    f"overview page, {span}": lambda m, span=span: _overview(m, Filter(span)) for span in ("24h", "7d", "30d", "all")
} | {f"report, {span}": lambda m, span=span: m.report("html", since=span) for span in ("24h", "7d", "30d")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--text-bytes", type=int, default=2000)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--cold", type=int, default=3, help="how many cold starts; 0 leaves them out")
    parser.add_argument("--only", default="", help="only questions whose name has this in it")
    parser.add_argument("--unread", action="store_true", help="the prompts of the store are not read: leave those out")
    parser.add_argument("--limit-ms", type=float, default=float("inf"))
    parser.add_argument("--directory", type=Path, help="keep the store here, and use it if it is there already")
    options = parser.parse_args()
    unread = _OF_READ_PROMPTS if options.unread else ()
    asked = {name: ask for name, ask in {**QUESTIONS, **PAGES}.items() if options.only in name and name not in unread}
    with tempfile.TemporaryDirectory() as temporary:
        directory: Path = options.directory or Path(temporary)
        if not (directory / "data").exists():
            store = open_store(str(directory / "data"))
            seed(store, options.calls, options.days, options.text_bytes)
            store.close()
        cold = [_cold(directory, asked) for _ in range(options.cold)]
        calls, server_mb, warm = _warm(directory, asked, options.repeat)
    rows = [
        {"question": name, "cold ms": median(one[name] for one in cold) if cold else None, "warm ms": warm[name]}
        for name in asked
    ]
    show("queries", rows, calls=calls, server_mb=server_mb)
    sys.exit(1 if any(warm[name] > options.limit_ms for name in asked if name in QUESTIONS) else 0)


def _cold(directory: Path, asked: dict[str, Question]) -> dict[str, float]:
    """Each question's first time. The system's cache is emptied before each, the engine's only by the start."""
    with server(directory, ASSAY_QUALITY__SCORERS="off") as (url, _), connect(url, timeout_seconds=300) as monitor:
        times = dict[str, float]()
        for name, ask in asked.items():
            _forget_files(directory)
            times[name] = _ms(ask, monitor)
        return times


def _warm(directory: Path, asked: dict[str, Question], repeat: int) -> tuple[int, float, dict[str, float]]:
    with server(directory, ASSAY_QUALITY__SCORERS="off") as (url, pid), connect(url, timeout_seconds=300) as monitor:
        times = dict[str, float]()
        for name, ask in asked.items():
            ask(monitor)
            times[name] = median(_ms(ask, monitor) for _ in range(repeat))
        return monitor.usage()["total_calls"], memory_mb(pid), times


def _ms(ask: Question, monitor: Monitor) -> float:
    began = time.perf_counter()
    ask(monitor)
    return (time.perf_counter() - began) * 1000


def _forget_files(directory: Path) -> None:
    for inside, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):  # the server merges and removes files meanwhile
                descriptor = os.open(Path(inside) / name, os.O_RDONLY)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(descriptor)


if __name__ == "__main__":
    main()
