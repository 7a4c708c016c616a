"""Answers as pandas DataFrames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.client.api.connection import Answer
from assay.errors import AssayError

if TYPE_CHECKING:
    import pandas as pd

ROWS = {
    "top": "top",
    "sessions": "sessions",
    "errors": "types",
    "latencies": "bins",
    "usage": "groups",
    "costs": "groups",
    "speed": "groups",
}
"""Questions to the part of their answer that is a table."""


def table(rows: list[Answer], *time_columns: str) -> pd.DataFrame:
    """A row each, its times in UTC. Raises AssayError without pandas."""
    try:
        import pandas as pd
    except ImportError:
        raise AssayError("data frames need pandas: pip install pandas") from None
    frame = pd.DataFrame(rows)
    for column in time_columns:
        if column in frame:
            frame[column] = pd.to_datetime(frame[column], utc=True, format="ISO8601")
    return frame


def bounds(intervals: dict[str, Answer]) -> Answer:
    """Intervals by score as columns: relevance_low, relevance_high, ..."""
    return {f"{name}_{bound}": figure for name, interval in intervals.items() for bound, figure in interval.items()}
