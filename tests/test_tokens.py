"""Tokens are estimated where nobody reported them, and only there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.ingest.figures import figures
from assay.ingest.pricing import Prices
from assay.ingest.tokens import COUNTED_CHARACTERS, Estimate, estimate
from assay.records import Span

PRICES = Prices()


def call(**fields: Any) -> Span:
    own: dict[str, Any] = {"trace_id": "t", "span_id": "s", "kind": "llm", "started_at": 1_700_000_000_000_000}
    return Span(**own | {"provider": "openai", "request_model": "gpt-4o-mini"} | fields)


QUESTION = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "hello"}]}])
PICTURE = json.dumps([{"role": "user", "parts": [{"type": "blob", "content": "x" * 999}]}])


def test_a_chat_is_its_texts_and_what_wraps_a_message_and_the_answer() -> None:
    assert estimate(call(prompt="What is the capital of France?", response="Paris.")) == Estimate(7 + 3 + 3, 2)


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (call(), Estimate(None, None)),
        (call(prompt="hello"), Estimate(1 + 3 + 3, None)),
        (call(response="hello"), Estimate(None, 1)),
        (call(system="hello", prompt="hello"), Estimate(2 + 6 + 3, None)),
        (call(kind="embedding", messages_in=QUESTION), Estimate(1, None)),
        (call(messages_in=PICTURE), Estimate(None, None)),
    ],
    ids=["no texts", "question only", "answer only", "system", "embedding", "picture"],
)
def test_what_has_no_text_has_no_estimate(span: Span, expected: Estimate) -> None:
    assert estimate(span) == expected


def test_older_models_are_counted_by_their_own_vocabulary() -> None:
    text = "Größenwahnsinnige Übersetzungsfehler"
    assert estimate(call(request_model="gpt-4", prompt=text)) != estimate(call(request_model="gpt-4o", prompt=text))


def test_a_very_long_text_is_reckoned_from_its_beginning() -> None:
    text = "word " * COUNTED_CHARACTERS
    counted, _ = estimate(call(prompt=text))
    assert counted == pytest.approx(COUNTED_CHARACTERS, rel=0.01)


def test_an_estimate_is_marked_and_priced() -> None:
    span = figures(call(prompt="hello", response="hello"), PRICES)
    assert (span.input_tokens, span.output_tokens, span.tokens_estimated) == (None, None, True)
    assert (span.estimated_input_tokens, span.estimated_output_tokens) == (7, 1)
    assert span.cost_usd == pytest.approx(7 * 0.15e-6 + 0.6e-6)


def test_a_failed_call_is_not_estimated() -> None:
    span = figures(call(prompt="hello", status="error"), PRICES)
    assert (span.input_tokens, span.tokens_estimated, span.cost_usd) == (None, False, None)


def test_of_two_counts_the_one_that_is_missing_is_estimated_and_never_taken_for_zero() -> None:
    span = figures(call(input_tokens=1000, prompt="hello", response="hello"), PRICES)
    assert (span.input_tokens, span.output_tokens) == (1000, None)
    assert (span.estimated_input_tokens, span.estimated_output_tokens) == (None, 1)
    assert span.cost_usd == pytest.approx(1000 * 0.15e-6 + 0.6e-6)
    assert figures(call(input_tokens=1000), PRICES).cost_usd is None


def test_an_embedding_needs_no_output_to_be_priced() -> None:
    span = figures(call(kind="embedding", request_model="text-embedding-3-small", input_tokens=1000), PRICES)
    assert span.cost_usd == pytest.approx(1000 * 0.02e-6)


tokens = st.none() | st.integers(0, 10**6)


@given(tokens, tokens, st.sampled_from(["gpt-4o-mini", "no-such-model", ""]), st.sampled_from(["", "hello"]))
def test_reported_tokens_are_never_changed(into: int | None, out: int | None, model: str, prompt: str) -> None:
    span = call(input_tokens=into, output_tokens=out, request_model=model, prompt=prompt, response=prompt)
    found = figures(span, PRICES)
    assert (found.input_tokens, found.output_tokens) == (into, out)
    assert found.tokens_estimated == (None in (into, out) and prompt != "")
    assert (found.cost_usd is not None) == (model == "gpt-4o-mini" and (prompt != "" or None not in (into, out)))
    assert figures(found, PRICES) == found
