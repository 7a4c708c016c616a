"""OpenLIT 1.x: GenAI names, with counts and defaults of its own making.

Its input tokens leave out what was cached for providers whose API does so. Temperature and top_p of 1.0 are its
defaults, not the caller's; its time to first token is taken from the wrong moment and is not read.
"""

from __future__ import annotations

from typing import Any

from assay.ingest.dialects.fields import names_in, number, told
from assay.ingest.dialects.genai import USAGE
from assay.ingest.dialects.usage import usage
from assay.ingest.otlp import RawSpan

SCOPES = ("openlit",)
KEYS = ()

READ = frozenset[str]()
DETAILS = {name: USAGE[name] for name in ("cache_read_tokens", "cache_write_tokens", "reasoning_tokens")}

_WITHOUT_CACHED = ("openlit.instrumentation.anthropic", "openlit.instrumentation.bedrock")


def fields(span: RawSpan) -> dict[str, Any]:
    """The columns of the `spans` table that this span tells."""
    a = span.attributes
    tokens = told(a, USAGE)
    found: dict[str, Any] = {"reported_cost_usd": number(a, "gen_ai.usage.cost")}
    found |= usage(*(tokens.get(name) for name in USAGE), without_cached=span.scope_name.startswith(_WITHOUT_CACHED))
    if a.get("gen_ai.request.stream") is True and not any(name in a for name in names_in(DETAILS)):
        # Where a stream brought no usage, it guesses.
        found["tokens_estimated"] = "openai" in span.scope_name and found["input_tokens"] is not None
    operation, _, model = span.name.partition(" ")
    if "gen_ai.operation.name" not in a and operation in ("chat", "embeddings") and model:
        # A failed call keeps nothing but its name.
        found |= {"kind": "llm" if operation == "chat" else "embedding", "operation": operation, "request_model": model}
    return found
