"""How much CPU of the server the overview's charts take: with each specification made anew, and with it kept."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

from assay.dashboard import charts, cost_charts, traffic_charts
from assay.dashboard.drawing import Chart, draw
from measuring import show

BUCKETS, SECONDS = 48, 1800
START = datetime(2026, 11, 30, tzinfo=UTC)
SCORES = ("relevance", "coherence", "toxicity", "groundedness")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=20)
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # Streamlit's, of what is drawn without a page
    points = [_point(number) for number in range(BUCKETS)]
    by_model = [{**point, "group": model} for point in points for model in ("gpt-4o", "gpt-4o-mini", "o4-mini")]
    drawn: dict[str, tuple[Any, Callable[[], Chart | None]]] = {
        "quality": (charts._quality_lines, lambda: charts.quality_lines(points, SECONDS, [])),
        "latency": (traffic_charts._latency_lines, lambda: traffic_charts.latency_lines(points, SECONDS)),
        "volume": (traffic_charts._volume_bars, lambda: traffic_charts.volume_bars(points, SECONDS)),
        "cost": (cost_charts._cost_bars, lambda: cost_charts.cost_bars(by_model, SECONDS, "model", "Model")),
    }
    rows = [
        {
            "chart": name,
            "made anew ms": _cpu_ms(make, options.repeat, kept.cache_clear),
            "kept ms": _cpu_ms(make, options.repeat),
        }
        for name, (kept, make) in drawn.items()
    ]
    show("charts", rows)


def _point(number: int) -> dict[str, Any]:
    calls = 100 + number
    return {
        "bucket": (START + number * timedelta(seconds=SECONDS)).isoformat(),
        "calls": calls,
        "conversations": calls,
        "errors": number % 7,
        "cost_usd": calls * 0.0003,
        **{f"{level}_latency_ms": calls * times for level, times in (("p50", 4), ("p95", 9), ("p99", 20))},
        "scores": dict.fromkeys(SCORES, 0.8),
        "intervals": {name: {"n": calls, "low": 0.78, "high": 0.82} for name in SCORES},
    }


def _cpu_ms(make: Callable[[], Chart | None], repeat: int, before: Callable[[], None] = lambda: None) -> float:
    times = list[float]()
    for _ in range(repeat + 1):
        before()
        began = time.process_time()
        chart = make()
        assert chart is not None
        draw(chart, "measured", "measured")
        times.append((time.process_time() - began) * 1000)
    return median(times[1:])


if __name__ == "__main__":
    main()
