"""Groundedness: is what the answer says in the text it was given?

In: the response and something to check it against. Out: 0..1 from the share of the answer's words and word
pairs that the text has, how much of the weakest sentence stands together in one passage of it, less a penalty
for numbers and names that the text lacks and for speaking of oneself. Each sentence is held against the chunk
that supports it best. No weights but word rarities; the constants were chosen on the development rows of 12
human-labelled sets (docs/quality.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, repeat
from operator import itemgetter

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.quality.kind import Kind, hindrance
from assay.quality.scorer import Conversation, Verdict, logistic, unknown, version_of
from assay.quality.text import CONTEXT_CHARS, RESPONSE_CHARS, clean, has_words, words
from assay.quality.words import Floats, Reading, Words

STOP_WORD_WEIGHT = 0.15
NUMBER_PENALTY = 0.25
NAME_PENALTY = 0.2
MOST_NOVELTIES = 5
SELF_PENALTY = 0.2
WEAKEST_WEIGHT = 0.5
PASSAGE_WORDS = 30
"""A passage is twice as many words of a chunk; passages overlap by half."""
MIDDLE = 1.4
STEEPNESS = 2.5
SYSTEM_WORDS = 60
"""A system prompt this long may hold facts; a shorter one is instructions only."""
PROMPT_WORDS = 80
"""A user text this long brings its own material ("summarise this: ..."); a shorter one is a question."""
MOST_CHUNKS = 16
OF_ONESELF = frozenset({"i", "my", "me", "we", "i'm", "i've"})

_CONSTANTS = (STOP_WORD_WEIGHT, NUMBER_PENALTY, NAME_PENALTY, SELF_PENALTY, WEAKEST_WEIGHT, MIDDLE, STEEPNESS)
_SCORED: frozenset[Kind] = frozenset({"json", "table"})


class Support(msgspec.Struct, frozen=True):
    """How far one sentence is in its best chunk; `numbers` and `names` are those that the chunk lacks."""

    weight: float
    covered: float
    passage: float
    pairs: int
    pairs_found: int
    numbers: tuple[str, ...]
    names: tuple[str, ...]
    of_oneself: bool
    sentence: str

    @property
    def total(self) -> float:
        """The sentence's own sum, on the scale of the whole answer's."""
        return total([self])


class Groundedness:
    """Scorer "groundedness" of the local set."""

    name = "groundedness"
    scorer = "local"

    def __init__(self, words: Words) -> None:
        self._words = words
        self.version = version_of("groundedness 2", words.version, repr(_CONSTANTS))

    def score(self, conversation: Conversation) -> Verdict:
        """Null for refusals, code, other languages, no words, and without a text to check the answer against."""
        response = self._words.read(conversation.response, RESPONSE_CHARS)
        hindered = hindrance(conversation, response.kind, bool(response.refusal), _SCORED)
        if hindered is not None:
            return hindered
        if not response.words:
            return unknown("not assessable: no words in the response", "short")
        origin, chunks = self._context(conversation)
        if not chunks:
            return unknown("not assessable: nothing to check the answer against", "no context")
        supports = self.supports(response, chunks)
        value = logistic(STEEPNESS * (total(supports) - MIDDLE))
        confidence = 0.3 if response.kind != "prose" else 0.6 if origin != "the context" else 0.8
        return Verdict(value=value, reason=_reason(supports, origin), confidence=confidence)

    def _context(self, conversation: Conversation) -> tuple[str, list[list[str]]]:
        origin, texts = grounds(conversation)
        return origin, [self._words.stems(text, CONTEXT_CHARS) for text in texts]

    def supports(self, response: Reading, chunks: list[list[str]]) -> list[Support]:
        """The best support of every sentence of the response, given each chunk's stems in order."""
        claims = _Claims(response, self._words)
        found = [claims.supports(chunk) for chunk in chunks]
        if len(found) == 1:
            return found[0]
        return [max(of_one, key=lambda support: support.total) for of_one in zip(*found, strict=True)]


def grounds(conversation: Conversation) -> tuple[str, list[str]]:
    """What the answer can be checked against and its name: ("", []) where there is nothing.

    Documents and tool results, each a text; else a long system prompt; else a long user text.
    """
    given = [text for text in conversation.context[:MOST_CHUNKS] if has_words(clean(text, CONTEXT_CHARS))]
    if given:
        return "the context", given
    for origin, text, least in (
        ("the system prompt", conversation.system, SYSTEM_WORDS),
        ("the user's text", conversation.prompt, PROMPT_WORDS),
    ):
        if len(text) > 3 * least and len(words(clean(text, CONTEXT_CHARS))) >= least:
            return origin, [text]
    return "", []


class _Claims:
    """The sentences of a response, made ready to be looked up in chunk after chunk."""

    def __init__(self, response: Reading, words: Words) -> None:
        self._reading = response
        weights = words.weights(response, STOP_WORD_WEIGHT)
        self._index = {stem: place for place, stem in enumerate(weights)}
        self._ids = np.array(list(map(self._index.__getitem__, response.stems)))
        self._spans = list(pairwise([*response.starts, len(response.words)]))
        rarities = np.array(list(weights.values()), np.float32)
        self._weights: Floats = np.zeros((len(self._index), len(self._spans)), np.float32)
        sentence = np.repeat(np.arange(len(self._spans)), [end - start for start, end in self._spans])
        self._weights[self._ids, sentence] = rarities[self._ids]
        self._totals = self._weights.sum(0)
        self._telling = [list(self._tells(start, end)) for start, end in self._spans]

    def _tells(self, start: int, end: int) -> Iterator[tuple[int, str, str]]:
        """Places of the numbers, the names and the words of oneself in a sentence, with what they are."""
        for place, word in enumerate(self._reading.words[start:end], start):
            if word[0].isdigit():
                yield place, "number", word
            elif self._reading.lower[place] in OF_ONESELF:
                yield place, "oneself", word
            elif place > start and len(word) > 1 and word[0].isupper():
                yield place, "name", word

    def supports(self, chunk: list[str]) -> list[Support]:
        """How far each sentence is in one chunk."""
        places = np.array(list(map(self._index.get, chunk, repeat(-1))))
        at = np.flatnonzero(places >= 0)
        passage, stem = at // PASSAGE_WORDS, places[at]
        passages = np.zeros((len(chunk) // PASSAGE_WORDS + 2, len(self._index)), np.float32)
        passages[passage, stem] = 1
        passages[passage + 1, stem] = 1
        known = passages.max(axis=0)
        covered = (known @ self._weights).tolist()
        together = ((passages @ self._weights).max(0) / np.maximum(self._totals, 1e-9)).tolist()
        totals = self._totals.tolist()
        pairs = [0, *self._pairs_found(places).cumsum().tolist()]
        has = known[self._ids].tolist()
        return [
            Support(
                weight=totals[place],
                covered=covered[place],
                passage=together[place] if totals[place] else 1.0,
                pairs=end - start - 1,
                pairs_found=pairs[end - 1] - pairs[start],
                numbers=tuple(word for p, kind, word in telling if kind == "number" and not has[p]),
                names=tuple(word for p, kind, word in telling if kind == "name" and not has[p]),
                of_oneself=any(kind == "oneself" and not has[p] for p, kind, _ in telling),
                sentence=self._reading.sentences[place],
            )
            for place, ((start, end), telling) in enumerate(zip(self._spans, self._telling, strict=True))
        ]

    def _pairs_found(self, places: NDArray[np.intp]) -> NDArray[np.bool_]:
        """For each word of the response but the last: whether the chunk has it before the same next word."""
        size = len(self._index)
        first, second = places[:-1], places[1:]
        both = (first >= 0) & (second >= 0)
        neighbours = np.zeros(size * size, np.bool_)
        neighbours[first[both] * size + second[both]] = True
        return neighbours[self._ids[:-1] * size + self._ids[1:]]


def total(supports: list[Support]) -> float:
    """Coverage + pair coverage + part of the weakest passage - penalties: about -2 (nothing) to 2.5 (all of it)."""
    weight = sum(s.weight for s in supports)
    pairs = sum(s.pairs for s in supports)
    coverage = sum(s.covered for s in supports) / weight if weight else 1.0
    neighbours = sum(s.pairs_found for s in supports) / pairs if pairs else coverage
    numbers = min(sum(len(s.numbers) for s in supports), MOST_NOVELTIES)
    names = min(sum(len(s.names) for s in supports), MOST_NOVELTIES)
    penalty = NUMBER_PENALTY * numbers + NAME_PENALTY * names + SELF_PENALTY * any(s.of_oneself for s in supports)
    return coverage + neighbours + WEAKEST_WEIGHT * min(s.passage for s in supports) - penalty


def _reason(supports: list[Support], origin: str) -> str:
    unsupported = [(of_one, s.sentence) for s in supports if (of_one := s.total) < MIDDLE]
    line = f"{len(supports) - len(unsupported)} of {len(supports)} sentences supported by {origin}"
    if unsupported:
        line += f'; not supported: "{short(min(unsupported, key=itemgetter(0))[1])}"'
    novel = list(dict.fromkeys(n for s in supports for n in (*s.numbers, *s.names)))
    if novel:
        line += f"; not in it: {', '.join(novel[:5])}"
    return line


def short(sentence: str, most: int = 80) -> str:
    """A sentence on one line, cut where it is long, as reasons quote it."""
    sentence = " ".join(sentence.split())
    return sentence if len(sentence) <= most else sentence[: most - 1] + "…"
