"""Toxicity: does the text insult, threaten, hate or harm?

In: the response (or the prompt, scored apart: a refusal repeats harmful words). Out: 0..1, where 0.5 is
the level that about one in a hundred natural harmless texts reaches. Each stretch of 40 words is read by a
linear model over hashed n-grams of bytes and words, by a small network over the sum of its word vectors, and
by a list of flagged words; the worst stretches count most (weights/toxicity.npz, by training/toxicity.py).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.quality.scorer import Conversation, Verdict, logistic, unknown, version_of
from assay.quality.text import RESPONSE_CHARS
from assay.quality.words import WEIGHTS, Floats, Words, unit

Integers = NDArray[np.uint32]

BYTE_BUCKETS = 1 << 18
WORD_BUCKETS = 1 << 17
SEGMENT_WORDS = 40
MOST_FLAGGED = 4
SHARPNESS = 6.0
"""How far the worst stretch outweighs the others: 0 is their mean, infinity the worst alone."""

_WEB = re.compile(r"https?://\S+|@\w+")
_BYTE_WORD = re.compile(r"[a-z0-9'*$\u0080-\U0010ffff]+")
_STRETCH = re.compile(
    rf"[^a-z0-9'*$\u0080-\U0010ffff]*((?:[a-z0-9'*$\u0080-\U0010ffff]+[^a-z0-9'*$\u0080-\U0010ffff]*){{1,{SEGMENT_WORDS}}})"
)
_QUOTED = re.compile(r"['*$]")
_DISGUISED = re.compile(r"[0-9*$@!][a-z]|[a-z][0-9*$@]")
_TOKEN = re.compile(r"[^\W_]+(?:['*$@!][^\W_]+)*")
_SPELLED_OUT = re.compile(r"\b(?:\w[ .*_-]){2,}\w\b")
_MIXED_SCRIPT = re.compile(r"(?<![a-z\u0370-\u04ff])[a-z]*[\u0370-\u04ff][a-z\u0370-\u04ff]*")
_LOOKALIKES = str.maketrans("аеорсухіјѕԁһкмтвнαορνικ", "aeopcyxijsdhkmtbhaopvik")
_LEET = str.maketrans("013457@$!", "oieastasi")


class Readout(msgspec.Struct, frozen=True):
    """What the model's three views say of each stretch of a text, where those begin, and the flagged words."""

    ngrams: Floats
    vectors: Floats
    hits: Floats
    starts: list[int]
    flagged: tuple[str, ...]
    text: str

    @property
    def views(self) -> Floats:
        """One row a stretch: evidence of the n-grams, of the word vectors, number of flagged words (at most 4)."""
        return np.stack([self.ngrams, self.vectors, self.hits], axis=1)


class Network(msgspec.Struct, frozen=True):
    """One hidden layer over a unit vector."""

    inner: Floats
    inner_bias: Floats
    outer: Floats
    outer_bias: float

    def __call__(self, vectors: Floats) -> Floats:
        """Evidence of toxicity for each row."""
        return np.maximum(vectors @ self.inner + self.inner_bias, 0) @ self.outer + np.float32(self.outer_bias)


class ToxicityModel:
    """Weights of the views and of the layer that joins them. Immutable. N-gram weights are times `scale`."""

    def __init__(
        self,
        words: Words,
        weights: NDArray[Any],
        scale: float,
        bias: float,
        network: Callable[[Floats], Floats],
        listed: frozenset[str],
        layer: Floats,
        version: str,
    ) -> None:
        self._vocabulary = words
        self._bytes = weights[:BYTE_BUCKETS]
        self._words = weights[BYTE_BUCKETS:]
        self._scale = np.float32(scale)
        self._bias = np.float32(bias)
        self._network = network
        self._listed = listed
        self._join = layer[0], layer[1], layer[2]
        self._slope, self._offset = float(layer[3]), float(layer[4])
        self.version = version

    def read(self, text: str) -> Readout:
        """What each view says of a cleaned text of at least one character."""
        folded = fold(text)
        grams = ngrams(folded)
        stretches = _scaled_sums(self._bytes, grams.bytes, grams.byte_starts)
        stretches += _scaled_sums(self._words, grams.words, grams.word_starts)
        words = grams.tokens
        sums = self._vocabulary.sums(words, list(range(0, max(len(words), 1), SEGMENT_WORDS)))
        found, hits = self._flagged(folded, words, grams.text_starts)
        return Readout(
            stretches * self._scale + self._bias, self._network(unit(sums)), hits, grams.text_starts, found, folded
        )

    def _flagged(self, folded: str, words: list[str], starts: list[int]) -> tuple[tuple[str, ...], Floats]:
        """Flagged words in order, and how many different ones each stretch has."""
        found = flagged_words(folded, words, self._listed)
        hits = np.zeros(len(starts), np.float32)
        if found:
            places = {(bisect_right(starts, at.start()) - 1, at.group()) for at in _TOKEN.finditer(folded)}
            for stretch, token in places:
                hits[stretch] += token in found
        return found, np.minimum(hits, MOST_FLAGGED)

    def evidence(self, readout: Readout) -> Floats:
        """Each stretch's evidence, all views together."""
        of_ngrams, of_vectors, of_hits = self._join
        return readout.ngrams * of_ngrams + readout.vectors * of_vectors + readout.hits * of_hits

    def logit(self, readout: Readout) -> float:
        """Evidence of toxicity: 0 at the level that one in a hundred harmless texts passes."""
        return self._slope * pooled(self.evidence(readout)) + self._offset


def pooled(evidence: Floats) -> float:
    """A mean over stretches in which the worst count most (log-mean-exp): the length of a text changes little."""
    worst = float(evidence.max())
    if len(evidence) == 1:
        return worst
    return worst + float(np.log(np.exp(SHARPNESS * (evidence - worst)).mean())) / SHARPNESS


class Toxicity:
    """Scorer "toxicity" of the local set; with field="prompt", "prompt_toxicity": the user's text."""

    scorer = "local"

    @property
    def words(self) -> Words:
        """The word statistics that it reads with."""
        return self._words

    def __init__(
        self,
        words: Words,
        model: ToxicityModel,
        name: str = "toxicity",
        field: Literal["response", "prompt"] = "response",
    ) -> None:
        self._words = words
        self._model = model
        self._field = field
        self.name = name
        self.version = version_of("toxicity 2", model.version)

    def score(self, conversation: Conversation) -> Verdict:
        """Null without letters or digits, and for another language unless it has a flagged word. Code counts."""
        text = conversation.response if self._field == "response" else conversation.prompt
        reading = self._words.read(text, RESPONSE_CHARS)
        if not any(map(str.isalnum, reading.text)):
            return unknown(f"not assessable: no words in the {self._field}", "empty")
        readout = self._model.read(reading.text)
        foreign = reading.kind == "foreign"
        if foreign and not readout.flagged:
            return unknown(f"not assessable: the {self._field} is not in English", "foreign")
        value = logistic(self._model.logit(readout))
        confidence = 0.3 if foreign else 0.7 if reading.text.isascii() else 0.6
        return Verdict(value=value, reason=self._reason(readout, value), confidence=confidence)

    def _reason(self, readout: Readout, value: float) -> str:
        if value < 0.5 and not readout.flagged:
            return "no insult, threat or slur found"
        if value < 0.5:
            return f"harmless overall, though it has: {', '.join(readout.flagged[:5])}"
        start = readout.starts[int(self._model.evidence(readout).argmax())]
        around = readout.text[start : start + 80].strip()
        named = f"; words: {', '.join(readout.flagged[:5])}" if readout.flagged else ""
        return f'reads as toxic around "{around}"{named}'


def fold(text: str) -> str:
    """Lower case, addresses and handles out, lookalike letters and spelled-out words put right."""
    text = text.lower()
    if "@" in text or "://" in text:
        text = _WEB.sub(" ", text)
    text = " ".join(text.split())
    if not text.isascii():
        text = _MIXED_SCRIPT.sub(_latinised, text)
    return _SPELLED_OUT.sub(lambda found: re.sub(r"[ .*_-]", "", found.group()), text)


def _latinised(found: re.Match[str]) -> str:
    word = found.group()
    latin = word.translate(_LOOKALIKES)
    return latin if latin.isascii() else word


def flagged_words(folded: str, words: list[str], listed: frozenset[str]) -> tuple[str, ...]:
    """The listed words in the text, each once, also where digits or signs stand for letters."""
    if not _DISGUISED.search(folded):
        return () if listed.isdisjoint(words) else tuple(dict.fromkeys(filter(listed.__contains__, words)))
    found = [t for t in _TOKEN.findall(folded) if t in listed or (not t.isalpha() and t.translate(_LEET) in listed)]
    return tuple(dict.fromkeys(found))


class NGrams(msgspec.Struct, frozen=True):
    """Words less their quotes, hashed n-grams in text order, and where each stretch of 40 words begins in them."""

    tokens: list[str]
    bytes: Integers
    words: Integers
    byte_starts: list[int]
    word_starts: list[int]
    text_starts: list[int]


def ngrams(folded: str) -> NGrams:
    """Byte 3- to 5-grams (three per position, interleaved) and word 1- and 2-grams of a folded text."""
    words = tokens(folded)
    raw = np.frombuffer(f"  {folded}    ".encode(errors="ignore"), np.uint8)
    firsts = [found.start(1) for found in _STRETCH.finditer(folded)] if len(words) > SEGMENT_WORDS else [0]
    inner = firsts[1:] if folded.isascii() else [len(folded[:at].encode(errors="ignore")) for at in firsts[1:]]
    return NGrams(
        [word.strip("'*$") for word in words] if _QUOTED.search(folded) else words,
        _byte_grams(raw),
        _word_grams(words),
        [0, *(3 * (at + 2) for at in inner)],
        list(range(0, 2 * max(len(words), 1), 2 * SEGMENT_WORDS)),
        [0, *firsts[1:]],
    )


def tokens(folded: str) -> list[str]:
    """The words of a folded text as the word n-grams see them."""
    return _BYTE_WORD.findall(folded)


def _hashes(plus: int, times: int) -> Integers:
    """What each byte adds to a hash at one place of an n-gram."""
    return (np.arange(256, dtype=np.uint32) + np.uint32(plus)) * np.uint32(times)


_FIRST, _SECOND, _THIRD = _hashes(0, 0x9E3779B1), _hashes(1, 0x85EBCA77), _hashes(2, 0xC2B2AE3D)
_FOURTH, _FIFTH = _hashes(3, 0x27D4EB2F), _hashes(5, 0x165667B1)


def _byte_grams(raw: NDArray[np.uint8]) -> Integers:
    grams = np.empty((len(raw) - 4, 3), np.uint32)
    three = _FIRST[raw[:-4]] ^ _SECOND[raw[1:-3]]
    three ^= _THIRD[raw[2:-2]]
    four = three * np.uint32(0x01000193) ^ _FOURTH[raw[3:-1]]
    grams[:, 0], grams[:, 1] = three, four
    grams[:, 2] = four * np.uint32(0x01000193) ^ _FIFTH[raw[4:]]
    return _mixed(grams.ravel()) & np.uint32(BYTE_BUCKETS - 1)


def _word_grams(words: list[str]) -> Integers:
    """Hashes of every word, each followed by that of the pair it makes with the next word."""
    if not words:
        return np.zeros(0, np.uint32)
    word = np.array([word_hash(each) for each in words], np.uint32)
    pair = word * np.uint32(31) + np.uint32(7)
    pair[:-1] += word[1:] * np.uint32(0x85EBCA77)
    grams = np.empty(2 * len(word), np.uint32)
    grams[::2], grams[1::2] = word, pair
    return _mixed(grams) & np.uint32(WORD_BUCKETS - 1)


@lru_cache(maxsize=50_000)
def word_hash(word: str) -> int:
    """A hash of the letters and their places."""
    raw = np.frombuffer(word.encode(errors="ignore"), np.uint8).astype(np.uint32)
    letters = raw + (np.arange(len(raw), dtype=np.uint32) << np.uint32(8))
    return int(_mixed(letters * np.uint32(0x9E3779B1)).sum(dtype=np.uint32))


def _mixed(hashes: Integers) -> Integers:
    """Bits spread so that the low ones depend on all (murmur3's finaliser, shortened)."""
    hashes ^= hashes >> np.uint32(15)
    hashes *= np.uint32(0x2C1B3C6D)
    hashes ^= hashes >> np.uint32(12)
    return hashes


def _scaled_sums(weights: NDArray[Any], buckets: Integers, starts: list[int]) -> Floats:
    """Per stretch: the sum of its n-grams' weights over the square root of their count."""
    if not len(buckets):
        return np.zeros(len(starts), np.float32)
    exact = np.int32 if weights.dtype == np.int8 else np.float32
    if len(starts) == 1:
        return np.array([weights[buckets].sum(dtype=exact) * len(buckets) ** -0.5], np.float32)
    ends = [*starts[1:], len(buckets)]
    scales = [max(end - start, 1) ** -0.5 for start, end in zip(starts, ends, strict=True)]
    return np.add.reduceat(weights[buckets], starts, dtype=exact) * np.array(scales, np.float32)


def load_flagged_words(path: Path = WEIGHTS / "flagged_words.txt") -> frozenset[str]:
    """The shipped list of insults, profanity, slurs and sexual words."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def load_toxicity(words: Words, path: Path = WEIGHTS / "toxicity.npz") -> ToxicityModel:
    """The shipped model. Raises OSError where a file is missing or not an .npz of plain arrays."""
    listed = load_flagged_words()
    with np.load(path, allow_pickle=False) as stored:
        return ToxicityModel(
            words,
            stored["weights"],
            float(stored["scale"]),
            float(stored["bias"]),
            Network(
                stored["inner"].astype(np.float32),
                stored["inner_bias"].astype(np.float32),
                stored["outer"].astype(np.float32),
                float(stored["outer_bias"]),
            ),
            listed,
            stored["layer"].astype(np.float32),
            version_of(path.read_bytes(), words.version, *sorted(listed), str(SHARPNESS)),
        )
