"""Rows that a query found as text: CSV that no spreadsheet takes for formulas."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A head and a line a row. A text that begins like a formula gets a leading apostrophe; lists are JSON."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow([_safe(name) for name in names])
    writer.writerows([_cell(value) for value in row] for row in rows)
    return written.getvalue()


def as_text(value: Any) -> str:
    """One value as a person reads it; "" for none."""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else str(value)


def _cell(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return _safe(as_text(value))


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
