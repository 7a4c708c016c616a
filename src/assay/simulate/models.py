"""The models that the simulated provider offers: names, sizes and speeds.

The dated names are those of the real models, so that price tables know them; the speeds are of the order that
public measurements of 2025 show. `acme-local-7b` stands for a self-hosted model without a public price.
"""

from __future__ import annotations

import math
import random

import msgspec


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One model. Times in seconds: median time to the first token, and tokens a second after it."""

    name: str
    dated: str
    context_window: int = 128_000
    first_token_s: float = 0.4
    tokens_per_s: float = 90.0
    reasons: bool = False
    dimensions: int = 0
    """Length of its embeddings; 0 for a chat model."""
    owner: str = "openai"


class Pace(msgspec.Struct, frozen=True):
    """How one answer comes: seconds until its first token, then seconds for each token."""

    first_token_s: float
    per_token_s: float

    def slower(self, factor: float) -> Pace:
        """The same answer in `factor` times the time."""
        return Pace(self.first_token_s * factor, self.per_token_s * factor)


def models() -> dict[str, Model]:
    """OpenAI's models and a self-hosted one, by their name and by their dated name."""
    offered = _chat_models() + _reasoning_models() + _embedding_models()
    return {name: model for model in offered for name in (model.name, model.dated)}


def anthropic_models() -> dict[str, Model]:
    """Anthropic's models, by their name and by their dated name; they think only when asked to."""
    offered = [
        Model(
            name=name,
            dated=f"{name}-{date}",
            context_window=200_000,
            first_token_s=first_token_s,
            tokens_per_s=speed,
            owner="anthropic",
        )
        for name, date, first_token_s, speed in (
            ("claude-opus-4-1", "20250805", 1.2, 40),
            ("claude-sonnet-4-5", "20250929", 0.8, 65),
            ("claude-haiku-4-5", "20251001", 0.5, 110),
        )
    ]
    return {name: model for model in offered for name in (model.name, model.dated)}


def pace(model: Model, rng: random.Random, reasoning_tokens: int = 0) -> Pace:
    """A seeded draw of an answer's speed: lognormal around the model's, and one in forty stalls much longer.

    Reasoning comes before the first token and takes as long as visible tokens do.
    """
    stall = rng.paretovariate(1.5) if rng.random() < 0.025 else 0.0
    per_token_s = rng.lognormvariate(-math.log(model.tokens_per_s), 0.2)
    first_token_s = rng.lognormvariate(math.log(model.first_token_s), 0.35)
    return Pace(first_token_s + min(stall, 12.0) + reasoning_tokens * per_token_s, per_token_s)


def _chat_models() -> list[Model]:
    return [
        Model(name="gpt-4o-mini", dated="gpt-4o-mini-2024-07-18", first_token_s=0.38, tokens_per_s=95),
        Model(name="gpt-4o", dated="gpt-4o-2024-08-06", first_token_s=0.48, tokens_per_s=110),
        _gpt_4_1("gpt-4.1", 0.52, 95),
        _gpt_4_1("gpt-4.1-mini", 0.42, 85),
        _gpt_4_1("gpt-4.1-nano", 0.3, 160),
        Model(
            name="gpt-3.5-turbo",
            dated="gpt-3.5-turbo-0125",
            context_window=16_385,
            first_token_s=0.35,
        ),
        Model(
            name="acme-local-7b",
            dated="acme-local-7b",
            context_window=8_192,
            first_token_s=0.15,
            tokens_per_s=38,
            owner="acme",
        ),
    ]


def _gpt_4_1(name: str, first_token_s: float, tokens_per_s: float) -> Model:
    return Model(
        name=name,
        dated=f"{name}-2025-04-14",
        context_window=1_047_576,
        first_token_s=first_token_s,
        tokens_per_s=tokens_per_s,
    )


def _reasoning_models() -> list[Model]:
    return [
        Model(
            name=name,
            dated=f"{name}-{date}",
            context_window=window,
            first_token_s=0.6,
            tokens_per_s=speed,
            reasons=True,
        )
        for name, date, window, speed in (
            ("o3-mini", "2025-01-31", 200_000, 160),
            ("o3", "2025-04-16", 200_000, 120),
            ("o4-mini", "2025-04-16", 200_000, 140),
            ("gpt-5", "2025-08-07", 400_000, 110),
            ("gpt-5-mini", "2025-08-07", 400_000, 130),
            ("gpt-5-nano", "2025-08-07", 400_000, 180),
        )
    ]


def _embedding_models() -> list[Model]:
    return [
        Model(
            name=name,
            dated=dated,
            context_window=8_192,
            first_token_s=0.12,
            tokens_per_s=50_000,
            dimensions=dimensions,
        )
        for name, dated, dimensions in (
            ("text-embedding-3-small", "text-embedding-3-small", 1536),
            ("text-embedding-3-large", "text-embedding-3-large", 3072),
            ("text-embedding-ada-002", "text-embedding-ada-002-v2", 1536),
        )
    ]
