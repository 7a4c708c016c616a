"""Shipped word statistics: a vector and a rarity for English words, and texts read with them.

In: weights/words.npz (written by training/word_vectors.py). Out: a Words object, loaded once and handed
to the scorers that need it, and Readings: a text cut once and shared by all scorers of a conversation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from assay.quality.kind import Kind, kind
from assay.quality.refusal import refusal
from assay.quality.scorer import SHARED, version_of
from assay.quality.text import STOP_WORDS, clean, prose, sentences, stem, words

Floats = NDArray[np.float32]
Value = TypeVar("Value")

WEIGHTS = Path(__file__).parent / "weights"
MOST_AT_ONCE = 40
"""Rows of a product of matrices: OpenBLAS wakes its threads for more, and they cost more than they spare."""
_READINGS_KEPT = 4 * SHARED
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

    @cached_property
    def known(self) -> int:
        """How many words have a vector."""
        return int(np.count_nonzero(self.rows >= 0))


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
        self._vectors: NDArray[np.int8] = np.concatenate([vectors, np.zeros_like(vectors[:1])])
        self._scale: Floats = np.append(scale, np.float32(0))
        self._rarities = rarities
        self._rarest = rarest
        self._stems = Remembered(stem)
        self._tokens = Remembered(self._facts)
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
        facts = zip(*map(self._tokens.__getitem__, tokens), strict=True)
        lower, stems, rows = map(list, facts) if tokens else ([], [], [])
        return Reading(cleaned, plain, kept, starts, tokens, lower, stems, np.array(rows, np.int32))

    def _facts(self, token: str) -> tuple[str, str, int]:
        """Lower case, stem and row of a word."""
        lower = token.lower()
        return lower, self._stems[lower], self.row(lower)

    def row(self, lower: str) -> int:
        """The row of a lower-case word in the vectors, -1 where it is unknown."""
        return self._row.get(lower, -1)

    def table(self, dimensions: int) -> Floats:
        """One row a word of the vocabulary: the first axes of its vector, those in which texts differ most."""
        return self._vectors[:-1, :dimensions].astype(np.float32) * self._scale[:-1, None]

    def stem(self, lower: str) -> str:
        """`text.stem` of a lower-case word."""
        return self._stems[lower]

    def stems(self, text: str, cap: int) -> list[str]:
        """Stems of a text in order, code included: the cheap part of a Reading."""
        return list(map(self._stems.__getitem__, words(clean(text, cap).lower())))

    def weights(self, reading: Reading, of_stop_words: float) -> dict[str, float]:
        """Rarity of each stem of a text; that of function words times `of_stop_words`."""
        rarity, rarest = self._rarities.get, self._rarest
        return {
            stemmed: rarity(stemmed, rarest) * (of_stop_words if word in STOP_WORDS else 1.0)
            for stemmed, word in zip(reading.stems, reading.lower, strict=True)
        }

    def rarity(self, stemmed: str) -> float:
        """Inverse document frequency of a stem, from about 0.5 ("the") to 10 (never seen)."""
        return self._rarities.get(stemmed, self._rarest)

    def knows(self, reading: Reading) -> bool:
        """Whether any word but function words has a vector."""
        return not self._row.keys().isdisjoint(reading.content)

    def _sentence_vectors(self, reading: Reading) -> Floats:
        """One row a sentence, not normalised: the sum of its words' vectors, 0 where none is known."""
        return self.sums(reading.rows, reading.starts or [0])

    def sums(self, rows: NDArray[np.int32], starts: Sequence[int]) -> Floats:
        """The same for stretches of rows that begin at `starts`, the last at the end of the rows at the latest."""
        found, scales = self._vectors.take(rows, 0).astype(np.float32), self._scale.take(rows)
        sums = np.empty((len(starts), found.shape[1]), np.float32)
        for place, (start, end) in enumerate(zip(starts, [*starts[1:], len(rows)], strict=True)):
            if end - start <= MOST_AT_ONCE:
                np.dot(scales[start:end], found[start:end], out=sums[place])
            else:
                sums[place] = self.sums(rows[start:end], range(0, end - start, MOST_AT_ONCE)).sum(0)
        return sums


class Remembered(dict[str, Value], Generic[Value]):
    """Answers of a function by word, at most 50,000 of them."""

    def __init__(self, answer: Callable[[str], Value]) -> None:
        self._answer = answer

    def __missing__(self, word: str) -> Value:
        found = self._answer(word)
        if len(self) >= _TOKENS_KEPT:
            self.clear()
        self[word] = found
        return found


def cosine(first: Floats, second: Floats) -> float:
    """Likeness of two vectors, -1..1; 0 where one is of zeros."""
    return float(first @ second) / (math.sqrt(float(first @ first) * float(second @ second)) + 1e-9)


def length(vector: Floats) -> float:
    """Of a vector, at least 1e-9."""
    return math.sqrt(float(vector @ vector)) + 1e-9


def unit(vectors: Floats) -> Floats:
    """Rows scaled to length 1; rows of zeros stay zeros."""
    lengths = np.sqrt(np.vecdot(vectors, vectors)) + np.float32(1e-9)
    return np.divide(vectors, lengths[..., None], dtype=np.float32)


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
