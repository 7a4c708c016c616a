"""Where a call says what was looked for: short excerpts, in pieces that are hits or not."""

from __future__ import annotations

from typing import Any

from assay.analytics.query import Query, hits
from assay.analytics.search import texts
from assay.store.connect import Row
from assay.store.terms import fold_with_origins

BEFORE, LENGTH = 60, 240
"""Characters before an excerpt's first hit, and of all of it."""

MOST = 4
"""Excerpts of one call."""

Highlight = dict[str, Any]
"""`field` (prompt, response, system, messages), `start` (the excerpt's first character in that text), `pieces`
([{text, hit}], which joined are the excerpt), and whether the text goes on before (`cut_before`) and `cut_after`."""


def highlights(query: Query, row: Row, within: str) -> list[Highlight]:
    """Excerpts of the texts in which a call has what was looked for, at most one a text and MOST a call."""
    found, seen = list[Highlight](), set[str]()
    for field, text in texts(row, within):
        if len(found) < MOST and text not in seen:
            seen.add(text)
            if excerpt := _excerpt(query, text):
                found.append({"field": field, **excerpt})
    return found


def _excerpt(query: Query, text: str) -> Highlight | None:
    folded, origins = fold_with_origins(text)
    spans = hits(query, folded)
    if not spans:
        return None
    first = max(0, spans[0][0] - BEFORE)
    last = max(min(len(folded), first + LENGTH), spans[0][1])
    start, end = origins[first], _end(origins, last)
    pieces, at = list[dict[str, Any]](), start
    for begin, stop in ((origins[begin], _end(origins, stop)) for begin, stop in spans if stop <= last):
        pieces += [{"text": text[at:begin], "hit": False}, {"text": text[begin:stop], "hit": True}]
        at = stop
    pieces.append({"text": text[at:end], "hit": False})
    return {
        "start": start,
        "pieces": [piece for piece in pieces if piece["text"]],
        "cut_before": start > 0,
        "cut_after": end < len(text),
    }


def _end(origins: list[int], index: int) -> int:
    """Where in the text the character before `index` of the folded one ends: after all that became one with it."""
    while index < len(origins) - 1 and origins[index] == origins[index - 1]:
        index += 1
    return origins[index]
