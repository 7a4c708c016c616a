"""Shipped word statistics: a vector and a rarity for English words, and texts read with them.

In: weights/words.npz (written by training/word_vectors.py). Out: a Words object, loaded once and handed
to the scorers that need it, and Readings: a text cut once and shared by all scorers of a conversation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assay.quality.kind import Kind, kind
from assay.quality.refusal import refusal
from assay.quality.scorer import version_of
from assay.quality.text import STOP_WORDS, clean, prose, sentences, stem, words

Floats = NDArray[np.float32]

WEIGHTS = Path(__file__).parent / "weights"
_READINGS_KEPT = 32
_TOKENS_KEPT = 50_000


@dataclass(frozen=True, eq=False)
class Reading:
    """One text, cut once. `prose` leaves fenced code out; all lists are parallel and in text order.

    `starts` holds the index of each sentence's first word, `rows` the row of each word in the vectors
    (-1 where unknown). Sentences without a word are left out.
    """

    text: str
    prose: str
    sentences: list[str]
    starts: list[int]
    words: list[str]
    lower: list[str]
    stems: list[str]
    rows: NDArray[np.int32]

    @cached_property
    def kind(self) -> Kind:
        """What kind of text this is: see `kind.kind`."""
        return kind(self.text, self.prose, self.lower)

    @cached_property
    def refusal(self) -> str:
        """The phrase by which this answer declines, or ""."""
        return refusal(self.text)

    @cached_property
    def content(self) -> list[str]:
        """Lower-case words that are not function words."""
        return [word for word in self.lower if word not in STOP_WORDS]


class Words:
    """Vectors and rarities of words. Thread-safe; holds the last few texts it read, and nothing else."""

    def __init__(
        self,
        vocabulary: Sequence[str],
        vectors: NDArray[np.int8],
        scale: Floats,
        rarities: dict[str, float],
        rarest: float,
        version: str,
    ) -> None:
        self._row = {word: row for row, word in enumerate(vocabulary)}
        # One row more, of zeros, is what -1 finds: a word without a vector adds nothing to a sum.
        self._vectors: Floats = np.zeros((len(vectors) + 1, vectors.shape[1]), np.float32)
        np.multiply(vectors, scale[:, None], out=self._vectors[:-1])
        self._rarities = rarities
        self._rarest = rarest
        self._stems: dict[str, str] = {}
        self._tokens: dict[str, tuple[str, str, int]] = {}
        self.version = version
        self.read = lru_cache(maxsize=_READINGS_KEPT)(self._read)
        self.sentence_vectors = lru_cache(maxsize=_READINGS_KEPT)(self._sentence_vectors)

    def __contains__(self, word: str) -> bool:
        return word in self._row

    def _read(self, text: str, cap: int) -> Reading:
        cleaned = clean(text, cap)
        plain = prose(cleaned)
        kept: list[str] = []
        starts: list[int] = []
        tokens: list[str] = []
        for sentence in sentences(plain):
            found = words(sentence)
            if found:
                kept.append(sentence)
                starts.append(len(tokens))
                tokens += found
        known = self._tokens
        facts = [known.get(token) or self._facts(token) for token in tokens]
        lower, stems, rows = map(list, zip(*facts, strict=True)) if facts else ([], [], [])
        return Reading(cleaned, plain, kept, starts, tokens, lower, stems, np.array(rows, np.int32))

    def _facts(self, token: str) -> tuple[str, str, int]:
        """Lower case, stem and row of a word, remembered (at most 50,000 words)."""
        if len(self._tokens) >= _TOKENS_KEPT:
            self._tokens.clear()
        lower = token.lower()
        found = self._tokens[token] = lower, self.stem(lower), self._row.get(lower, -1)
        return found

    def stem(self, lower: str) -> str:
        """`text.stem` of a lower-case word, remembered (at most 50,000 words)."""
        found = self._stems.get(lower)
        if found is None:
            if len(self._stems) >= _TOKENS_KEPT:
                self._stems.clear()
            found = self._stems[lower] = stem(lower)
        return found

    def stems(self, text: str, cap: int) -> list[str]:
        """Stems of a text in order, code included: the cheap part of a Reading."""
        known = self._stems
        return [known.get(token) or self.stem(token) for token in words(clean(text, cap).lower())]

    def rarity(self, stemmed: str) -> float:
        """Inverse document frequency of a stem, from about 0.5 ("the") to 10 (never seen)."""
        return self._rarities.get(stemmed, self._rarest)

    def knows(self, reading: Reading) -> bool:
        """Whether any word but function words has a vector."""
        return not self._row.keys().isdisjoint(reading.content)

    def _sentence_vectors(self, reading: Reading) -> Floats:
        """One row a sentence, not normalised: the sum of its words' vectors, 0 where none is known."""
        return self._sums(reading.rows, reading.starts)

    def sums(self, lower: list[str], starts: list[int]) -> Floats:
        """The same for stretches of words that begin at `starts`."""
        rows = [-1 if row is None else row for row in map(self._row.get, lower)]
        return self._sums(np.array(rows, np.int32), starts)

    def _sums(self, rows: NDArray[np.int32], starts: list[int]) -> Floats:
        if not len(rows):
            return np.zeros((1, self._vectors.shape[1]), np.float32)
        if len(starts) == 1:
            return np.add.reduce(self._vectors[rows], 0, keepdims=True)
        return np.add.reduceat(self._vectors[rows], starts, axis=0)


def cosine(first: Floats, second: Floats) -> float:
    """Likeness of two vectors, -1..1; 0 where one is of zeros."""
    return float(first @ second) / (math.sqrt(float(first @ first) * float(second @ second)) + 1e-9)


def unit(vectors: Floats) -> Floats:
    """Rows scaled to length 1; rows of zeros stay zeros."""
    return vectors / (np.sqrt(np.add.reduce(vectors * vectors, -1, keepdims=True)) + np.float32(1e-9))


def load_words(path: Path = WEIGHTS / "words.npz") -> Words:
    """The shipped statistics. Raises OSError where the file is missing or not an .npz of plain arrays."""
    with np.load(path, allow_pickle=False) as stored:
        vocabulary = stored["words"].tobytes().decode().split("\n")
        stems = stored["stems"].tobytes().decode().split("\n")
        return Words(
            vocabulary,
            stored["vectors"],
            stored["scale"].astype(np.float32),
            dict(zip(stems, stored["stem_idf"].astype(np.float32).tolist(), strict=True)),
            float(stored["rarest"]),
            version_of(path.read_bytes()),
        )
