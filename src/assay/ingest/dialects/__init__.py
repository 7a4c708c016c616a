"""The dialects that Assay reads, one module each, in the order in which they are asked.

A dialect has `SCOPES` (beginnings of instrumentation scope names) and `KEYS` (attributes that give it away),
`fields(span)` (columns of the `spans` table) and `READ` (attributes that columns tell in full). The first that
recognises a span speaks; the general GenAI dialect fills what it left blank. To add one: write the module, put it
into DIALECTS, add its recorded payloads to the tests.
"""

from __future__ import annotations

from collections.abc import Set
from functools import lru_cache
from typing import Any, Protocol

from assay.ingest.dialects import (
    adk,
    anthropic_sdk,
    genai,
    langfuse,
    litellm,
    logfire,
    mlflow,
    openinference,
    openlit,
    pydantic_ai,
    strands,
    traceloop,
    vercel,
)
from assay.ingest.dialects.fields import blanks_filled, to_json
from assay.ingest.dialects.messages import messages
from assay.ingest.otlp import RawSpan


class Dialect(Protocol):
    """What a dialect module offers."""

    @property
    def SCOPES(self) -> tuple[str, ...]: ...
    @property
    def KEYS(self) -> tuple[str, ...]: ...
    @property
    def READ(self) -> Set[str]: ...

    def fields(self, span: RawSpan) -> dict[str, Any]: ...


DIALECTS: tuple[Dialect, ...] = (
    anthropic_sdk,
    langfuse,
    openinference,
    mlflow,
    vercel,
    logfire,
    pydantic_ai,
    litellm,
    openlit,
    strands,
    adk,
    traceloop,
)

TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
CONTENT = ("system", "prompt", "response", "tool_calls", "messages_in", "messages_out")


def read(span: RawSpan) -> tuple[dict[str, Any], Set[str]]:
    """The columns that the span's dialects tell, and the attributes that those columns tell in full."""
    columns, read = _told(span)
    if columns["kind"] == "embedding":
        # What is embedded is no question, and vectors are no answer.
        texts = columns.get("prompt")
        asked = columns.get("messages_in") or (to_json(messages(texts)) if texts else "")
        columns |= {**dict.fromkeys(CONTENT, ""), "messages_in": asked}
    return columns, read


def _told(span: RawSpan) -> tuple[dict[str, Any], Set[str]]:
    columns = genai.fields(span)
    dialect = _spoken_in(span)
    if dialect is None:
        return columns, genai.READ
    own = dialect.fields(span)
    if own.pop("tokens_estimated", False):
        # Every call's missing tokens are estimated in one way: ours.
        columns, own = ({k: v for k, v in told.items() if k not in TOKENS} for told in (columns, own))
    if any(own.get(name) for name in CONTENT):
        columns = {name: value for name, value in columns.items() if name not in CONTENT}
    return blanks_filled(own, columns), genai.READ | dialect.READ


def _spoken_in(span: RawSpan) -> Dialect | None:
    by_scope = _by_scope(span.scope_name)
    if _ALL_KEYS.isdisjoint(span.attributes):
        return DIALECTS[by_scope] if by_scope is not None else None
    last = len(DIALECTS) if by_scope is None else by_scope
    for dialect in DIALECTS[:last]:
        if any(key in span.attributes for key in dialect.KEYS):
            return dialect
    return DIALECTS[by_scope] if by_scope is not None else None


_ALL_KEYS = frozenset(key for dialect in DIALECTS for key in dialect.KEYS)


@lru_cache(maxsize=1024)
def _by_scope(scope: str) -> int | None:
    """The place of the dialect that writes under this instrumentation scope."""
    return next((n for n, dialect in enumerate(DIALECTS) if dialect.SCOPES and scope.startswith(dialect.SCOPES)), None)
