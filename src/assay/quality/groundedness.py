"""Groundedness: is what the answer says in the text it was given?

In: the response and something to check it against. Out: 0..1 from the share of the answer's words and
word pairs that the text has, less a penalty for numbers and names that the text lacks. Each sentence
is held against the chunk that supports it best. No weights but word rarities; constants chosen on the
dev rows of 13 human-labelled sets (docs/quality.md).
"""

from __future__ import annotations

from itertools import pairwise

import msgspec

from assay.quality.scorer import Conversation, Verdict, logistic, unknown, version_of
from assay.quality.text import CONTEXT_CHARS, RESPONSE_CHARS, STOP_WORDS
from assay.quality.words import Reading, Words

STOP_WORD_WEIGHT = 0.15
NOVELTY_PENALTY = 0.15
MOST_NOVELTIES = 5
MIDDLE = 1.15
STEEPNESS = 3.0
SYSTEM_WORDS = 60
"""A system prompt this long may hold facts; a shorter one is instructions only."""
PROMPT_WORDS = 80
"""A user text this long brings its own material ("summarise this: ..."); a shorter one is a question."""
MOST_CHUNKS = 16


class Source(msgspec.Struct, frozen=True):
    """One chunk of context as sets of stems and of neighbouring stems."""

    stems: frozenset[str]
    pairs: frozenset[tuple[str, str]]


class Support(msgspec.Struct, frozen=True):
    """How far one sentence is in its best source; `novel` lists its numbers and names that are not."""

    weight: float
    covered: float
    pairs: int
    pairs_found: int
    numbers: tuple[str, ...]
    names: tuple[str, ...]
    sentence: str

    @property
    def total(self) -> float:
        """The sentence's own sum, on the scale of the whole answer's."""
        coverage = self.covered / self.weight if self.weight else 1.0
        neighbours = self.pairs_found / self.pairs if self.pairs else coverage
        return coverage + neighbours - NOVELTY_PENALTY * (len(self.numbers) + len(self.names))


class Groundedness:
    """Scorer "groundedness" of the local set."""

    name = "groundedness"
    scorer = "local"

    def __init__(self, words: Words) -> None:
        self._words = words
        self.version = version_of("groundedness 1", words.version, f"{MIDDLE} {STEEPNESS}")

    def score(self, conversation: Conversation) -> Verdict:
        """Null without an answer in words, and without a text to check it against."""
        response = self._words.read(conversation.response, RESPONSE_CHARS)
        form = response.kind
        if not response.words:
            return unknown(f"not assessable: {'empty response' if form == 'empty' else 'no words'}", form)
        origin, chunks = self._context(conversation)
        if not chunks:
            return unknown("not assessable: nothing to check the answer against", "no context")
        supports = self.supports(response, [source(chunk) for chunk in chunks])
        value = logistic(STEEPNESS * (total(supports) - MIDDLE))
        confidence = 0.3 if form != "prose" else 0.6 if origin != "the context" else 0.8
        return Verdict(value=value, reason=_reason(supports, origin), confidence=confidence)

    def _context(self, conversation: Conversation) -> tuple[str, list[list[str]]]:
        """Documents and tool results; else a long system prompt; else a long user text."""
        stems = self._words.stems
        given = [stems(text, CONTEXT_CHARS) for text in conversation.context[:MOST_CHUNKS]]
        given = [chunk for chunk in given if chunk]
        if given:
            return "the context", given
        for origin, text, least in (
            ("the system prompt", conversation.system, SYSTEM_WORDS),
            ("the user's text", conversation.prompt, PROMPT_WORDS),
        ):
            chunk = stems(text, CONTEXT_CHARS) if len(text) > 3 * least else []
            if len(chunk) >= least:
                return origin, [chunk]
        return "", []

    def supports(self, response: Reading, sources: list[Source]) -> list[Support]:
        """The best support of every sentence of the response."""
        ends = [*response.starts[1:], len(response.words)]
        return [
            max(
                (self._support(response, place, start, end, s) for s in sources),
                key=lambda found: found.total,
            )
            for place, (start, end) in enumerate(zip(response.starts, ends, strict=True))
        ]

    def _support(self, response: Reading, place: int, start: int, end: int, source: Source) -> Support:
        stems = response.stems[start:end]
        weights = {s: self._weight(s, w) for s, w in zip(stems, response.lower[start:end], strict=True)}
        pairs = list(pairwise(stems))
        new = [w for w, s in zip(response.words[start:end], stems, strict=True) if s not in source.stems]
        opening = response.words[start]
        return Support(
            weight=sum(weights.values()),
            covered=sum(weight for s, weight in weights.items() if s in source.stems),
            pairs=len(pairs),
            pairs_found=sum(pair in source.pairs for pair in pairs),
            numbers=tuple(w for w in new if w[0].isdigit()),
            names=tuple(w for w in new if w[0].isupper() and len(w) > 1 and w is not opening),
            sentence=response.sentences[place],
        )

    def _weight(self, stem: str, word: str) -> float:
        return self._words.rarity(stem) * (STOP_WORD_WEIGHT if word in STOP_WORDS else 1.0)


def total(supports: list[Support]) -> float:
    """Coverage + pair coverage - penalties over all sentences: -1.5 (nothing found) to 2 (all of it)."""
    weight = sum(s.weight for s in supports)
    pairs = sum(s.pairs for s in supports)
    coverage = sum(s.covered for s in supports) / weight if weight else 1.0
    neighbours = sum(s.pairs_found for s in supports) / pairs if pairs else coverage
    numbers = min(sum(len(s.numbers) for s in supports), MOST_NOVELTIES)
    names = min(sum(len(s.names) for s in supports), MOST_NOVELTIES)
    return coverage + neighbours - NOVELTY_PENALTY * (numbers + names)


def source(stems: list[str]) -> Source:
    """A chunk as sets, given its stems in order."""
    return Source(frozenset(stems), frozenset(pairwise(stems)))


def _reason(supports: list[Support], origin: str) -> str:
    unsupported = [s for s in supports if s.total < MIDDLE]
    line = f"{len(supports) - len(unsupported)} of {len(supports)} sentences supported by {origin}"
    if unsupported:
        worst = min(unsupported, key=lambda s: s.total)
        line += f'; not supported: "{_short(worst.sentence)}"'
    novel = list(dict.fromkeys(n for s in supports for n in (*s.numbers, *s.names)))
    if novel:
        line += f"; not in it: {', '.join(novel[:5])}"
    return line


def _short(sentence: str, most: int = 80) -> str:
    sentence = " ".join(sentence.split())
    return sentence if len(sentence) <= most else sentence[: most - 1] + "…"
