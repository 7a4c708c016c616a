"""The dialects that Assay reads, one module each, in the order in which they are asked.

A dialect has `SCOPES` (beginnings of instrumentation scope names) and `KEYS` (attributes that give it away),
`fields(span)` (columns of the `spans` table) and `READ` (attributes that columns tell in full). The first that
recognises a span speaks; others that do, and the general GenAI dialect last, fill what it left blank. To add one:
write the module, put it into DIALECTS, add its recorded payloads to the tests.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
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
from assay.ingest.dialects.fields import blanks_filled
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


def read(span: RawSpan) -> tuple[dict[str, Any], Set[str]]:
    """The columns that the span's dialects tell, and the attributes that those columns tell in full."""
    columns, read = _told(span)
    return genai.without_texts(columns) if columns["kind"] == "embedding" else columns, read


def _told(span: RawSpan) -> tuple[dict[str, Any], Set[str]]:
    columns, consumed = genai.fields(span), genai.READ
    for dialect in reversed(_spoken_in(span)):
        own = dialect.fields(span)
        if own.pop("tokens_estimated", False):
            # Every call's missing tokens are estimated in one way: ours.
            columns, own = ({k: v for k, v in told.items() if k not in TOKENS} for told in (columns, own))
        if any(own.get(name) for name in genai.TEXTS):
            columns = {name: value for name, value in columns.items() if name not in genai.TEXTS}
        columns, consumed = blanks_filled(own, columns), consumed | dialect.READ
    return columns, consumed


def _spoken_in(span: RawSpan) -> Sequence[Dialect]:
    """The dialects that recognise the span, in their order, up to that of its scope. Some senders speak several."""
    by_scope = _by_scope(span.scope_name)
    owner = DIALECTS[by_scope : by_scope + 1] if by_scope is not None else ()
    if _ALL_KEYS.isdisjoint(span.attributes):
        return owner
    others = DIALECTS if by_scope is None else DIALECTS[:by_scope]
    return (*(dialect for dialect in others if not span.attributes.keys().isdisjoint(dialect.KEYS)), *owner)


_ALL_KEYS = frozenset(key for dialect in DIALECTS for key in dialect.KEYS)


@lru_cache(maxsize=1024)
def _by_scope(scope: str) -> int | None:
    """The place of the dialect that writes under this instrumentation scope."""
    return next((n for n, dialect in enumerate(DIALECTS) if dialect.SCOPES and scope.startswith(dialect.SCOPES)), None)
