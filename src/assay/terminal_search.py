"""How calls that were found look in a terminal: one a row, what was looked for standing out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from rich.table import Table
from rich.text import Text

from assay.client.monitor import Answer
from assay.terminal import excerpt, table

HIT = "bold reverse"


def hits_table(calls: Iterable[Answer]) -> Table:
    """Each call's time, model and span id, and the excerpts that have what was looked for."""
    found = table("Found", "Started", "Model", "Span", "Where", "Said")
    for column in found.columns[:4]:
        column.no_wrap = True
    for call in calls:
        shown = call["highlights"]
        said = [_excerpt(one) for one in shown] or [Text(excerpt(call["prompt"]) or "-")]
        started = datetime.fromisoformat(call["started_at"]).astimezone()
        found.add_row(
            f"{started:%Y-%m-%d %H:%M:%S}",
            Text(call["model"] or "unknown"),
            call["span_id"],
            "\n".join(one["field"] for one in shown) or "prompt",
            Text("\n").join(said),
        )
    return found


def _excerpt(highlight: Answer) -> Text:
    """An excerpt in one line, its hits marked."""
    text = Text("…" if highlight["cut_before"] else "", no_wrap=True, overflow="ellipsis")
    for piece in highlight["pieces"]:
        text.append(" ".join(piece["text"].split("\n")), HIT if piece["hit"] else "")
    return text.append("…" if highlight["cut_after"] else "")
