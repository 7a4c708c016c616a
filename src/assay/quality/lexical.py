"""The four heuristics of the lab this product grew from, kept as the baseline that others must beat.

The arithmetic is the lab's to the last bit; only its crash on an empty response became a null verdict.
Against people's labels three of the four are a coin toss (docs/quality.md).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from assay.quality.scorer import Conversation, Scorer, Verdict, unknown, version_of

TOXIC_WORDS = ("hate", "violence", "harmful", "dangerous")
FACTUAL_INDICATORS = ("according to", "research shows", "studies indicate")


class Heuristic(msgspec.Struct, frozen=True, kw_only=True):
    """One of the lab's formulas as a Scorer."""

    name: str
    formula: Callable[[Conversation], Verdict]
    scorer: str = "lexical"
    version: str = version_of("lexical 1", *TOXIC_WORDS, *FACTUAL_INDICATORS)

    def score(self, conversation: Conversation) -> Verdict:
        """The formula's verdict, or null for an empty response."""
        if not conversation.response:
            return unknown("not assessable: empty response", "empty")
        return self.formula(conversation)


def lexical_scorers() -> tuple[Scorer, ...]:
    """relevance, coherence, toxicity and factual_accuracy as the lab computes them."""
    return (
        Heuristic(name="relevance", formula=relevance),
        Heuristic(name="coherence", formula=coherence),
        Heuristic(name="toxicity", formula=toxicity),
        Heuristic(name="factual_accuracy", formula=factual_accuracy),
    )


def relevance(conversation: Conversation) -> Verdict:
    """Share of the prompt's words that occur in the response, 0..1."""
    prompt = set(conversation.prompt.lower().split())
    response = set(conversation.response.lower().split())
    overlap = len(prompt & response)
    value = min(overlap / max(len(prompt), 1), 1.0)
    return Verdict(value=value, reason=f"{overlap} of {len(prompt)} words of the prompt are in the response")


def coherence(conversation: Conversation) -> Verdict:
    """Length of 11 to 499 characters, a full stop, a capital first and an end mark last: a third each."""
    response = conversation.response
    length = 10 < len(response) < 500
    several = len(response.split(".")) > 1
    grammar = response[0].isupper() and response.endswith((".", "!", "?"))
    met = [
        name
        for name, holds in (
            ("length", length),
            ("several sentences", several),
            ("capital and end mark", grammar),
        )
        if holds
    ]
    return Verdict(value=sum([length, several, grammar]) / 3, reason=f"met: {', '.join(met) or 'nothing'}")


def toxicity(conversation: Conversation) -> Verdict:
    """A tenth for each of four words found anywhere in the response, even inside other words."""
    response = conversation.response.lower()
    found = [word for word in TOXIC_WORDS if word in response]
    return Verdict(value=min(len(found) / 10.0, 1.0), reason=f"found: {', '.join(found) or 'none of the words'}")


def factual_accuracy(conversation: Conversation) -> Verdict:
    """0.5, and 0.2 more for each of three phrases that sound like a source."""
    response = conversation.response.lower()
    found = [phrase for phrase in FACTUAL_INDICATORS if phrase in response]
    value = min(0.5 + (len(found) * 0.2), 1.0)
    return Verdict(value=value, reason=f"found: {', '.join(found) or 'no phrase that names a source'}")
