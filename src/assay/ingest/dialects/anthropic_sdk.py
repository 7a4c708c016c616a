"""Spans that Anthropic's own SDK (2.x) writes: the newest GenAI names, and the stop reason under its own."""

from __future__ import annotations

from typing import Any

from assay.ingest.dialects.fields import Table, names_in, told
from assay.ingest.otlp import RawSpan

SCOPES = ("com.anthropic.sdk",)
KEYS = ()

SPAN: Table = {"finish_reason": ("anthropic.message.stop_reason",)}
READ = names_in(SPAN)


def fields(span: RawSpan) -> dict[str, Any]:
    """The columns of the `spans` table that this span tells. Counting tokens is no call to a model."""
    found = told(span.attributes, SPAN)
    return found | {"kind": "span"} if span.name == "anthropic.messages.count_tokens" else found
