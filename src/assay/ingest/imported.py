"""What an import sends: lines of JSON, each a span with its verdicts, to rows.

A span comes as some tool's sender told it (`sent`) and is read, settled and priced like any other; or as an export of
Assay's own has it (`stored`), and is stored just so. Stored ones are history: whoever follows what comes in, to settle
or to score it, leaves them alone.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa

from assay.errors import MalformedTelemetry
from assay.ingest.batch import VERDICT_SCHEMA
from assay.ingest.otlp import Event, RawSpan
from assay.ingest.settle import as_sent
from assay.records import SCORE_NAME, Score, ScoreSource, Span, UnixMicros
from assay.store.rows import arrow_table
from assay.store.scores import SCORE_SCHEMA, of_span

NDJSON = "application/x-ndjson"

_HEXADECIMAL = re.compile("[0-9a-f]*")


class SentEvent(msgspec.Struct, forbid_unknown_fields=True):
    """A span event: `time_ns` is in Unix nanoseconds."""

    name: str
    time_ns: int = 0
    attributes: dict[str, Any] = {}


class SentSpan(msgspec.Struct, forbid_unknown_fields=True):
    """A span before any dialect has read it, as `ingest.otlp.RawSpan`. Times are Unix nanoseconds."""

    trace_id: str
    span_id: str
    start_ns: int
    end_ns: int
    parent_span_id: str = ""
    name: str = ""
    failed: bool = False
    status_message: str = ""
    attributes: dict[str, Any] = {}
    events: list[SentEvent] = []
    resource: dict[str, Any] = {}
    scope_name: str = ""
    scope_version: str = ""


class ImportedScore(msgspec.Struct, forbid_unknown_fields=True):
    """A verdict on the span of its line. `judged_at` is None where nobody knows: then it is as old as the span."""

    name: str
    value: float | None
    label: str = ""
    comment: str = ""
    scorer: str = ""
    scorer_version: str = ""
    source: ScoreSource = "scorer"
    author: str = ""
    confidence: float | None = None
    counted: bool = True
    judged_at: UnixMicros | None = None


class Line(msgspec.Struct, forbid_unknown_fields=True):
    """One line of an import: either `sent` or `stored`. `timeless`: the span's start is made up."""

    sent: SentSpan | None = None
    stored: Span | None = None
    scores: list[ImportedScore] = []
    timeless: bool = False


class Imported(NamedTuple):
    """What a body holds: spans to be settled, spans that are stored as they are, verdicts, refusals "line 3: why"."""

    spans: list[Span]
    kept: list[Span]
    verdicts: pa.Table
    refused: list[str]


def read_lines(
    body: bytes,
    normalise: Callable[[RawSpan], Span],
    settle: Callable[[Sequence[Span]], list[Span]],
    check_start: Callable[[int], object],
) -> Imported:
    """The spans and verdicts of an import. `check_start` raises MalformedTelemetry for an absurd start (Unix ns)."""
    refused, spans, kept = list[str](), list[Span](), list[Span]()
    scores: dict[str, list[ImportedScore]] = {}
    for number, text in enumerate(body.split(b"\n"), 1):
        if not text.strip():
            continue
        try:
            line = _line(text)
            if line.sent:
                span = normalise(_raw(line.sent))
                spans.append(span)
            else:
                span = line.stored or Span(trace_id="", span_id="", started_at=0)
                check_start(span.started_at * 1000)
                kept.append(span)
            scores.setdefault(span.trace_id + span.span_id, []).extend(line.scores)
        except MalformedTelemetry as error:
            refused.append(f"line {number}: {error}")
    settled = settle(spans)
    return Imported(settled, kept, _verdicts([*settled, *kept], scores), refused)


def _line(text: bytes) -> Line:
    try:
        line = msgspec.json.decode(text, type=Line)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise MalformedTelemetry(str(error)) from None
    span = line.sent or line.stored
    if span is None or (line.sent and line.stored):
        raise MalformedTelemetry("a line holds one span, as `sent` or as `stored`")
    for name, digits, found in (("trace_id", 32, span.trace_id), ("span_id", 16, span.span_id)):
        if not _HEXADECIMAL.fullmatch(found) or len(found) != digits or not found.strip("0"):
            raise MalformedTelemetry(f"{name} {found[:80]!r} is not {digits} hexadecimal digits, not all zero")
    if line.stored and line.stored.as_sent:
        _check_as_sent(line.stored)
    for score in line.scores:
        if not SCORE_NAME.fullmatch(score.name):
            raise MalformedTelemetry(f"a score cannot be called {score.name[:80]!r}: letters, digits and _ . - only")
        if score.value is not None and not math.isfinite(score.value):
            raise MalformedTelemetry(f"the score {score.name} must be a finite number or null")
    return line


def _check_as_sent(span: Span) -> None:
    """Raises MalformedTelemetry where what the sender said cannot be restored: settling would never get past it."""
    try:
        msgspec.convert(msgspec.to_builtins(as_sent(span)), Span)
    except (msgspec.MsgspecError, TypeError) as error:
        raise MalformedTelemetry(f"as_sent is not what an export of Assay's own has there: {error}") from None


def _raw(sent: SentSpan) -> RawSpan:
    fields: dict[str, Any] = msgspec.structs.asdict(sent)
    fields["events"] = [Event(event.name, event.time_ns, event.attributes) for event in sent.events]
    return RawSpan(**fields)


def _verdicts(spans: Iterable[Span], scores: dict[str, list[ImportedScore]]) -> pa.Table:
    """Rows of `scores`. A verdict of a call that is told twice goes to the span that is counted, if it is here too."""
    by_id = {span.span_id: span for span in spans}
    rows = list(_judged(by_id, scores))
    now = time.time_ns() // 1000
    versions = [min(at, now) for _, at in rows]
    columns = arrow_table([score for score, _ in rows], SCORE_SCHEMA).columns
    return pa.Table.from_arrays(
        [*columns, pa.array(versions, pa.timestamp("us", "UTC")), pa.array(versions, pa.uint64())],
        schema=VERDICT_SCHEMA,
    )


def _judged(spans: dict[str, Span], scores: dict[str, list[ImportedScore]]) -> Iterator[tuple[Score, UnixMicros]]:
    for key, told in scores.items():
        span = spans[key[32:]]
        for one in told:
            target = span if not one.counted else spans.get(span.duplicate_of, span)
            fields: dict[str, Any] = {
                name: value for name, value in msgspec.structs.asdict(one).items() if name != "judged_at"
            }
            score = of_span(Score(**fields, target="", started_at=0), target)
            yield score, span.started_at if one.judged_at is None else one.judged_at
