"""Price a call from its provider, model, tokens and date.

Prices come from the user's own table where that names the model, else from genai-prices, as they were on the
call's own date. An unknown price is None, never zero.
Flat prices are turned into one rate a token kind, looked up once a model; tiered ones are asked anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cached_property
from math import gcd
from typing import NamedTuple

from genai_prices import Usage, data_snapshot
from genai_prices.types import ModelInfo, ModelPrice, TieredPrices, TimeOfDateConstraint

from assay.config import Price

MILLION = 1_000_000
DAY_SECONDS = 86_400

PROVIDERS = {
    "aws.bedrock": "aws",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "mistral_ai": "mistral",
    "moonshot_ai": "moonshotai",
    "x_ai": "x-ai",
}
"""OpenTelemetry's gen_ai.provider.name to the ids of genai-prices, where they differ."""


class Tokens(NamedTuple):
    """What is billed. `input` includes cache reads and writes, `output` includes reasoning."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0


class Cost(NamedTuple):
    """US dollars. The total may exceed input and output by a fee for the request itself."""

    input: float
    output: float
    total: float


class Saving(NamedTuple):
    """US dollars that an input token costs less for being read from a cache, or written to one (mostly below 0)."""

    read: float
    write: float


@dataclass(frozen=True)
class Rates:
    """US dollars a token, and a `request`, as they hold for calls of one time and size."""

    input: float
    cache_read: float
    cache_write: float
    output: float
    request: float = 0.0

    def cost(self, tokens: Tokens, calls: int = 1) -> Cost:
        """Of so many calls with these tokens in all."""
        uncached = tokens.input - tokens.cache_read - tokens.cache_write
        cached = tokens.cache_read * self.cache_read + tokens.cache_write * self.cache_write
        input, output = uncached * self.input + cached, tokens.output * self.output
        return Cost(input, output, input + output + self.request * calls)


class Prices:
    """A price list, `own` before the public one. Keeps what it has looked up; safe to use from several threads."""

    def __init__(self, own: Mapping[str, Price] | None = None) -> None:
        self._own = {pattern.lower(): _own_rates(price) for pattern, price in (own or {}).items()}
        self._snapshot = data_snapshot.get_snapshot()
        self._rates: dict[int, Rates | None] = {}  # by id(): the snapshot keeps every price alive

    def cost(self, provider: str, model: str, at: float, tokens: Tokens) -> Cost | None:
        """What a call cost, or None where no price is known.

        `provider` is an OpenTelemetry provider name, or "" to go by the model's name alone; `at` is Unix
        seconds. More cached tokens than tokens have no price either.
        """
        if tokens.cache_read + tokens.cache_write > tokens.input:
            return None
        if self._own and (own := self._own_price(model.lower())):
            return own.cost(tokens)
        price = self._price(provider, model, at)
        if price is None:
            return None
        if id(price) not in self._rates:
            self._rates[id(price)] = _flat_rates(price)
        rates = self._rates[id(price)]
        return rates.cost(tokens) if rates else _exact_cost(price, tokens)

    def rates(self, provider: str, model: str, at: float, input_tokens: int) -> Rates | None:
        """What a token costs in a call with so many input tokens; None where no price is known.

        The same rates hold for all calls with as many of `tier_starts` below their input tokens, and for all moments
        (Unix seconds) in the same `steady_seconds`.
        """
        if self._own and (own := self._own_price(model.lower())):
            return own
        price = self._price(provider, model, at)
        return _rates_of(price, max(input_tokens, 1)) if price else None

    def steady_seconds(self, provider: str, model: str) -> int:
        """The longest step of time, cut from the Unix epoch, within which the model's price does not change."""
        if not self._varies_within_a_day(provider, model):
            return DAY_SECONDS
        found = self._model(provider, model)
        prices = found.prices if found and not isinstance(found.prices, ModelPrice) else []
        ends = [end for one in prices for end in _times_of_day(one.constraint)]
        return gcd(DAY_SECONDS, *(end.hour * 3600 + end.minute * 60 + end.second for end in ends))

    def like(self, model: str) -> list[str]:
        """Models with a price whose names come nearest to this one, at most three."""
        names = {one.id for provider in self._snapshot.providers for one in provider.models} | self._own.keys()
        return get_close_matches(model.lower(), sorted(names), n=3)

    def saving(self, provider: str, model: str, day: float, input_tokens: int) -> Saving | None:
        """What caching saves on each token of a call with so many input tokens on that day (Unix seconds).

        None where no price is known, or where it depends on the time of day.
        """
        if not input_tokens or self._varies_within_a_day(provider, model):
            return None
        full = self.cost(provider, model, day, Tokens(input_tokens))
        read = self.cost(provider, model, day, Tokens(input_tokens, cache_read=input_tokens))
        write = self.cost(provider, model, day, Tokens(input_tokens, cache_write=input_tokens))
        if full is None or read is None or write is None:
            return None
        return Saving((full.input - read.input) / input_tokens, (full.input - write.input) / input_tokens)

    @cached_property
    def tier_starts(self) -> list[int]:
        """Numbers of input tokens above which any model has another price."""
        models = (model for provider in self._snapshot.providers for model in provider.models)
        prices = (price for model in models for price in _all_prices(model))
        tiers = (value.tiers for price in prices for value in vars(price).values() if isinstance(value, TieredPrices))
        return sorted({tier.start for many in tiers for tier in many})

    def _varies_within_a_day(self, provider: str, model: str) -> bool:
        if self._own and self._own_price(model.lower()):
            return False
        found = self._model(provider, model)
        prices = found.prices if found else []
        return not isinstance(prices, ModelPrice) and any(
            isinstance(price.constraint, TimeOfDateConstraint) for price in prices
        )

    def _own_price(self, model: str) -> Rates | None:
        """The table's price of a model: under its very name, else under the first pattern that fits."""
        fitting = (rates for pattern, rates in self._own.items() if fnmatchcase(model, pattern))
        return self._own.get(model) or next(fitting, None)

    def _price(self, provider: str, model: str, at: float) -> ModelPrice | None:
        found = self._model(provider, model)
        return found.get_prices(datetime.fromtimestamp(at, UTC)) if found else None

    def _model(self, provider: str, model: str) -> ModelInfo | None:
        if not model:
            return None
        try:
            _, found = self._snapshot.find_provider_model(model, None, PROVIDERS.get(provider, provider) or None, None)
        except LookupError:
            return None
        return found


def _all_prices(model: ModelInfo) -> list[ModelPrice]:
    return [model.prices] if isinstance(model.prices, ModelPrice) else [price.prices for price in model.prices]


def _times_of_day(constraint: object) -> tuple[time, ...]:
    """Begin and end in UTC of a price that holds for a part of each day."""
    if not isinstance(constraint, TimeOfDateConstraint):
        return ()
    ends = (constraint.start_time, constraint.end_time)
    day = datetime(2000, 1, 1)
    return tuple(
        datetime.combine(day, end if end.tzinfo else end.replace(tzinfo=UTC)).astimezone(UTC).time() for end in ends
    )


def _rates_of(price: ModelPrice, size: int) -> Rates:
    """The rates of calls with `size` input tokens, at least 1: above a tier's start its price is that of all tokens."""
    whole, read, write = (
        _exact_cost(price, Tokens(size, **cached)).input / size
        for cached in ({}, {"cache_read": size}, {"cache_write": size})
    )
    output = _exact_cost(price, Tokens(size, MILLION)).output / MILLION
    return Rates(whole, read, write, output, request=_exact_cost(price, Tokens()).total)


def _own_rates(price: Price) -> Rates:
    read, write = (price.input if rate is None else rate for rate in (price.cache_read, price.cache_write))
    million = (price.input / MILLION, read / MILLION, write / MILLION, price.output / MILLION)
    return Rates(*million, request=price.request)


def _flat_rates(price: ModelPrice) -> Rates | None:
    tiered = any(isinstance(value, TieredPrices) for value in vars(price).values())
    if tiered or _exact_cost(price, Tokens()).total:
        return None
    return Rates(
        input=_exact_cost(price, Tokens(input=MILLION)).total / MILLION,
        cache_read=_exact_cost(price, Tokens(input=MILLION, cache_read=MILLION)).total / MILLION,
        cache_write=_exact_cost(price, Tokens(input=MILLION, cache_write=MILLION)).total / MILLION,
        output=_exact_cost(price, Tokens(output=MILLION)).total / MILLION,
    )


def _exact_cost(price: ModelPrice, tokens: Tokens) -> Cost:
    calculated = price.calc_price(
        Usage(
            input_tokens=tokens.input,
            output_tokens=tokens.output,
            cache_read_tokens=tokens.cache_read,
            cache_write_tokens=tokens.cache_write,
        )
    )
    return Cost(*(float(calculated[f"{part}_price"]) for part in Cost._fields))
