"""Toxicity: does the text insult, threaten, hate or harm?

In: the response (or the prompt, scored apart: a refusal repeats harmful words). Out: 0..1, where 0.5 is
the level that about one in a hundred natural harmless texts reaches. A linear model over hashed n-grams
of bytes and words (weights/toxicity.npz, written by training/toxicity.py) reads each stretch of 40 words,
the worst counts; a list of flagged words adds a second opinion and the reason.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.quality.scorer import Conversation, Verdict, logistic, unknown, version_of
from assay.quality.text import RESPONSE_CHARS, clean
from assay.quality.words import WEIGHTS

Floats = NDArray[np.float32]
Integers = NDArray[np.uint32]

BYTE_BUCKETS = 1 << 18
WORD_BUCKETS = 1 << 17
SEGMENT_WORDS = 40

_WEB = re.compile(r"https?://\S+|@\w+")
_SPACE = re.compile(r"\s+")
_TOKEN = re.compile(r"[^\W_]+(?:['*$@!][^\W_]+)*")
_SPELLED_OUT = re.compile(r"\b(?:\w[ .*_-]){2,}\w\b")
_MIXED_SCRIPT = re.compile(r"(?<![a-z\u0370-\u04ff])[a-z]*[\u0370-\u04ff][a-z\u0370-\u04ff]*")
_LOOKALIKES = str.maketrans("аеорсухіјѕԁһкмтвнαορνικ", "aeopcyxijsdhkmtbhaopvik")
_LEET = str.maketrans("013457@$!", "oieastasi")


class Readout(msgspec.Struct, frozen=True):
    """What the model says of one text: a score for each 40 words, and the flagged words in it."""

    stretches: Floats
    starts: list[int]
    flagged: tuple[str, ...]
    text: str

    @property
    def features(self) -> tuple[float, float]:
        """Inputs of the last layer: the worst stretch, number of different flagged words (at most 5)."""
        return float(self.stretches.max()), float(min(len(self.flagged), 5))


class ToxicityModel:
    """Weights of the n-gram model and of the layer that joins its views. Immutable."""

    def __init__(self, weights: Floats, bias: float, listed: frozenset[str], layer: Floats, version: str) -> None:
        self._bytes = weights[:BYTE_BUCKETS]
        self._words = weights[BYTE_BUCKETS:]
        self._bias = bias
        self._listed = listed
        self._layer = layer
        self.version = version

    def read(self, text: str) -> Readout:
        """The n-gram scores of a text of at least one character."""
        folded = fold(text)
        grams = ngrams(folded)
        stretches = _scaled_sums(self._bytes, grams.bytes, grams.byte_starts)
        stretches += _scaled_sums(self._words, grams.words, grams.word_starts)
        found = flagged_words(folded, self._listed)
        return Readout(stretches + self._bias, grams.text_starts, found, folded)

    def logit(self, readout: Readout) -> float:
        """Evidence of toxicity: 0 at the level that one in a hundred harmless texts passes."""
        return float(np.dot(self._layer[:-1], readout.features) + self._layer[-1])


class Toxicity:
    """Scorer "toxicity" of the local set; with field="prompt" the same for the user's text."""

    scorer = "local"

    def __init__(
        self,
        model: ToxicityModel,
        name: str = "toxicity",
        field: Literal["response", "prompt"] = "response",
    ) -> None:
        self._model = model
        self._field = field
        self.name = name
        self.version = version_of("toxicity 1", model.version)

    def score(self, conversation: Conversation) -> Verdict:
        """Null for a text without letters or digits; confidence is low outside English letters."""
        text = conversation.response if self._field == "response" else conversation.prompt
        cleaned = clean(text, RESPONSE_CHARS)
        if not any(map(str.isalnum, cleaned)):
            return unknown(f"not assessable: no words in the {self._field}", "empty")
        readout = self._model.read(cleaned)
        value = logistic(self._model.logit(readout))
        confidence = 0.7 if cleaned.isascii() else 0.3 if _mostly_foreign(cleaned) else 0.6
        return Verdict(value=value, reason=_reason(readout, value), confidence=confidence)


def _mostly_foreign(text: str) -> bool:
    return sum(c.isascii() for c in text) < 0.7 * len(text)


def _reason(readout: Readout, value: float) -> str:
    if value < 0.5 and not readout.flagged:
        return "no insult, threat or slur found"
    if value < 0.5:
        return f"harmless overall, though it has: {', '.join(readout.flagged[:5])}"
    start = readout.starts[int(readout.stretches.argmax())]
    around = readout.text[start : start + 80].strip()
    named = f"; words: {', '.join(readout.flagged[:5])}" if readout.flagged else ""
    return f'reads as toxic around "{around}"{named}'


def fold(text: str) -> str:
    """Lower case, addresses and handles out, lookalike letters and spelled-out words put right."""
    text = _SPACE.sub(" ", _WEB.sub(" ", text.lower())).strip()
    if not text.isascii():
        text = _MIXED_SCRIPT.sub(_latinised, text)
    return _SPELLED_OUT.sub(lambda found: re.sub(r"[ .*_-]", "", found.group()), text)


def _latinised(found: re.Match[str]) -> str:
    word = found.group()
    latin = word.translate(_LOOKALIKES)
    return latin if latin.isascii() else word


def flagged_words(folded: str, listed: frozenset[str]) -> tuple[str, ...]:
    """The listed words in the text, each once, also where digits or signs stand for letters."""
    tokens = _TOKEN.findall(folded)
    found = [t for t in tokens if t in listed or (not t.isalpha() and t.translate(_LEET) in listed)]
    return tuple(dict.fromkeys(found))


class NGrams(msgspec.Struct, frozen=True):
    """Hashed n-grams in text order, and where each stretch of 40 words begins in them."""

    bytes: Integers
    words: Integers
    byte_starts: list[int]
    word_starts: list[int]
    text_starts: list[int]


def ngrams(folded: str) -> NGrams:
    """Byte 3- to 5-grams (three per position, interleaved) and word 1- and 2-grams of a folded text."""
    raw = np.frombuffer(f"  {folded}    ".encode(errors="ignore"), np.uint8)
    starts, ends = _word_bounds(raw)
    firsts = starts[::SEGMENT_WORDS]
    return NGrams(
        _byte_grams(raw.astype(np.uint32)),
        _word_grams(raw.astype(np.uint32), starts, ends),
        [0, *(3 * firsts[1:]).tolist()],
        list(range(0, 2 * max(len(starts), 1), 2 * SEGMENT_WORDS)),
        [max(int(first) - 2, 0) for first in firsts] or [0],
    )


def _word_bounds(raw: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    letters = (raw >= 97) & (raw <= 122)
    inside = letters | (raw >= 128) | ((raw >= 48) & (raw <= 57)) | (raw == 39) | (raw == 42) | (raw == 36)
    edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    return edges[::2], edges[1::2]


def _byte_grams(raw: Integers) -> Integers:
    three = raw[:-4] * np.uint32(0x9E3779B1) ^ (raw[1:-3] + np.uint32(1)) * np.uint32(0x85EBCA77)
    three ^= (raw[2:-2] + np.uint32(2)) * np.uint32(0xC2B2AE3D)
    four = three * np.uint32(0x01000193) ^ (raw[3:-1] + np.uint32(3)) * np.uint32(0x27D4EB2F)
    five = four * np.uint32(0x01000193) ^ (raw[4:] + np.uint32(5)) * np.uint32(0x165667B1)
    return _mixed(np.stack([three, four, five], axis=1).ravel()) & np.uint32(BYTE_BUCKETS - 1)


def _word_grams(raw: Integers, starts: NDArray[np.intp], ends: NDArray[np.intp]) -> Integers:
    """Hashes of every word, each followed by that of the pair it makes with the next word."""
    if not len(starts):
        return np.zeros(0, np.uint32)
    lengths = ends - starts
    first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    place: NDArray[np.intp] = np.arange(int(lengths.sum())) - np.repeat(first, lengths)
    letters = raw[place + np.repeat(starts, lengths)] + (place.astype(np.uint32) << np.uint32(8))
    word = np.add.reduceat(_mixed(letters * np.uint32(0x9E3779B1)), first, dtype=np.uint32)
    pair = word * np.uint32(31) + np.append(word[1:], np.uint32(0)) * np.uint32(0x85EBCA77) + np.uint32(7)
    return _mixed(np.stack([word, pair], axis=1).ravel()) & np.uint32(WORD_BUCKETS - 1)


def _mixed(hashes: Integers) -> Integers:
    """Bits spread so that the low ones depend on all (murmur3's finaliser, shortened)."""
    hashes ^= hashes >> np.uint32(15)
    hashes *= np.uint32(0x2C1B3C6D)
    hashes ^= hashes >> np.uint32(12)
    return hashes


def _scaled_sums(weights: Floats, buckets: Integers, starts: list[int]) -> Floats:
    """Per stretch: the sum of its n-grams' weights over the square root of their count."""
    if not len(buckets):
        return np.zeros(len(starts), np.float32)
    counts = np.diff(starts, append=len(buckets)).astype(np.float32)
    sums = np.add.reduceat(weights[buckets], starts)
    return (sums / np.sqrt(np.maximum(counts, 1))).astype(np.float32)


def load_flagged_words(path: Path = WEIGHTS / "flagged_words.txt") -> frozenset[str]:
    """The shipped list of insults, profanity, slurs and sexual words."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def load_toxicity(path: Path = WEIGHTS / "toxicity.npz") -> ToxicityModel:
    """The shipped model. Raises OSError where a file is missing or not an .npz of plain arrays."""
    listed = load_flagged_words()
    with np.load(path, allow_pickle=False) as stored:
        weights = stored["weights"].astype(np.float32) * np.float32(stored["scale"])
        version = version_of(path.read_bytes(), *sorted(listed))
        return ToxicityModel(weights, float(stored["bias"]), listed, stored["layer"], version)
