"""How calls that were found look in a terminal: one a row, what was looked for standing out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from rich.table import Table
from rich.text import Text

from assay.client.api.connection import Answer
from assay.terminal import excerpt, table

HIT = "bold reverse"


def hits_table(calls: Iterable[Answer]) -> Table:
    """Each call's time, model and span id, and the excerpts that have what was looked for."""
    found = table("Found", "Call", "Said")
    found.columns[0].no_wrap = True
    found.show_lines = True
    for call in calls:
        started = datetime.fromisoformat(call["started_at"]).astimezone()
        which = Text(f"{started:%Y-%m-%d %H:%M:%S}\n{call['span_id']}\n{call['model'] or 'unknown model'}")
        said = [_excerpt(one) for one in call["highlights"]] or [Text(excerpt(call["prompt"], 200) or "-")]
        found.add_row(which, Text("\n").join(said))
    return found


def _excerpt(highlight: Answer) -> Text:
    """Where an excerpt is from, and it without its line breaks, its hits marked."""
    text = Text.assemble((f"{highlight['field']}: ", "dim"), "…" if highlight["cut_before"] else "")
    for piece in highlight["pieces"]:
        text.append(piece["text"].replace("\n", " "), HIT if piece["hit"] else "")
    return text.append("…" if highlight["cut_after"] else "")
