"""How prompt groups and similar calls look in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.table import Table
from rich.text import Text

from assay.client.api.connection import Answer
from assay.terminal import dollars, excerpt, fraction, milliseconds, table

_SCORES_SHOWN = 3


def group_table(found: Answer) -> Table:
    """One kind of question a row, those that got worse marked."""
    rows = [*found["groups"], *found["other"]]
    names = _scores_of(rows)
    shown = table(
        f"Kinds of question, {found['calls']:,} calls",
        "Group",
        "Question",
        "Calls",
        "Share",
        "Cost",
        "p50",
        "p95",
        "Errors",
        *names,
        *(["Worse"] if found["before"] else []),
    )
    several = len({row["project"] for row in rows}) > 1
    for row in rows:
        project = f"{row['project']}: " if several else ""
        shown.add_row(
            row["id"],
            Text(project + excerpt(row["name"], 60)),
            f"{row['calls']:,}",
            f"{row['share']:.1%}",
            dollars(row["cost_usd"]),
            milliseconds(row["p50_latency_ms"]),
            milliseconds(row["p95_latency_ms"]),
            f"{row['error_rate']:.1%}",
            *(fraction(row["scores"].get(name, {}).get("mean")) for name in names),
            *([Text(", ".join(_worse(row)), style="red")] if found["before"] else []),
        )
    return shown


def template_table(templates: Iterable[Answer]) -> Table:
    """The most frequent templates of a group."""
    shown = table("Templates", "Template", "Calls", "Errors", "Cost a call", "Latency", "Newest call")
    for one in templates:
        shown.add_row(
            Text(excerpt(one["template"], 80)),
            f"{one['calls']:,}",
            f"{one['error_rate']:.1%}",
            dollars(one["avg_cost_usd"]),
            milliseconds(one["avg_latency_ms"]),
            one["newest"],
        )
    return shown


def score_table(scores: Mapping[str, Answer]) -> Table:
    """Mean scores with their intervals."""
    shown = table("Quality", "Score", "Mean", "95% interval", "n")
    for name, score in sorted(scores.items()):
        shown.add_row(Text(name), fraction(score["mean"]), _between(score), f"{score['n']:,}")
    return shown


def change_table(changes: Mapping[str, Answer]) -> Table:
    """What changed against the period before."""
    shown = table("Against the period before", "Figure", "Before", "After", "Difference", "95% interval", "")
    for name, change in changes.items():
        shown.add_row(
            Text(name),
            *(_number(change[part]) for part in ("before", "after", "difference")),
            _between(change),
            Text("worse", style="red") if change["worse"] else "",
        )
    return shown


def similar_table(found: Answer) -> Table:
    """One template a row, nearest first."""
    shown = table(
        f"Like: {excerpt(found['of']['template'], 80)}", "Alike", "Calls", "Errors", "Prompt", "Answer", "Call"
    )
    shown.title = Text(f"Like: {excerpt(found['of']['template'], 80)}")
    for one in found["similar"]:
        shown.add_row(
            f"{one['similarity']:.2f}",
            f"{one['calls']:,}",
            f"{one['error_rate']:.0%}",
            Text(excerpt(one["prompt"], 60)),
            Text(excerpt(one["response"], 50)),
            one["span_id"],
        )
    return shown


def _scores_of(rows: Iterable[Answer]) -> list[str]:
    counts: dict[str, int] = {}
    for row in rows:
        for name, score in row["scores"].items():
            counts[name] = counts.get(name, 0) + score["n"]
    return sorted(sorted(counts, key=lambda name: -counts[name])[:_SCORES_SHOWN])


def _worse(row: Answer) -> list[str]:
    return [name for name, change in row["changes"].items() if change["worse"]]


def _between(found: Answer) -> str:
    return "-" if found["low"] is None else f"{_number(found['low'])} to {_number(found['high'])}"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
