"""Numbers as people read them, on the page and in reports: an unknown figure is a dash, never a zero."""

from __future__ import annotations

UNKNOWN = "–"


def count(number: int | None) -> str:
    """12,345."""
    return UNKNOWN if number is None else f"{number:,}"


def dollars(amount: float | None) -> str:
    """$0.000123, $0.0123, $12.34: always with three digits or more that tell something."""
    if amount is None:
        return UNKNOWN
    if amount >= 1 or amount == 0:
        return f"${amount:,.2f}"
    return f"${amount:.4f}" if amount >= 0.001 else f"${amount:.6f}"


def milliseconds(duration: float | None) -> str:
    """842 ms, 1.87 s, 12.3 s."""
    if duration is None:
        return UNKNOWN
    if duration < 999.5:
        return f"{duration:.0f} ms"
    return f"{duration / 1000:.2f} s" if duration < 10_000 else f"{duration / 1000:,.1f} s"


def duration(ms: float | None) -> str:
    """As milliseconds, finer where it is short: 1.5 ms, 735 µs."""
    if ms is None or ms >= 9.95 or ms == 0:
        return milliseconds(ms)
    return f"{ms:.1f} ms" if ms >= 0.9995 else f"{ms * 1000:.0f} µs"


def score(value: float | None) -> str:
    """0.731."""
    return UNKNOWN if value is None else f"{value:.3f}"


def percent(share: float) -> str:
    """1.3 %."""
    return f"{share * 100:.1f} %"


def with_interval(says: str, low: float | None, high: float | None, unit: str) -> str:
    """What is said of a figure and its interval, where it has one; `unit` is "share", or another."""
    if low is None or high is None:
        return says
    form = "{:.1%} to {:.1%}" if unit == "share" else "{:.3f} to {:.3f}"
    return f"{says}; 95% interval {form.format(low, high)}"


def name(identifier: str) -> str:
    """Factual accuracy, for factual_accuracy."""
    return identifier.replace("_", " ").strip().capitalize() or "unnamed"
