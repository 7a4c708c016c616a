"""A report's charts as inline SVG: no script, nothing from outside, readable in print and by a screen reader.

Each function answers Markup, or "" where there is nothing to draw. Texts of users are escaped by `Markup.format`.
Lengths are units of the viewBox; on A4 one is a little more than a quarter of a millimetre.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta

from markupsafe import Markup, escape

from assay import figures
from assay.palette import AMBER, BLUE, GREY, MODEL_COLOURS, RED, SCORE_COLOURS
from assay.store.connect import Row

WIDE, HALF = 720.0, 352.0
HEIGHT = 200.0
LEFT, RIGHT, TOP, BOTTOM = 40.0, 8.0, 10.0, 22.0
OTHER_MODELS = "other models"
_WIDEST_BAND = 0.5
"""An interval over half of the scale would hide more than it tells."""

Scale = Callable[[float], float]


def quality_chart(
    points: Sequence[Row], names: Sequence[str], bucket_seconds: int, since: datetime, until: datetime
) -> Markup:
    """Each score's mean over time, 0..1, in the band of its 95% interval."""
    drawn = [name for name in names if any(point["scores"].get(name) is not None for point in points)]
    if not drawn:
        return Markup("")
    across, up = _time_scale(since, until, WIDE), _scale(0, 1, HEIGHT - BOTTOM, TOP)

    def place(point: Row) -> float:
        """The middle of what the range has of the point's stretch of time."""
        start = point["bucket"].timestamp()
        return across((max(start, since.timestamp()) + min(start + bucket_seconds, until.timestamp())) / 2)

    parts = [*_grid([0, 0.25, 0.5, 0.75, 1], up, WIDE, "{:.2f}".format), *_time_axis(since, until, across)]
    for name in drawn:
        colour = SCORE_COLOURS.get(name, GREY)
        parts += [_band(run, colour) for run in _band_runs(points, name, place, up)]
        line = [(place(point), up(point["scores"][name])) for point in points if name in point["scores"]]
        parts.append(_line(line, colour))
    last = ", ".join(f"{figures.name(name)} {figures.score(_last(points, name))}" for name in drawn)
    return _svg(parts, WIDE, "Mean scores over time, from 0 to 1", f"In the last stretch: {last}.")


def cost_chart(by_model: Iterable[Row], bucket_seconds: int, since: datetime, until: datetime) -> Markup:
    """US dollars in each stretch of time, stacked by model."""
    rows = [row for row in by_model if row["cost_usd"] > 0]
    if not rows:
        return Markup("")
    models = cost_models(rows)
    stacks: dict[datetime, dict[str, float]] = {}
    for row in rows:
        stack = stacks.setdefault(row["bucket"], dict.fromkeys(models, 0.0))
        stack[row["group"] if row["group"] in stack else OTHER_MODELS] += row["cost_usd"]
    ticks = nice_ticks(max(sum(stack.values()) for stack in stacks.values()))
    across, up = _time_scale(since, until, HALF), _scale(0, ticks[-1], HEIGHT - BOTTOM, TOP)
    width = max((across((since + timedelta(seconds=bucket_seconds)).timestamp()) - LEFT) * 0.86, 0.7)
    parts = [*_grid(ticks, up, HALF, _dollar_ticks(ticks)), *_time_axis(since, until, across, HALF)]
    for start, stack in stacks.items():
        left, below = max(across(start.timestamp()), LEFT), 0.0
        for model, colour in zip(models, MODEL_COLOURS, strict=False):
            if stack[model]:
                parts.append(_bar(left, up(below + stack[model]), width, up(below) - up(below + stack[model]), colour))
                below += stack[model]
    total = figures.dollars(sum(row["cost_usd"] for row in rows))
    return _svg(parts, HALF, "Cost in US dollars over time, stacked by model", f"In all {total}.")


def cost_models(by_model: Iterable[Row]) -> list[str]:
    """The models of `cost_chart` in the order of its colours, the dearest first, those beyond the palette as one."""
    totals: dict[str, float] = {}
    for row in by_model:
        if row["cost_usd"] > 0:
            totals[row["group"]] = totals.get(row["group"], 0.0) + row["cost_usd"]
    dearest = sorted(totals, key=lambda model: (-totals[model], model))
    most = len(MODEL_COLOURS)
    return dearest if len(dearest) <= most else [*dearest[: most - 1], OTHER_MODELS]


def latency_chart(bins: Sequence[Row], marks: dict[str, float | None]) -> Markup:
    """How many conversations took how long, on a logarithmic scale, with named durations marked on it."""
    if not bins:
        return Markup("")
    low, high = math.log10(bins[0]["from_ms"]), math.log10(bins[-1]["to_ms"])
    ticks = nice_ticks(max(row["conversations"] for row in bins), whole=True)
    across, up = _scale(low, high, LEFT, HALF - RIGHT), _scale(0, ticks[-1], HEIGHT - BOTTOM, TOP)
    parts = _grid(ticks, up, HALF, lambda value: figures.count(round(value)))
    for row in bins:
        left, right = across(math.log10(row["from_ms"])), across(math.log10(row["to_ms"]))
        top = up(row["conversations"])
        parts.append(_bar(left + 0.5, top, right - left - 1, up(0) - top, BLUE))
    for mark in _DURATIONS:
        if low <= math.log10(mark) <= high:
            x = min(max(across(math.log10(mark)), LEFT + 12), HALF - 16)
            parts.append(_text(x, HEIGHT - 6, f"{mark / 1000:g} s" if mark >= 1000 else f"{mark:g} ms", "middle"))
    for (_name, value), colour in zip(marks.items(), (AMBER, RED), strict=False):
        if value:
            x = across(min(max(math.log10(max(value, 1)), low), high))
            parts.append(_rule(x, TOP, x, HEIGHT - BOTTOM, colour, 1.5))
    said = ", ".join(f"{name} {figures.milliseconds(value)}" for name, value in marks.items())
    return _svg(parts, HALF, "Conversations by latency, on a logarithmic scale", f"{said}.")


_DURATIONS = tuple(digit * 10.0**power for power in range(7) for digit in (1, 3))


def nice_ticks(highest: float, *, whole: bool = False) -> list[float]:
    """Three to six round values from 0 to one at or above the highest."""
    step = 10.0 ** math.floor(math.log10(highest / 4))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if highest / (step * factor) <= 5)
    step = max(math.ceil(step), 1) if whole else step
    return [step * number for number in range(math.ceil(highest / step - 1e-9) + 1)]


def _band_runs(
    points: Iterable[Row], name: str, place: Callable[[Row], float], up: Scale
) -> list[list[tuple[float, float, float]]]:
    """Stretches of (x, low, high) without a point whose interval is unknown."""
    runs: list[list[tuple[float, float, float]]] = [[]]
    for point in points:
        if name not in point["scores"]:
            continue
        low, high = (point["intervals"][name][bound] for bound in ("low", "high"))
        if low is None or high - low > _WIDEST_BAND:
            runs.append([])
        else:
            runs[-1].append((place(point), up(low), up(high)))
    return [run for run in runs if len(run) > 1]


def _last(points: Sequence[Row], name: str) -> float | None:
    return next((point["scores"][name] for point in reversed(points) if name in point["scores"]), None)


def _scale(low: float, high: float, start: float, end: float) -> Scale:
    return lambda value: start + (min(max(value, low), high) - low) / ((high - low) or 1) * (end - start)


def _time_scale(since: datetime, until: datetime, width: float) -> Scale:
    return _scale(since.timestamp(), until.timestamp(), LEFT, width - RIGHT)


_STEPS = (300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86_400, 2 * 86_400, 7 * 86_400, 14 * 86_400, 30 * 86_400)


def _time_axis(since: datetime, until: datetime, across: Scale, width: float = WIDE) -> list[Markup]:
    """Times of UTC that are round, so many as have room."""
    first, last = since.timestamp(), until.timestamp()
    most = (width - LEFT) / 66
    step = next(
        (one for one in _STEPS if (last - first) / one <= most), math.ceil((last - first) / most / 86_400) * 86_400
    )
    form = "%d %b" if step >= 86_400 else "%H:%M" if last - first <= 86_400 else "%d %b %H:%M"
    parts = list[Markup]()
    for number in range(math.ceil(first / step), math.floor(last / step) + 1):
        x, shown = across(number * step), datetime.fromtimestamp(number * step, UTC).strftime(form)
        parts.append(_rule(x, HEIGHT - BOTTOM, x, HEIGHT - BOTTOM + 3, _AXIS))
        room = 4.2 * len(shown) / 2
        parts.append(_text(min(max(x, room), width - room), HEIGHT - 6, shown, "middle"))
    return parts


def _grid(ticks: Iterable[float], up: Scale, width: float, shown: Callable[[float], str]) -> list[Markup]:
    lines = list[Markup]()
    for tick in ticks:
        lines.append(_rule(LEFT, up(tick), width - RIGHT, up(tick), _AXIS if tick == 0 else _LINE))
        lines.append(_text(LEFT - 6, up(tick) + 3.5, shown(tick), "end"))
    return lines


_LINE, _AXIS, _INK = "#e6eaee", "#b4bdc6", "#5c6874"
_FONT = "Inter, Segoe UI, Roboto, Helvetica Neue, Liberation Sans, Arial, Noto Sans, sans-serif"
_FONT_SIZE = 10.5


def _dollar_ticks(ticks: Sequence[float]) -> Callable[[float], str]:
    """All with so many digits as the finest needs."""
    digits = next((digits for digits in range(7) if all(abs(round(t, digits) - t) < 1e-9 for t in ticks)), 7)
    return lambda value: f"${value:,.{digits}f}"


def _svg(parts: Iterable[Markup], width: float, title: str, description: str) -> Markup:
    return Markup(
        '<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{title}. {description}"'
        ' font-family="{font}" font-size="{size}" fill="{ink}">'
        "<title>{title}</title><desc>{description}</desc>{parts}</svg>"
    ).format(
        width=f"{width:g}",
        height=f"{HEIGHT:g}",
        title=title,
        description=description,
        font=_FONT,
        size=_FONT_SIZE,
        ink=_INK,
        parts=Markup("").join(parts),
    )


def _line(places: Sequence[tuple[float, float]], colour: str) -> Markup:
    path = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    dots = [_dot(x, y, colour) for x, y in places] if len(places) < 80 else []
    line = f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.6" stroke-linejoin="round"/>'
    return Markup(line) + Markup("").join(dots)  # noqa: S704 numbers and colours of ours


def _dot(x: float, y: float, colour: str) -> Markup:
    return Markup(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.7" fill="{colour}"/>')  # noqa: S704


def _band(run: Sequence[tuple[float, float, float]], colour: str) -> Markup:
    over = " L".join(f"{x:.1f} {high:.1f}" for x, _, high in run)
    under = " L".join(f"{x:.1f} {low:.1f}" for x, low, _ in reversed(run))
    return Markup(f'<path d="M{over} L{under}Z" fill="{colour}" fill-opacity="0.13"/>')  # noqa: S704


def _bar(left: float, top: float, width: float, height: float, colour: str) -> Markup:
    return Markup(  # noqa: S704
        f'<rect x="{left:.2f}" y="{top:.2f}" width="{width:.2f}" height="{height:.2f}" fill="{colour}"/>'
    )


def _rule(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> Markup:
    return Markup(  # noqa: S704
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width:g}"/>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(f"{x:.1f}", f"{y:.1f}", anchor, escape(text))
