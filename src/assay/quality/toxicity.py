"""Toxicity: does the text insult, threaten, hate or harm?

In: the response (or the prompt, scored apart: a refusal repeats harmful words). Out: 0..1, where 0.5 is
the level that about one in a hundred natural harmless texts reaches. Each stretch of 40 words is read by a
linear model over hashed n-grams of bytes and words, by a small network over the sum of its word vectors, and
by a list of flagged words; the worst stretches count most (weights/toxicity.npz, by training/toxicity.py).
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.quality.scorer import Conversation, Verdict, logistic, unknown, version_of
from assay.quality.text import RESPONSE_CHARS
from assay.quality.words import WEIGHTS, Floats, Reading, Remembered, Words, unit

Integers = NDArray[np.uint32]
Places = NDArray[np.intp]

BYTE_BUCKETS = 1 << 18
WORD_BUCKETS = 1 << 17
SEGMENT_WORDS = 40
MOST_FLAGGED = 4
SHARPNESS = 6.0
"""How far the worst stretch outweighs the others: 0 is their mean, infinity the worst alone."""

WIDEST = 5
"""Bytes of the longest byte n-gram."""

_MOST_ROWS = 8
_QUOTES = "'*$"
_U = np.uint32
_WEB = re.compile(r"https?://\S+|@\w+")
_BYTE_WORD = re.compile(r"[a-z0-9'*$\u0080-\U0010ffff]+")
_DISGUISED = re.compile(r"[0-9*$@!](?:[a-z]|(?<=[a-z][0-9*$@]))")
_TOKEN = re.compile(r"[^\W_]+(?:['*$@!][^\W_]+)*")
_MAY_BE_SPELLED_OUT = re.compile(r"[ .*_-]\w[ .*_-]\w(?:\b|_)")
"""In whatever _SPELLED_OUT matches, and found eight times as fast."""
_SPELLED_OUT = re.compile(r"\b(?:\w[ .*_-]){2,}\w\b")
_MIXED_SCRIPT = re.compile(r"(?<![a-z\u0370-\u04ff])[a-z]*[\u0370-\u04ff][a-z\u0370-\u04ff]*")
_GAPS = {code: " " for code in range(128) if not _BYTE_WORD.fullmatch(chr(code))}
_IN_WORD = np.array([code > 127 or _BYTE_WORD.fullmatch(chr(code)) is not None for code in range(256)])
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
        """Evidence of toxicity for each row; few rows at a time, see `words.MOST_AT_ONCE`."""
        if len(vectors) > _MOST_ROWS:
            return np.concatenate([self(vectors[at : at + _MOST_ROWS]) for at in range(0, len(vectors), _MOST_ROWS)])
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
        # int16, since three weights of a place are added up.
        exact = weights.astype(np.int16) if weights.dtype == np.int8 else weights
        self._bytes, self._words = exact[:BYTE_BUCKETS], exact[BYTE_BUCKETS:]
        self._scale = np.float32(scale)
        self._bias = np.float32(bias)
        self._network = network
        self._listed = listed
        self._join = layer[0], layer[1], layer[2]
        self._slope, self._offset = float(layer[3]), float(layer[4])
        self._facts = Remembered(self._hash_and_row)
        self.version = version

    def read(self, text: str) -> Readout:
        """What each view says of a cleaned text of at least one character."""
        return self.read_all([text])[0]

    def read_all(self, texts: Sequence[str]) -> list[Readout]:
        """`read` of each of at least one text, in one go over the n-grams and words of all."""
        folded = [fold(text) for text in texts]
        words = [tokens(text) for text in folded]
        laid = lay(folded, words)
        facts = np.array(list(map(self._facts.__getitem__, chain.from_iterable(words))), np.uint64)
        ngrams = _scaled_sums(_weights(self._bytes, _byte_grams(laid.raw)), laid.byte_starts, laid.byte_ends, 3)
        hashes = (facts >> np.uint64(32)).astype(np.uint32)
        grams = _word_grams(hashes, laid.last_words)
        ngrams += _scaled_sums(_weights(self._words, grams), laid.word_starts, laid.word_ends, 2)
        ngrams = ngrams.astype(np.float32) * self._scale + self._bias
        rows = (facts & np.uint64(0xFFFFFFFF)).astype(np.int32) - 1
        vectors = self._network(unit(self._vocabulary.sums(rows, laid.word_starts.tolist())))
        return [
            Readout(ngrams[a:b], vectors[a:b], *self._flagged(text, each, starts), text)
            for text, each, starts, a, b in zip(folded, words, laid.text_starts, laid.firsts, laid.ends, strict=True)
        ]

    def _hash_and_row(self, token: str) -> int:
        """Both facts of a word in one number: its hash times 2**32 plus 1 plus its row in the vectors."""
        return word_hash(token) << 32 | self._vocabulary.row(token.strip(_QUOTES)) + 1

    def _flagged(self, folded: str, words: list[str], starts: list[int]) -> tuple[Floats, list[int], tuple[str, ...]]:
        """How many different flagged words each stretch has, where those begin, and the words in order."""
        found = flagged_words(folded, _unquoted(folded, words), self._listed)
        hits = np.zeros(len(starts), np.float32)
        if found:
            places = {(bisect_right(starts, at.start()) - 1, at.group()) for at in _TOKEN.finditer(folded)}
            for stretch, token in places:
                hits[stretch] += token in found
            hits = np.minimum(hits, MOST_FLAGGED)
        return hits, starts, found

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
    return (
        worst
        + math.log(math.fsum(math.exp(SHARPNESS * (e - worst)) for e in evidence.tolist()) / len(evidence)) / SHARPNESS
    )


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
        return self.score_all([conversation])[0]

    def score_all(self, conversations: Sequence[Conversation]) -> list[Verdict]:
        """`score` of each: the n-grams of all texts are looked up in one go."""
        readings = [self._words.read(getattr(each, self._field), RESPONSE_CHARS) for each in conversations]
        worded = [reading.text for reading in readings if _has_words(reading)]
        readouts = iter(self._model.read_all(worded) if worded else ())
        return [
            self._verdict(reading, next(readouts))
            if _has_words(reading)
            else unknown(f"not assessable: no words in the {self._field}", "empty")
            for reading in readings
        ]

    def _verdict(self, reading: Reading, readout: Readout) -> Verdict:
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


def _has_words(reading: Reading) -> bool:
    return bool(reading.words) or any(map(str.isalnum, reading.text))


def fold(text: str) -> str:
    """Lower case, addresses and handles out, lookalike letters and spelled-out words put right."""
    text = text.lower()
    if "@" in text or "://" in text:
        text = _WEB.sub(" ", text)
    text = " ".join(text.split())
    if not text.isascii():
        text = text.encode(errors="ignore").decode()  # without lone surrogates, which have no bytes
        text = _MIXED_SCRIPT.sub(_latinised, text)
    if not _MAY_BE_SPELLED_OUT.search(text):
        return text
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
    """Words of a text less their quotes, and its hashed n-grams in text order: three a place in bytes, two a word."""

    tokens: list[str]
    bytes: Integers
    words: Integers


def ngrams(folded: str) -> NGrams:
    """Byte 3- to 5-grams and word 1- and 2-grams of a folded text."""
    words = tokens(folded)
    hashes = np.array([word_hash(word) for word in words], np.uint32)
    last = np.array([len(words) - 1] if words else [], np.intp)
    raw = np.frombuffer(_padded(folded), np.uint8)
    return NGrams(_unquoted(folded, words), _byte_grams(raw).T.ravel(), _word_grams(hashes, last).T.ravel())


class Laid(msgspec.Struct, frozen=True):
    """Texts laid end to end. Stretch by stretch: where each begins and ends among the places of `raw` and among the
    words. Text by text: the first and the end of its stretches, and where those begin in its characters.
    """

    raw: NDArray[np.uint8]
    byte_starts: Places
    byte_ends: Places
    word_starts: Places
    word_ends: Places
    last_words: Places
    firsts: list[int]
    ends: list[int]
    text_starts: list[list[int]]


def lay(folded: list[str], words: list[list[str]]) -> Laid:
    """Folded texts, and their words, end to end. A text has a stretch a 40 words, and one where it has no word."""
    padded = [_padded(text) for text in folded]
    raw = np.frombuffer(b"".join(padded), np.uint8)
    sizes, counts = np.array([len(text) for text in padded]), np.array([len(found) for found in words])
    text_ends, words_upto = sizes.cumsum(), counts.cumsum()
    stretches = np.maximum(-(-counts // SEGMENT_WORDS), 1)
    ends = stretches.cumsum()
    firsts = ends - stretches
    nth = np.arange(ends[-1]) - firsts.repeat(stretches)
    word_starts = (words_upto - counts).repeat(stretches) + SEGMENT_WORDS * nth
    in_word = _IN_WORD[raw]
    byte_starts = np.append(np.flatnonzero(in_word[1:] > in_word[:-1]) + 1, len(raw))[word_starts]
    byte_starts[firsts] = text_ends - sizes
    byte_ends = np.append(byte_starts[1:], 0)
    byte_ends[ends - 1] = text_ends - (WIDEST - 1)
    return Laid(
        raw,
        byte_starts,
        byte_ends,
        word_starts,
        np.append(word_starts[1:], words_upto[-1]),
        words_upto[counts > 0] - 1,
        firsts.tolist(),
        ends.tolist(),
        _text_starts(folded, padded, byte_starts, firsts, ends),
    )


def _text_starts(
    folded: list[str], padded: list[bytes], byte_starts: Places, firsts: Places, ends: Places
) -> list[list[int]]:
    """Per text: the character at which each stretch begins, 0 for the first."""
    found: list[list[int]] = []
    for text, raw, first, end in zip(folded, padded, firsts.tolist(), ends.tolist(), strict=True):
        inner = (byte_starts[first + 1 : end] - byte_starts[first]).tolist() if end > first + 1 else []
        found.append([0, *(at - 2 if text.isascii() else len(raw[2:at].decode()) for at in inner)])
    return found


def _padded(folded: str) -> bytes:
    """UTF-8 between blanks, so that the first and the last letter have as many n-grams as the others."""
    return f"  {folded}    ".encode()


def _unquoted(folded: str, words: list[str]) -> list[str]:
    if not any(map(folded.__contains__, _QUOTES)):
        return words
    return [word if word.isalnum() else word.strip(_QUOTES) for word in words]


def tokens(folded: str) -> list[str]:
    """The words of a folded text as the word n-grams see them."""
    return folded.translate(_GAPS).split() if folded.isascii() else _BYTE_WORD.findall(folded)


def _byte_grams(raw: NDArray[np.uint8]) -> Integers:
    """Buckets of the 3-, 4- and 5-gram of each place but the last four: 3 x places."""
    one, places = raw.astype(np.uint32), len(raw) - WIDEST + 1
    grams = np.empty((3, places), np.uint32)
    three, four, five = grams
    np.multiply(one[:places], _U(0x9E3779B1), out=three)
    three ^= (one[1 : places + 1] + _U(1)) * _U(0x85EBCA77)
    three ^= (one[2 : places + 2] + _U(2)) * _U(0xC2B2AE3D)
    np.multiply(three, _U(0x01000193), out=four)
    four ^= (one[3 : places + 3] + _U(3)) * _U(0x27D4EB2F)
    np.multiply(four, _U(0x01000193), out=five)
    five ^= (one[4:] + _U(5)) * _U(0x165667B1)
    return _mixed(grams) & _U(BYTE_BUCKETS - 1)


def _word_grams(hashes: Integers, last: Places) -> Integers:
    """Buckets of each word and of the pair it makes with the next word of its text: 2 x words."""
    grams = np.empty((2, len(hashes)), np.uint32)
    grams[0] = hashes
    following = np.append(hashes[1:], _U(0))
    following[last] = 0
    grams[1] = hashes * _U(31) + _U(7) + following * _U(0x85EBCA77)
    return _mixed(grams) & _U(WORD_BUCKETS - 1)


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


def _weights(weights: NDArray[Any], buckets: Integers) -> NDArray[Any]:
    """The sum of the weights of each place's n-grams."""
    found = weights[buckets]
    total = found[0] + found[1]
    return total + found[2] if len(found) > 2 else total


def _scaled_sums(weights: NDArray[Any], starts: Places, ends: Places, grams: int) -> NDArray[np.float64]:
    """Per stretch: the sum of its places' weights over the square root of the number of their n-grams."""
    upto = np.zeros(len(weights) + 1)
    np.cumsum(weights, out=upto[1:])
    return (upto[ends] - upto[starts]) / np.sqrt(np.maximum(grams * (ends - starts), 1))


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
