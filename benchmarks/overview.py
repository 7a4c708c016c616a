"""How long the overview page's questions take over a million calls, asked as the page asks them: over HTTP.

Also each question alone, full-text search, and the server's memory.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from assay.client.monitor import connect
from assay.dashboard.data import Filter, overview
from assay.store.connect import open_store
from measuring import memory_mb, server, show
from seed import seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--directory", type=Path, help="keep the store here, and use it if it is there already")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory: Path = options.directory or Path(temporary)
        if not (directory / "data").exists():
            store = open_store(str(directory / "data"))
            seed(store, options.calls, options.days)
            store.close()
        _measure(directory, options.repeat)


def _measure(directory: Path, repeat: int) -> None:
    with server(directory, ASSAY_QUALITY__SCORERS="off") as (url, pid), connect(url) as monitor:
        questions: dict[str, Callable[[], Any]] = {
            f"page, {span}": lambda span=span: overview(monitor, Filter(span)) for span in ("24h", "7d", "30d", "all")
        }
        questions |= {
            "usage, 30d": lambda: monitor.usage(since="30d"),
            "usage by model, 30d": lambda: monitor.usage(since="30d", group_by="model"),
            "quality, 30d": lambda: monitor.quality(since="30d"),
            "trends, 30d": lambda: monitor.trends(since="30d"),
            "trends by model, 30d": lambda: monitor.trends(since="30d", group_by="model"),
            "latencies, 30d": lambda: monitor.latencies(since="30d"),
            "10 newest calls": lambda: monitor.calls(limit=10),
            "full text, 10 newest": lambda: monitor.calls(q="shipping heat prices", limit=10),
            "10 dearest calls, 30d": lambda: monitor.calls(order="cost", since="30d", limit=10),
            "alerts": lambda: monitor.alerts(),
        }
        calls = monitor.usage()["total_calls"]
        rows = [{"question": name, "median ms": _median_ms(ask, repeat)} for name, ask in questions.items()]
        show("overview", rows, calls=calls, server_mb=memory_mb(pid))


def _median_ms(ask: Callable[[], Any], repeat: int) -> float:
    ask()
    times = list[float]()
    for _ in range(repeat):
        began = time.perf_counter()
        ask()
        times.append((time.perf_counter() - began) * 1000)
    return median(times)


if __name__ == "__main__":
    main()
