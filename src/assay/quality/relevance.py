"""Relevance: does the answer speak about what was asked?

In: prompt and response. Out: 0..1, from how many of the prompt's rare words the answer takes up and
how close both lie in a space of word vectors. Nothing here was trained on labels; three constants map
the sum to a scale on which 0.5 separates own answers from those to other prompts.
"""

from __future__ import annotations

import msgspec
import numpy as np

from assay.quality.kind import Kind, hindrance
from assay.quality.scorer import Conversation, Verdict, logistic, unknown, version_of
from assay.quality.text import RESPONSE_CHARS, STOP_WORDS
from assay.quality.words import Floats, Reading, Words, cosine, length

STOP_WORD_WEIGHT = 0.1
MIDDLE = 0.85
STEEPNESS = 2.5
PRIOR_WORDS = 2
"""Below the middle so many words that say nothing are added to an answer's content words: that "Yes, I do" shares
no word with the question proves little."""
_NONE = np.float32(1e-9)
_SCORED: frozenset[Kind] = frozenset({"table"})


class Evidence(msgspec.Struct, frozen=True):
    """The four summands, each at most 1, and the rarest prompt words found and missed."""

    recall: float
    whole: float
    question: float
    best_sentence: float
    found: tuple[str, ...]
    missed: tuple[str, ...]

    @property
    def total(self) -> float:
        return self.recall + self.whole + self.question + self.best_sentence


class Relevance:
    """Scorer "relevance" of the local set."""

    name = "relevance"
    scorer = "local"

    def __init__(self, words: Words) -> None:
        self._words = words
        self.version = version_of("relevance 2", words.version, f"{MIDDLE} {STEEPNESS} {PRIOR_WORDS}")

    def score(self, conversation: Conversation) -> Verdict:
        """Null for refusals, code, JSON, other languages, and where prompt or answer has no content."""
        response = self._words.read(conversation.response, RESPONSE_CHARS)
        prompt = self._words.read(conversation.prompt, RESPONSE_CHARS)
        hindered = hindrance(conversation, response.kind, bool(response.refusal), _SCORED)
        hindered = hindered or _without_content(prompt, response)
        if hindered is not None:
            return hindered
        evidence = self.evidence(prompt, response)
        if evidence.recall < 0.5 and not (self._words.knows(prompt) and self._words.knows(response)):
            return unknown("not assessable: too few known words to compare", "short")
        value = logistic(STEEPNESS * _tempered(evidence.total - MIDDLE, len(response.content)))
        return Verdict(value=value, reason=_reason(evidence), confidence=_confidence(prompt, response))

    def evidence(self, prompt: Reading, response: Reading) -> Evidence:
        """The summands for a prompt and a response that both have words.

        Where one side has no vectors (numbers, rare names), its word recall stands in for the cosines.
        """
        recall, found, missed = self._recall(prompt, response)
        if not (self._words.knows(prompt) and self._words.knows(response)):
            return Evidence(recall, recall, recall, recall, found, missed)
        asked = self._words.sentence_vectors(prompt)
        answered = self._words.sentence_vectors(response)
        last, whole, answer = _question(asked), np.add.reduce(asked), np.add.reduce(answered)
        return Evidence(
            recall,
            cosine(whole, answer),
            cosine(last, answer),
            float(((answered @ last) / (np.sqrt(np.vecdot(answered, answered)) + _NONE)).max()) / length(last),
            found,
            missed,
        )

    def _recall(self, prompt: Reading, response: Reading) -> tuple[float, tuple[str, ...], tuple[str, ...]]:
        answered = set(response.stems)
        weights = self._words.weights(prompt, STOP_WORD_WEIGHT)
        shown = dict(zip(prompt.stems, prompt.words, strict=True))
        ranked = sorted(weights, key=weights.__getitem__, reverse=True)
        ranked = [s for s in ranked if shown[s].lower() not in STOP_WORDS]
        covered = sum(weight for s, weight in weights.items() if s in answered)
        return (
            covered / sum(weights.values()),
            tuple(shown[s] for s in ranked if s in answered)[:3],
            tuple(shown[s] for s in ranked if s not in answered)[:3],
        )


def _tempered(above_middle: float, content_words: int) -> float:
    return above_middle if above_middle > 0 else above_middle * content_words / (content_words + PRIOR_WORDS)


def _without_content(prompt: Reading, response: Reading) -> Verdict | None:
    if not prompt.content:
        return unknown("not assessable: the prompt has no content words", "short")
    if prompt.kind == "foreign":
        return unknown("not assessable: the prompt is not in English", "foreign")
    if not response.content:
        return unknown("not assessable: the response has no content words", "short")
    return None


def _question(asked: Floats) -> Floats:
    """The vector of the last sentence that has one: in a long prompt the question tends to come last."""
    return next((vector for vector in asked[::-1] if vector.any()), asked[-1])


def _confidence(prompt: Reading, response: Reading) -> float:
    """Share of content words with a known vector, scaled down where there are few of them."""
    counted = len(prompt.rows) + len(response.rows)
    known = (prompt.known + response.known) / counted
    return round(known * min(1.0, min(len(prompt.content), len(response.content)) / 3), 2)


def _reason(evidence: Evidence) -> str:
    parts = [f"closest sentence {max(evidence.best_sentence, 0.0):.2f} to the question"]
    if evidence.found:
        parts.append("takes up: " + ", ".join(evidence.found))
    if evidence.missed:
        parts.append("leaves out: " + ", ".join(evidence.missed))
    return "; ".join(parts)
