"""How a change is said: in one plain sentence, to as many places as its interval warrants."""

from __future__ import annotations

import math
from typing import Any

from assay.analytics.differences import Estimate
from assay.analytics.selection import Selection
from assay.quality.intervals import Interval


class Wording:
    """Sentences about two selections: over time, or of two kinds of calls of the same time."""

    def __init__(self, before: Selection, after: Selection) -> None:
        self._over_time = (before.since, before.until) != (after.since, after.until)
        self._before = "before" if self._over_time else f"with {_own_filters(before, after)}"
        self._after = "after" if self._over_time else f"with {_own_filters(after, before)}"

    def of_mean(self, words: str, unit: str, before: Estimate, after: Estimate, apart: Interval) -> str:
        """Of a mean, share or quantile: "relevance fell 0.04 [0.02, 0.06]"."""
        match before.value, after.value, *apart:
            case float(one), float(other), float(low), float(high):
                return self._moved(words, unit, other - one, low, high)
            case float(), float(), *_:
                few = f"too few sessions to tell ({before.n:,} and {after.n:,} calls)"
                return f"{self._both(words, unit, before, after)}; {few}"
            case _:
                return self._both(words, unit, before, after)

    def of_total(self, words: str, unit: str, before: Estimate, after: Estimate, _: Interval) -> str:
        """Of a sum, which has no interval: "total cost rose from $1.20 to $3.40"."""
        match before.value, after.value:
            case float(one), float(other) if self._over_time and one != other:
                return f"{words} {'rose' if other > one else 'fell'} from {shown(one, unit)} to {shown(other, unit)}"
            case _:
                return self._both(words, unit, before, after)

    def _moved(self, words: str, unit: str, apart: float, low: float, high: float) -> str:
        if low <= 0 <= high:
            size, bounds = _with_bounds(apart, low, high, unit)
            return f"{words}: no clear difference, {size} {bounds}"
        size, bounds = _with_bounds(abs(apart), min(abs(low), abs(high)), max(abs(low), abs(high)), unit)
        if self._over_time:
            return f"{words} {'rose' if apart > 0 else 'fell'} {size} {bounds}"
        return f"{words} is {size} {'higher' if apart > 0 else 'lower'} {bounds} {self._after}"

    def _both(self, words: str, unit: str, before: Estimate, after: Estimate) -> str:
        if before.value is None and after.value is None:
            return f"{words}: no data in either"
        one, other = ("no data" if side.value is None else shown(side.value, unit) for side in (before, after))
        return f"{words}: {one} {self._before}, {other} {self._after}"


def shown(value: float, unit: str) -> str:
    """A figure with its unit: "" (a score), ms, usd, share (shown in percent) or count."""
    match unit:
        case "ms":
            return f"{value:,.0f} ms"
        case "usd":
            cents, fine = f"{value:,.2f}", f"{value:.6f}".rstrip("0")
            return f"${fine if value < 1 and len(fine) > len(cents) else cents}"
        case "share":
            return f"{value:.1%}"
        case "count":
            return f"{value:,.0f}"
        case _:
            return f"{value:.2f}"


def _own_filters(selection: Selection, other: Selection) -> str:
    """The filters by which a selection differs from the other, such as "model gpt-4o"."""
    named = ((name, getattr(selection, name), getattr(other, name)) for name in Selection.__struct_fields__)
    return ", ".join(_filter(name, own) for name, own, others in named if own != others) or "the same calls"


def _filter(name: str, value: Any) -> str:
    if name == "tags":
        return ", ".join(f"tag {key}:{text}" for key, text in value) or "any tags"
    return f"{name} {value}" if value else f"any {name}"


def _with_bounds(value: float, low: float, high: float, unit: str) -> tuple[str, str]:
    """The value with its unit, and its interval."""
    before, after, scale = {"usd": ("$", "", 1), "ms": ("", " ms", 1), "share": ("", " points", 100)}.get(
        unit, ("", "", 1)
    )
    scaled = [figure * scale for figure in (value, low, high)]
    places = _places(scaled)
    of_value, *bounds = (_number(figure, places, before) for figure in scaled)
    return of_value + after, f"[{', '.join(bounds)}]"


def _places(figures: list[float]) -> int:
    """Decimals that show the first digit of half the interval, and no other figure as zero that is none."""
    _, low, high = figures
    width = high - low
    places = min(max(-math.floor(math.log10(width / 2)), 0), 9) if width > 0 else 2
    vanishes = any(figure and not float(f"{figure:.{places}f}") for figure in figures)
    return places + vanishes


def _number(value: float, places: int, before: str) -> str:
    digits = f"{abs(value):,.{places}f}"
    sign = "-" if value < 0 and float(digits.replace(",", "")) else ""
    return f"{sign}{before}{digits}"
