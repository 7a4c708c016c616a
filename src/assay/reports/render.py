"""Turn a Report into a document: Markdown, self-contained HTML, PDF (of that HTML), or its figures as JSON.

What users and models wrote stays text: escaped in HTML, in Markdown with every punctuation character escaped, in both
without control characters and switches of writing direction. The HTML holds no script and asks for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined

from assay import figures
from assay.errors import AssayError
from assay.ml.comparison import Aspect
from assay.palette import GREY, MODEL_COLOURS, SCORE_COLOURS
from assay.reports.charts import cost_chart, cost_models, latency_chart, quality_chart
from assay.reports.content import Headline, Report, stamp
from assay.reports.pdf import pdf

MEDIA_TYPES = {
    "md": "text/markdown; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "pdf": "application/pdf",
    "json": "application/json",
}
FORMATS = tuple(MEDIA_TYPES)


def render(report: Report, format: str) -> bytes:
    """The document in one of FORMATS. Raises AssayError for another, or where PDF cannot be made here."""
    match known_format(format):
        case "md":
            return _template("report.md.jinja").render(report=report).encode()
        case "html":
            return html(report).encode()
        case "pdf":
            return pdf(html(report))
        case _:
            return msgspec.json.encode({**msgspec.structs.asdict(report), "empty": report.empty})


def known_format(format: str) -> str:
    """The format. Raises AssayError with those there are."""
    if format not in MEDIA_TYPES:
        raise AssayError(f"cannot write a report as {format!r}: choose one of {', '.join(FORMATS)}")
    return format


def html(report: Report) -> str:
    """The report as one HTML page."""
    marks = {"p50": report.usage["p50_latency_ms"], "p95": report.usage["p95_latency_ms"]}
    span = (report.since, report.until)
    return _template("report.html.jinja").render(
        report=report,
        quality_chart=quality_chart(report.points, list(report.scores), report.bucket_seconds, *span),
        cost_chart=cost_chart(report.by_model, report.bucket_seconds, *span),
        cost_legend=list(zip(cost_models(report.by_model), MODEL_COLOURS, strict=False)),
        latency_chart=latency_chart(report.latencies, marks),
        colour_of=_colour,
    )


def summary(report: Report) -> str:
    """The report in a few lines of plain Markdown, for the text of a message."""
    return _template("summary.md.jinja").render(report=report)


def shown(unit: str, value: Any) -> str:
    """A figure as people read it; an unknown one is a dash."""
    if value is None:
        return figures.UNKNOWN
    forms: dict[str, Callable[[Any], str]] = {
        "count": figures.count,
        "usd": figures.dollars,
        "ms": figures.milliseconds,
        "share": figures.percent,
        "score": figures.score,
    }
    return forms[unit](value)


def changed(figure: Headline) -> str:
    """What lies between the figure and the one before, in words."""
    change = figure.change
    if change is None:
        return f"before {shown(figure.unit, figure.before)}"
    said = f"{change:+.3f}" if figure.unit == "score" else f"{change * 100:+,.1f}"
    if not float(said.replace(",", "")):
        return "unchanged"
    unit = {"score": "", "share": " points"}.get(figure.unit, "\u202f%")
    return said.replace("-", "\u2212") + unit


@cache
def _template(name: str) -> Any:
    return _environment(autoescape=name.endswith(".html.jinja")).get_template(name)


def _environment(autoescape: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("assay.reports"),
        autoescape=autoescape,  # noqa: S701 Markdown is no HTML: texts of users pass through `plain`
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=figures.count,
        dollars=figures.dollars,
        milliseconds=figures.milliseconds,
        score=figures.score,
        percent=lambda value: shown("share", value),
        named=figures.name,
        excerpt=excerpt,
        plain=plain,
        stamp=stamp,
        day=day,
        changed=changed,
        figure=_now,
        was=_before,
        interval=interval,
    )
    filters: Any = environment.filters
    filters["sure"] = sure
    return environment


def _now(figure: Headline) -> str:
    return shown(figure.unit, figure.value)


def _before(figure: Headline) -> str:
    return shown(figure.unit, figure.before)


def _colour(name: str) -> str:
    return SCORE_COLOURS.get(name, GREY)


def interval(of: Any) -> str:
    """0.612 to 0.634, or why there is none: of a row, or of a headline in its unit."""
    if isinstance(of, Headline):
        return f"{shown(of.unit, of.low)} to {shown(of.unit, of.high)}"
    low, high, mean = (of.get(name) for name in ("low", "high", "mean"))
    if mean is None:
        return figures.UNKNOWN
    return "too few sessions" if low is None else f"{low:.3f} to {high:.3f}"


def sure(aspect: Aspect, side: str) -> str:
    """The 95% interval of one side of a comparison, with what leads up to it; nothing where there is none."""
    one = getattr(aspect, side)
    if one.low is None or one.high is None:
        return ""
    form = "{:.1%} to {:.1%}" if aspect.unit == "share" else "{:.3f} to {:.3f}"
    return f" (95%: {form.format(one.low, one.high)})"


def day(moment: datetime) -> str:
    """Mon 23 Nov 2026, 08:00."""
    return moment.astimezone(UTC).strftime("%a %d %b %Y, %H:%M")


_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_BIDI = re.compile(r"[\u202a-\u202e\u2066-\u2069]")


def excerpt(text: str, length: int = 140) -> str:
    """The beginning of a text on one line, without control characters and switches of writing direction."""
    line = " ".join(_BIDI.sub("", _CONTROLS.sub(" ", text[: length * 4])).split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def plain(text: object, length: int = 140) -> str:
    """Markdown that shows exactly the beginning of this text within a line.

    What CommonMark and GitHub's Markdown give a meaning there is escaped: marks, brackets, and what begins an address.
    """
    escaped = _MEANT.sub(r"\\\g<0>", excerpt(str(text), length))
    return _NUMBERED.sub(r"\1\\\2", escaped)


_MEANT = re.compile(r"[\\`*_{}\[\]<>&|~#$@]|:(?=/)|(?<=www)\.|^[-+=]", re.IGNORECASE)
_NUMBERED = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")
