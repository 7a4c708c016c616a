"""What an export can hold: its columns, each with the SQL that makes it and its type in Parquet.

`all` is a span whole, as it is stored, with its verdicts: what an import needs. Every other choice is for reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
from clickhouse_connect.driver.binding import format_str, quote_identifier

from assay.errors import AssayError
from assay.records import Span
from assay.store.connect import Store
from assay.store.rows import arrow_schema
from assay.store.scores import SHOWN_FIRST
from assay.store.spans import TOTAL_TOKENS

SCHEMA_VERSION = 1
"""Of the columns of `all`: raised when one is added, renamed or means something else."""

ALL, CALLS, LAB = "all", "calls", "lab"
SETS = (ALL, CALLS, LAB)

VERDICT = pa.struct(
    [
        *((name, pa.string()) for name in ("name", "source", "scorer", "scorer_version", "author")),
        *(("value", pa.float64()), ("confidence", pa.float64())),
        *(("label", pa.string()), ("comment", pa.string()), ("counted", pa.bool_())),
        ("judged_at", pa.timestamp("us", "UTC")),
    ]
)
"""One verdict on a span, in the column `verdicts`. `judged_at` is when it was stored."""


class Column(NamedTuple):
    """A column of a file. `sql` is over `calls` (spans) and `scored`, which has `of_scores`: an aggregate by span.

    `text` is what a person or a model may have written, which CSV disarms.
    """

    name: str
    type: pa.DataType
    sql: str
    text: bool = False
    of_scores: str = ""

    @property
    def small(self) -> bool:
        """Whether values repeat, so that Parquet keeps each once."""
        return pa.types.is_string(self.type) and self.name not in _LARGE


_LARGE = {
    *("system", "prompt", "response", "messages_in", "messages_out", "tool_definitions", "tool_calls", "documents"),
    *("trace_id", "span_id", "parent_span_id", "response_id", "as_sent", "call_key", "duplicate_of"),
}


def _of_span(field: pa.Field[Any], name: str = "") -> Column:
    return Column(name or field.name, field.type, f"calls.{field.name}", text=pa.types.is_string(field.type))


_SPAN = {field.name: _of_span(field) for field in arrow_schema(Span)}
_MODEL = Column("model", pa.string(), "calls.model", text=True)
_TOTAL = Column("total_tokens", pa.int64(), TOTAL_TOKENS)
_VERDICTS = """arraySort(verdict -> (verdict.1, verdict.2, verdict.3, verdict.5), groupArray(CAST(
    (name, source, scorer, scorer_version, author, value, confidence, label, comment, counted,
        fromUnixTimestamp64Micro(toInt64(version), 'UTC')),
    'Tuple(name String, source String, scorer String, scorer_version String, author String, value Nullable(Float64),
        confidence Nullable(Float64), label String, comment String, counted Bool,
        judged_at DateTime64(6, \\'UTC\\'))'))) AS verdicts"""
VERDICTS = Column("verdicts", pa.list_(VERDICT), "scored.verdicts", of_scores=_VERDICTS)
_KNOWN = {**_SPAN, "model": _MODEL, "total_tokens": _TOTAL, "verdicts": VERDICTS}

_CALLS = (
    *("started_at", "span_id", "trace_id", "project", "environment", "service", "session_id", "user_id", "kind"),
    *("provider", "model", "temperature", "system", "prompt", "response", "input_tokens", "output_tokens"),
    *("cache_read_tokens", "reasoning_tokens", "total_tokens", "cost_usd", "latency_ms", "time_to_first_token_ms"),
    *("status", "error_type", "error_message", "finish_reason"),
)


def _score(name: str, score: str) -> Column:
    alias = quote_identifier(f"shown {score}")
    shown = f"argMaxIf(tuple(value), {SHOWN_FIRST}, counted AND name = {format_str(score)}).1 AS {alias}"
    return Column(name, pa.float64(), f"scored.{alias}", of_scores=shown)


_LAB = (
    _SPAN["started_at"]._replace(name="timestamp"),
    *(_KNOWN[name] for name in ("session_id", "prompt", "response")),
    _MODEL._replace(name="model_name"),
    *(_KNOWN[name] for name in ("temperature", "input_tokens", "output_tokens", "total_tokens")),
    *(_KNOWN[name] for name in ("cost_usd", "latency_ms")),
    *(_score(f"{name}_score", name) for name in ("relevance", "coherence", "toxicity")),
    _score("factual_accuracy", "factual_accuracy"),
)


def chosen_columns(store: Store, chosen: str, where: str, parameters: dict[str, Any]) -> tuple[Column, ...]:
    """The columns that `chosen` names: all, calls, lab, or names with commas between them.

    `calls` has a column for each score in the selection, whose condition on `scores` is `where`. Raises AssayError
    with the columns that are known.
    """
    match chosen.strip():
        case "all":
            return (*_SPAN.values(), VERDICTS)
        case "lab":
            return _LAB
        case "calls":
            return (*(_KNOWN[name] for name in _CALLS), *_scores(_names(store, where, parameters), _CALLS))
        case named:
            return _named([name.strip() for name in named.split(",") if name.strip()], _names(store))


def _names(store: Store, where: str = "counted", parameters: dict[str, Any] | None = None) -> list[str]:
    rows = store.query(f"SELECT DISTINCT name FROM scores WHERE {where} ORDER BY name", parameters)
    return [row["name"] for row in rows]


def _scores(names: Iterable[str], others: Iterable[str]) -> list[Column]:
    """A column a score; one that is called as another column is, is called score_<name>."""
    taken, columns = set(others), list[Column]()
    for score in names:
        name = score
        while name in taken:
            name = f"score_{name}"
        taken.add(name)
        columns.append(_score(name, score))
    return columns


def _named(wanted: Sequence[str], scores: Sequence[str]) -> tuple[Column, ...]:
    known = _KNOWN | {column.name: column for column in _scores(scores, _KNOWN)}
    if unknown := [name for name in wanted if name not in known] or ([] if wanted else [""]):
        raise AssayError(f"no column is called {unknown[0]!r}: choose {', '.join(SETS)}, or some of {', '.join(known)}")
    return tuple(known[name] for name in dict.fromkeys(wanted))
