"""Strands Agents 1.x: GenAI names and span events; its time to first token is in whole milliseconds."""

from __future__ import annotations

from typing import Any

from assay.ingest.dialects.fields import Table, names_in, told
from assay.ingest.otlp import RawSpan

SCOPES = ("strands",)
KEYS = ()

SPAN: Table = {"time_to_first_token_ms": ("gen_ai.server.time_to_first_token",)}
READ = names_in(SPAN)


def fields(span: RawSpan) -> dict[str, Any]:
    """The columns of the `spans` table that this span tells."""
    return told(span.attributes, SPAN)
