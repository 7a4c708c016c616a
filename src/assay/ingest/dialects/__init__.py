"""The dialects that Assay reads, one module each, in the order in which they are asked.

A dialect has `matches(span)`, `fields(span)` (columns of the `spans` table) and `READ` (attributes
that columns tell in full). The first that matches speaks first; the general GenAI dialect fills what it left
blank. To add one: write the module, put it into DIALECTS, add its recorded payloads to the tests.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any, Protocol

from assay.ingest.dialects import genai
from assay.ingest.otlp import RawSpan


class Dialect(Protocol):
    """What a dialect module offers."""

    @property
    def READ(self) -> Set[str]: ...

    def matches(self, span: RawSpan) -> bool: ...
    def fields(self, span: RawSpan) -> dict[str, Any]: ...


DIALECTS: tuple[Dialect, ...] = (genai,)


def read(span: RawSpan) -> tuple[dict[str, Any], Set[str]]:
    """The columns that the span's dialects tell, and the attributes that those columns tell in full."""
    columns: dict[str, Any] = {}
    consumed: Set[str] = frozenset()
    for dialect in DIALECTS:
        if dialect.matches(span):
            told = dialect.fields(span)
            columns = {**told, **{name: value for name, value in columns.items() if value not in ("", None)}}
            consumed = consumed | dialect.READ
    return columns, consumed
