"""Price stored calls anew: with the prices known now, and the price table of assay.toml as it is now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from assay.ingest.figures import figures
from assay.ingest.pricing import Prices
from assay.records import Span
from assay.store.connect import Store
from assay.store.traces import calls_in_blocks

BLOCK_CALLS = 5_000


class Repriced(NamedTuple):
    """Counted calls that were looked at and how many changed; US dollars before and after; by model those unpriced."""

    calls: int
    changed: int
    cost_before_usd: float
    cost_after_usd: float
    unpriced: dict[str, int]


def reprice(
    store: Store,
    rewrite: Callable[[Sequence[Span]], None],
    prices: Prices,
    *,
    since: int = 0,
    until: int | None = None,
    project: str = "",
    dry_run: bool = False,
) -> Repriced:
    """Recompute costs and estimated tokens of the calls that started in [since, until) (Unix microseconds).

    Only calls whose figures change are written; with `dry_run` none. Raises StoreError.
    """
    calls, changed, before, after = 0, 0, 0.0, 0.0
    unpriced = Counter[str]()
    for block in calls_in_blocks(store, since, until, project, BLOCK_CALLS):
        anew = [figures(span, prices) for span in block]
        different = [new for old, new in zip(block, anew, strict=True) if new != old]
        if different and not dry_run:
            rewrite(different)
        calls += len(block)
        changed += len(different)
        before += sum(span.cost_usd or 0 for span in block)
        after += sum(span.cost_usd or 0 for span in anew)
        unpriced.update(
            span.response_model or span.request_model for span in anew if span.cost_usd is None and span.status == "ok"
        )
    return Repriced(calls, changed, before, after, dict(unpriced.most_common()))
