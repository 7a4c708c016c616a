"""Prices: the same as genai-prices to the cent, and unknown where they are unknown."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from genai_prices import Usage, calc_price, data_snapshot
from hypothesis import given
from hypothesis import strategies as st

from assay.config import Price
from assay.ingest.pricing import MILLION, Prices, Tokens

PRICES = Prices()
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
MODELS = [(provider.id, model.id) for provider in data_snapshot.get_snapshot().providers for model in provider.models]


@given(
    st.sampled_from(MODELS),
    st.integers(0, 300_000),
    st.integers(0, 20_000),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_every_model_costs_what_genai_prices_says(
    model: tuple[str, str], input: int, output: int, read_share: float, write_share: float
) -> None:
    read = int(input * read_share)
    write = int((input - read) * write_share)
    usage = Usage(input_tokens=input, output_tokens=output, cache_read_tokens=read, cache_write_tokens=write)
    provider_id, name = model
    try:
        expected = calc_price(usage, name, provider_id=provider_id, genai_request_timestamp=NOW)
    except LookupError:
        expected = None
    cost = PRICES.cost(provider_id, name, NOW.timestamp(), Tokens(input, output, read, write))
    if expected is None:
        assert cost is None
    else:
        assert cost is not None
        assert cost.total == pytest.approx(float(expected.total_price), abs=1e-12)
        assert cost.output == pytest.approx(float(expected.output_price), abs=1e-12)


def test_a_thousand_tokens_in_and_out_of_gpt_4o_mini() -> None:
    cost = PRICES.cost("openai", "gpt-4o-mini-2024-07-18", NOW.timestamp(), Tokens(1000, 1000, 400))
    # $0.15 in, $0.075 cached, $0.60 out a million tokens
    assert cost == pytest.approx((600 * 0.15e-6 + 400 * 0.075e-6, 600e-6, 720e-6))


@pytest.mark.parametrize(
    ("provider", "model"), [("openai", "gpt-99"), ("acme", "gpt-4o"), ("", "acme-local-7b"), ("openai", ""), ("", "")]
)
def test_an_unknown_price_is_unknown_and_not_zero(provider: str, model: str) -> None:
    assert PRICES.cost(provider, model, NOW.timestamp(), Tokens(10, 10)) is None


def test_without_a_provider_the_model_name_tells() -> None:
    assert PRICES.cost("", "gpt-4o", NOW.timestamp(), Tokens(10, 10)) is not None


def test_more_cached_than_sent_has_no_price() -> None:
    assert PRICES.cost("openai", "gpt-4o", NOW.timestamp(), Tokens(10, 0, 8, 8)) is None


def test_opentelemetry_provider_names_are_understood() -> None:
    known = itertools.product(["aws.bedrock", "gcp.vertex_ai", "gcp.gemini", "azure.ai.openai"], [Tokens(10, 10)])
    models = ["us.anthropic.claude-sonnet-4-5-20250929-v1:0", "gemini-2.5-flash", "gemini-2.5-flash", "gpt-4o"]
    for (provider, tokens), model in zip(known, models, strict=True):
        assert PRICES.cost(provider, model, NOW.timestamp(), tokens) is not None, provider


OWN = {
    "house-model": Price(input=1, output=2, cache_read=0.5, request=0.25),
    "llama-*": Price(input=3),
    "gpt-4o": Price(input=100, output=100),
}


@pytest.mark.parametrize(
    ("model", "tokens", "total"),
    [
        ("house-model", Tokens(MILLION, MILLION, cache_read=MILLION), 0.5 + 2 + 0.25),
        ("House-Model", Tokens(MILLION, 0), 1.25),
        ("llama-3.1-8b", Tokens(MILLION, MILLION, cache_read=MILLION), 3),
        ("gpt-4o", Tokens(0, MILLION), 100),
        ("unheard-of", Tokens(1, 1), None),
    ],
)
def test_a_price_of_ones_own_goes_before_the_public_one(model: str, tokens: Tokens, total: float | None) -> None:
    cost = Prices(OWN).cost("openai", model, 1_700_000_000, tokens)
    assert (cost.total if cost else None) == (None if total is None else pytest.approx(total))


def test_more_cached_tokens_than_tokens_have_no_price_of_ones_own_either() -> None:
    assert Prices(OWN).cost("", "house-model", 0, Tokens(1, 0, cache_read=2)) is None
