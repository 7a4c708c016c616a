"""How long it takes to replay the default alert rules over 30 days of a million calls, and to watch them live."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from assay.alerts.engine import Engine
from assay.alerts.replay import replay
from assay.alerts.rules import default_rules
from assay.store.connect import Store, open_store
from measuring import show
from seed import seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="keep the store here, and use it if it is there already")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory: Path = options.directory or Path(temporary)
        there = (directory / "data").exists()
        store = open_store(str(directory / "data"))
        if not there:
            seed(store, options.calls, options.days)
        rows = [_replayed(store, options.days) for _ in range(options.repeat)]
        rows += _watched(store, Path(temporary) / "alerts.toml", options.repeat)
        [found] = store.query("SELECT count() AS calls FROM spans FINAL WHERE counted")
        show("alert rules", rows, calls=found["calls"], rules=len(default_rules().rules))
        store.close()


def _replayed(store: Store, days: int) -> dict[str, Any]:
    now = int(time.time())
    began, cpu = time.perf_counter(), time.process_time()
    replay(store, default_rules(), now - days * 86_400, now)
    return _row(f"replay of {days} days", began, cpu)


def _watched(store: Store, rules: Path, repeat: int) -> list[dict[str, Any]]:
    engine, rows = Engine(store, rules, ""), list[dict[str, Any]]()
    for number in range(repeat + 1):
        began, cpu = time.perf_counter(), time.process_time()
        engine.round(time.time() + 30 * number)
        rows.append(_row("first round" if not number else "round, every 30 s", began, cpu))
    return rows


def _row(what: str, began: float, cpu: float) -> dict[str, Any]:
    return {"what": what, "seconds": time.perf_counter() - began, "cpu seconds": time.process_time() - cpu}


if __name__ == "__main__":
    main()
