"""Take a part of an import: leave out what is stored already, store the rest, tell of both and of what was refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from assay.ingest.batch import Batch, Request, Take
from assay.ingest.imported import NDJSON
from assay.records import UnixMicros
from assay.store.connect import Store
from assay.store.spans import Starts, started_at_one_of

DEFAULT_PROJECT = "default"


def import_lines(
    store: Store, take: Take, keep: Callable[[Batch], object], body: bytes, *, replace: bool = False
) -> dict[str, Any]:
    """Store the lines of a body; answers `stored` and `known` (there before) spans, `scores`, and those `refused`.

    `keep` is back when a batch is on disk. A span that is stored already stays as it is, and so does a verdict unless
    the new one is newer; with `replace` everything is stored again. Raises StoreError.
    """
    lines = body.split(b"\n")
    known = set[int]() if replace else _known(store, lines)
    numbers = [number for number, line in enumerate(lines, 1) if line.strip() and number not in known]
    batch, refused = take(Request("import", NDJSON, b"\n".join(lines[number - 1] for number in numbers)))
    keep(batch)
    return {
        "stored": batch.spans.num_rows + batch.kept.num_rows,
        "known": len(known),
        "scores": batch.verdicts.num_rows,
        "refused": [_refusal(text, numbers) for text in refused],
    }


def _refusal(text: str, numbers: Sequence[int]) -> dict[str, Any]:
    """`line` is that of the body; None where a span was refused after its line was read."""
    place, _, reason = text.partition(": ")
    number = place.removeprefix("line ")
    return (
        {"line": numbers[int(number) - 1], "reason": reason} if number.isdecimal() else {"line": None, "reason": text}
    )


class _Sent(msgspec.Struct):
    trace_id: str
    span_id: str
    start_ns: int
    resource: dict[str, Any] = {}

    @property
    def started_at(self) -> UnixMicros:
        return self.start_ns // 1000

    @property
    def project(self) -> str:
        return self.resource.get("assay.project") or DEFAULT_PROJECT


class _Stored(msgspec.Struct):
    trace_id: str
    span_id: str
    started_at: UnixMicros
    project: str = DEFAULT_PROJECT


class _Score(msgspec.Struct):
    name: str
    source: str = "scorer"
    scorer: str = ""
    author: str = ""
    judged_at: UnixMicros | None = None


class _Head(msgspec.Struct):
    """What of a line tells whether all of it is stored already."""

    sent: _Sent | None = None
    stored: _Stored | None = None
    scores: list[_Score] = []
    timeless: bool = False

    @property
    def span(self) -> _Sent | _Stored | None:
        return self.sent or self.stored


_decoder = msgspec.json.Decoder(_Head)


def _known(store: Store, lines: Sequence[bytes]) -> set[int]:
    """Numbers, from 1, of the lines whose span and verdicts are all stored."""
    heads = {number: head for number, line in enumerate(lines, 1) if (head := _head(line)) and head.span}
    if not heads:
        return set()
    spans = [head.span for head in heads.values() if head.span]
    starts = [span.started_at for span in spans]
    timeless = any(head.timeless for head in heads.values())
    known = None if timeless else [start for start in starts if 0 <= start <= _FAR]
    ids = sorted({span.span_id for span in spans})
    stored, judged = _stored(store, ids, known), _judged(store, ids, known)
    return {number for number, head in heads.items() if _all_stored(head, stored, judged)}


_FAR = 4_102_444_800 * 10**6


def _head(line: bytes) -> _Head | None:
    try:
        return _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeError):
        return None


def _all_stored(head: _Head, stored: set[tuple[str, ...]], judged: dict[tuple[str, ...], int]) -> bool:
    span = head.span
    if span is None or (span.project, span.trace_id, span.span_id) not in stored:
        return False
    keys = (((span.project, span.span_id, s.name, s.source, s.scorer, s.author), s.judged_at or 0) for s in head.scores)
    return all(judged.get(key, -1) >= judged_at for key, judged_at in keys)


def _stored(store: Store, ids: list[str], starts: Starts | None) -> set[tuple[str, ...]]:
    condition, parameters = started_at_one_of(starts)
    rows = store.query(
        f"SELECT DISTINCT project, trace_id, span_id FROM spans WHERE span_id IN {{ids:Array(String)}} AND {condition}",
        {"ids": ids, **parameters},
    )
    return {(row["project"], row["trace_id"], row["span_id"]) for row in rows}


def _judged(store: Store, ids: list[str], starts: Starts | None) -> dict[tuple[str, ...], int]:
    condition, parameters = started_at_one_of(starts)
    key = ("project", "target", "name", "source", "scorer", "author")
    rows = store.query(
        f"SELECT {', '.join(key)}, max(version) AS at FROM scores"
        f" WHERE target IN {{ids:Array(String)}} AND {condition} GROUP BY {', '.join(key)}",
        {"ids": ids, **parameters},
    )
    return {tuple(row[name] for name in key): row["at"] for row in rows}
