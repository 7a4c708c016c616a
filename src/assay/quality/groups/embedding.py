"""Embed templates: 64 numbers each, whose dot products say how alike two questions are.

A template's vector is the sum of its words' vectors (the first axes of the shipped ones: those are ordered by how
much of the sentences' variance they hold), scaled to length 1. A word without a vector adds a hashed vector for each
of its character n-grams instead: such words are alike where they are spelt alike, which is all that can be said of
them, and all there is in languages that the vectors do not know.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from itertools import chain
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from assay.quality.groups.mask import PLACEHOLDER
from assay.quality.groups.mask import VERSION as MASK_VERSION
from assay.quality.scorer import version_of
from assay.quality.text import words as words_of
from assay.quality.words import WEIGHTS, Floats, Remembered, Words, load_words, unit

DIMENSIONS = 64
_GRAMS = 4096
_USUAL_GRAMS = 5
"""Of a word; a hashed word of so many is as long as a usual one."""
_UNSPACED = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]")
"""Scripts whose words are short or not set apart: two characters say there what three say elsewhere."""


class Embedder:
    """Vectors of templates. Thread-safe."""

    def __init__(self, words: Words) -> None:
        known = words.table(DIMENSIONS)
        usual = float(np.median(np.linalg.norm(known, axis=1)))
        self._words = words
        self._first_gram = len(known)
        self._table: Floats = np.concatenate([known, _hashed_vectors() * np.float32(usual / _USUAL_GRAMS**0.5)])
        self._rows = Remembered(self._rows_of)

    def embed(self, templates: Sequence[str]) -> Floats:
        """One row a template, of length 1 and exact in bfloat16; zeros for a template without any letter or digit."""
        found = [list(chain.from_iterable(map(self._rows.__getitem__, _tokens(one)))) for one in templates]
        vectors = np.zeros((len(found), DIMENSIONS), np.float32)
        for vector, rows in zip(vectors, found, strict=True):
            if rows:
                np.add.reduce(self._table.take(rows, 0), 0, out=vector)
        return rounded(unit(vectors))

    def _rows_of(self, word: str) -> list[int]:
        row = self._words.row(word)
        if row >= 0:
            return [row]
        size, padded = (2, word) if _UNSPACED.search(word) else (3, f" {word} ")
        grams = {padded[start : start + size] for start in range(max(len(padded) - size + 1, 1))}
        return [self._first_gram + crc32(gram.encode(errors="replace")) % _GRAMS for gram in sorted(grams)]


@cache
def embedding_version() -> str:
    """Of templates and vectors together: where it changed, all prompts are read anew."""
    return version_of(f"embedding 1 {DIMENSIONS} {MASK_VERSION}", (WEIGHTS / "words.npz").read_bytes())


def load_embedder() -> Embedder:
    """An Embedder with the shipped word vectors."""
    return Embedder(load_words())


def rounded(vectors: Floats) -> Floats:
    """The nearest numbers that bfloat16 can hold, in which vectors are stored: half the room, 3 digits."""
    bits: NDArray[np.uint32] = np.ascontiguousarray(vectors, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def _tokens(template: str) -> list[str]:
    """Words in lower case. Placeholders say little beside words, and are all there is of a prompt without any."""
    found = words_of(PLACEHOLDER.sub(" ", template).lower())
    return found or words_of(template.lower())


def _hashed_vectors() -> Floats:
    """A vector of length 1 for each hash, the same on every machine and for ever."""
    bits = np.frombuffer(hashlib.shake_128(b"assay n-grams").digest(_GRAMS * DIMENSIONS // 8), np.uint8)
    signs = np.unpackbits(bits).reshape(_GRAMS, DIMENSIONS).astype(np.float32) * 2 - 1
    return signs / np.float32(DIMENSIONS**0.5)
