"""What if another model had taken the same traffic: what it would have cost, with the tokens as they are recorded.

Calls are added up by day, model and price tier before anything is priced, so that a million of them cost as many
look-ups as a thousand. The sum is that of pricing call by call, since within a tier a price is linear in its tokens.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import gcd
from typing import Any

import msgspec

from assay.analytics.metrics import INPUT, OUTPUT
from assay.analytics.selection import Selection
from assay.errors import AssayError
from assay.ingest.pricing import Cost, Prices, Rates, Tokens
from assay.store.connect import Row, Store

MOST_MODELS = 20

ASSUMED = (
    "The same number of tokens: another model's tokenizer may count the same text differently.",
    "Answers of the same length, and as many input tokens read from a cache and written to one.",
    "Conversations only: embeddings are left out, and so are calls that failed without a bill.",
)
"""What the figures rest on, for people to read."""


class Totals(msgspec.Struct, frozen=True):
    """Calls and what they cost, in US dollars: `now_usd` as they were, `then_usd` with the other model."""

    calls: int = 0
    now_usd: float = 0.0
    then_usd: float = 0.0


class OfModel(msgspec.Struct, frozen=True):
    """The part of the traffic that `model` took."""

    model: str
    calls: int
    now_usd: float
    then_usd: float


class WhatIf(msgspec.Struct, frozen=True):
    """The traffic as if `model` had taken all of it, in US dollars.

    The comparison is over the `calls` that have a price both now and then: `now_usd`, `then_usd` (None without any
    such call), `difference_usd`, and `ratio`, then by now. `input_usd` and `output_usd` split what it would have cost.
    `by_model` has the same calls by the model that really took them, those that would change most first.

    Left out of it are `only_then` calls without a price now (they would cost `only_then_usd`), `only_now` calls that
    the other model has no price for (they did cost `only_now_usd`), and `unknown` calls: those without a price on
    either side, and those whose tokens are not known.
    """

    model: str
    provider: str
    calls: int
    now_usd: float | None
    then_usd: float | None
    difference_usd: float | None
    ratio: float | None
    input_usd: float | None
    output_usd: float | None
    by_model: list[OfModel]
    only_then: int
    only_then_usd: float | None
    only_now: int
    only_now_usd: float | None
    unknown: int
    problem: str = ""


def what_if(
    store: Store, prices: Prices, selection: Selection, models: Sequence[str], provider: str = ""
) -> dict[str, Any]:
    """`models`: for each of these, what the selected conversations would have cost with it; `assumes`, in words.

    `calls` counts the conversations, `failed` those of them that failed and tell no tokens: nobody bills them.
    `provider` is an OpenTelemetry provider name if the models' names alone do not tell. A model without a price has
    None for its costs, and a `problem` that says what to do. Raises AssayError for no model, or more than 20.
    """
    wanted = list(dict.fromkeys(model.strip() for model in models if model.strip()))
    if not 0 < len(wanted) <= MOST_MODELS:
        raise AssayError(
            f"say which model to price for (as_model=gpt-4o-mini), at most {MOST_MODELS}; got {len(wanted)}"
        )
    step = gcd(*(prices.steady_seconds(provider, model) for model in wanted))
    traffic = _traffic(store, prices, selection, step)
    failed = sum(row["calls"] for row in traffic if row["failed"])
    billed = [row for row in traffic if not row["failed"]]
    return {
        "calls": sum(row["calls"] for row in traffic),
        "failed": failed,
        "models": [_priced(prices, billed, model, provider) for model in wanted],
        "assumes": ASSUMED,
    }


def _traffic(store: Store, prices: Prices, selection: Selection, step: int) -> list[Row]:
    """Conversations by the time and tier of their price, the model that took them, and what is known of them.

    `priced` have a cost, `known` have tokens that can be priced; `size` is the input of the largest of them.
    """
    where, parameters = selection.of_calls()
    cached = "ifNull(cache_read_tokens, 0) + ifNull(cache_write_tokens, 0)"
    return store.query(
        f"""
        SELECT intDiv(toUnixTimestamp(started_at), {{step:UInt32}}) * {{step:UInt32}} AS at, model AS of_model,
            length(arrayFilter(start -> ifNull({INPUT}, 0) > start, {{starts:Array(UInt64)}})) AS tier,
            spans.cost_usd IS NOT NULL AS priced,
            ifNull({INPUT} >= {cached} AND {OUTPUT} IS NOT NULL, 0) AS known,
            status = 'error' AND NOT priced AND NOT known AS failed,
            count() AS calls, sum(ifNull(spans.cost_usd, 0)) AS now_usd, max(ifNull({INPUT}, 0)) AS size,
            sum(ifNull({INPUT}, 0)) AS input, sum(ifNull({OUTPUT}, 0)) AS output,
            sum(ifNull(spans.cache_read_tokens, 0)) AS cache_read,
            sum(ifNull(spans.cache_write_tokens, 0)) AS cache_write
        FROM spans FINAL WHERE {where} AND kind = 'llm'
        GROUP BY at, of_model, tier, priced, known, failed
        """,
        {**parameters, "step": step, "starts": prices.tier_starts},
    )


@dataclass
class _Sum:
    """What adds up while the traffic is priced for one model."""

    both: Totals = field(default_factory=Totals)
    only_then: Totals = field(default_factory=Totals)
    only_now: Totals = field(default_factory=Totals)
    unknown: int = 0
    input_usd: float = 0.0
    output_usd: float = 0.0
    by_model: dict[str, Totals] = field(default_factory=dict[str, Totals])

    def add(self, row: Row, cost: Cost | None) -> None:
        """Count a row of the traffic, with what it would cost."""
        of_row = Totals(row["calls"], row["now_usd"], cost.total if cost else 0.0)
        if cost and row["priced"]:
            self.both = _together(self.both, of_row)
            self.input_usd += cost.input
            self.output_usd += cost.output
            self.by_model[row["of_model"]] = _together(self.by_model.get(row["of_model"], Totals()), of_row)
        elif cost:
            self.only_then = _together(self.only_then, of_row)
        elif row["priced"]:
            self.only_now = _together(self.only_now, of_row)
        else:
            self.unknown += row["calls"]


def _priced(prices: Prices, traffic: list[Row], model: str, provider: str) -> WhatIf:
    summed, rates = _Sum(), dict[tuple[int, int], Rates | None]()
    for row in traffic:
        key = row["at"], row["tier"]
        if key not in rates:
            rates[key] = prices.rates(provider, model, row["at"], row["size"])
        found = rates[key] if row["known"] else None
        summed.add(row, found.cost(_tokens(row), row["calls"]) if found else None)
    return _told(summed, model, provider, _problem(prices, model, provider, known=any(rates.values())))


def _tokens(row: Row) -> Tokens:
    return Tokens(*(row[name] for name in Tokens._fields))


def _problem(prices: Prices, model: str, provider: str, known: bool) -> str:
    if known or prices.rates(provider, model, time.time(), 1):
        return ""
    near = prices.like(model)
    meant = f" (did you mean {', '.join(near)}?)" if near else ""
    of = f"{model!r} of {provider!r}" if provider else repr(model)
    return f"no price is known of {of}{meant}: give it one in assay.toml, under [prices.{json.dumps(model)}]"


def _told(summed: _Sum, model: str, provider: str, problem: str) -> WhatIf:
    both, then, now = summed.both, summed.only_then, summed.only_now
    some = bool(both.calls)
    return WhatIf(
        model=model,
        provider=provider,
        calls=both.calls,
        now_usd=both.now_usd if some else None,
        then_usd=both.then_usd if some else None,
        difference_usd=both.then_usd - both.now_usd if some else None,
        ratio=both.then_usd / both.now_usd if both.now_usd else None,
        input_usd=summed.input_usd if some else None,
        output_usd=summed.output_usd if some else None,
        by_model=sorted(
            (OfModel(name, *msgspec.structs.astuple(of)) for name, of in summed.by_model.items()),
            key=lambda one: (-abs(one.then_usd - one.now_usd), one.model),
        ),
        only_then=then.calls,
        only_then_usd=then.then_usd if then.calls else None,
        only_now=now.calls,
        only_now_usd=now.now_usd if now.calls else None,
        unknown=summed.unknown,
        problem=problem,
    )


def _together(one: Totals, other: Totals) -> Totals:
    return Totals(one.calls + other.calls, one.now_usd + other.now_usd, one.then_usd + other.then_usd)
