"""A call's figures that follow from its other fields: token counts that nobody reported, and what it cost."""

from __future__ import annotations

import msgspec

from assay.ingest.pricing import Prices, Tokens
from assay.ingest.tokens import Estimate, estimate
from assay.records import CALL_KINDS, Span


def figures(span: Span, prices: Prices) -> Span:
    """The span with its costs in US dollars, None where no price is known.

    Where no usage was reported it is estimated from the texts, beside what was reported; a failed call is not: it is
    not billed.
    """
    if span.kind not in CALL_KINDS:
        return span
    reported, estimated, cost = Estimate(span.input_tokens, span.output_tokens), Estimate(None, None), None
    if None in _needed(span, reported) and span.status == "ok":
        counted = estimate(span)
        estimated = Estimate(*(new if old is None else None for old, new in zip(reported, counted, strict=True)))
    used = Estimate(*(new if old is None else old for old, new in zip(reported, estimated, strict=True)))
    if None not in _needed(span, used):
        tokens = Tokens(used.input or 0, used.output or 0, span.cache_read_tokens or 0, span.cache_write_tokens or 0)
        cost = prices.cost(span.provider, span.response_model or span.request_model, span.started_at / 1e6, tokens)
    input_cost, output_cost, total = cost or (None, None, None)
    return msgspec.structs.replace(
        span,
        tokens_estimated=estimated != Estimate(None, None),
        estimated_input_tokens=estimated.input,
        estimated_output_tokens=estimated.output,
        input_cost_usd=input_cost,
        output_cost_usd=output_cost,
        cost_usd=total,
    )


def _needed(span: Span, tokens: Estimate) -> tuple[int | None, ...]:
    """The counts that a price needs: an embedding has no output."""
    return tokens[:1] if span.kind == "embedding" else tokens
