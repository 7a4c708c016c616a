"""A call's figures that follow from its other fields: token counts that nobody reported, and what it cost."""

from __future__ import annotations

import msgspec

from assay.ingest.pricing import Prices, Tokens
from assay.ingest.tokens import estimate
from assay.records import CALL_KINDS, Span


def figures(span: Span, prices: Prices) -> Span:
    """The span with its costs in US dollars, None where no price is known.

    Where no usage was reported it is estimated from the texts and marked; a failed call is not: it is not billed.
    """
    if span.kind not in CALL_KINDS:
        return span
    if span.input_tokens is None and span.output_tokens is None and span.status == "ok":
        input_tokens, output_tokens = estimate(span)
        estimated = input_tokens is not None or output_tokens is not None
        span = msgspec.structs.replace(
            span, input_tokens=input_tokens, output_tokens=output_tokens, tokens_estimated=estimated
        )
    cost = None
    if span.input_tokens is not None or span.output_tokens is not None:
        tokens = Tokens(
            span.input_tokens or 0, span.output_tokens or 0, span.cache_read_tokens or 0, span.cache_write_tokens or 0
        )
        cost = prices.cost(span.provider, span.response_model or span.request_model, span.started_at / 1e6, tokens)
    input_cost, output_cost, total = cost or (None, None, None)
    return msgspec.structs.replace(span, input_cost_usd=input_cost, output_cost_usd=output_cost, cost_usd=total)
