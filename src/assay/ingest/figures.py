"""A call's figures that follow from the others: missing token counts, and what it cost."""

from __future__ import annotations

import msgspec

from assay.ingest.pricing import Prices, Tokens
from assay.records import CALL_KINDS, Span


def figures(span: Span, prices: Prices) -> Span:
    """The span with its costs in US dollars; None where no price or no usage is known."""
    if span.kind not in CALL_KINDS:
        return span
    cost = None
    if span.input_tokens is not None or span.output_tokens is not None:
        tokens = Tokens(
            span.input_tokens or 0, span.output_tokens or 0, span.cache_read_tokens or 0, span.cache_write_tokens or 0
        )
        cost = prices.cost(span.provider, span.response_model or span.request_model, span.started_at / 1e6, tokens)
    input_cost, output_cost, total = cost or (None, None, None)
    return msgspec.structs.replace(span, input_cost_usd=input_cost, output_cost_usd=output_cost, cost_usd=total)
