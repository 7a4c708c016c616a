"""A toxicity score that has learnt from a project's own labels: the shipped score, and what to add to it.

In: the verdict of the score it extends, and the text. Out: a verdict whose evidence is a share of the shipped
evidence, plus a linear model over the text's n-grams and mean word vector, plus a quadratic one over the leading
part of that vector. What the shipped score cannot assess stays null.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Iterable, Sequence
from zipfile import BadZipFile

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.errors import AssayError
from assay.quality.scorer import Conversation, Scorer, Verdict, logistic, version_of
from assay.quality.text import RESPONSE_CHARS
from assay.quality.toxicity import BYTE_BUCKETS, WORD_BUCKETS, NGrams, Toxicity, fold, ngrams
from assay.quality.words import Floats, Reading, Words, unit
from assay.store.fits import Fit

FIELDS = {"toxicity": "response", "prompt_toxicity": "prompt"}
"""Metrics with weights of their own, and the text that each judges."""

BUCKETS = BYTE_BUCKETS + WORD_BUCKETS
LEADING = 64
"""The vectors' first dimensions, which hold most of their variance, multiply each other in pairs."""

PAIRS = np.triu_indices(LEADING)
PAIR_SCALE = np.where(PAIRS[0] == PAIRS[1], 2.0, math.sqrt(8)).astype(np.float32)
MOST_EVIDENCE = 15.0


class Features(msgspec.Struct, frozen=True):
    """A text as the fitted model sees it: different buckets with 1 / sqrt(their number), and the mean word vector."""

    buckets: NDArray[np.int32]
    values: Floats
    vector: Floats

    @property
    def pairs(self) -> Floats:
        """Products of the leading dimensions, each pair once."""
        leading = self.vector[:LEADING]
        return leading[PAIRS[0]] * leading[PAIRS[1]] * PAIR_SCALE


def features(words: Words, text: str) -> Features:
    """Features of a text as it was written; only its first 4,000 characters are read."""
    reading = words.read(text, RESPONSE_CHARS)
    return _features(words, reading, ngrams(fold(reading.text)))


def _features(words: Words, reading: Reading, grams: NGrams) -> Features:
    of_bytes, of_words = _distinct(grams.bytes), _distinct(grams.words)
    sizes = np.array([len(of_bytes), len(of_words)])
    return Features(
        np.concatenate([of_bytes, of_words + BYTE_BUCKETS]).astype(np.int32),
        np.repeat(np.maximum(sizes, 1) ** -0.5, sizes).astype(np.float32),
        unit(np.add.reduce(words.sentence_vectors(reading), 0)),
    )


def _distinct(buckets: NDArray[np.uint32]) -> NDArray[np.uint32]:
    ordered = np.sort(buckets)
    return ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered


def shipped_evidence(value: float) -> float:
    """The evidence behind a value of the score that is extended, within +-MOST_EVIDENCE."""
    least = logistic(-MOST_EVIDENCE)
    inside = min(max(value, least), 1 - least)
    return math.log(inside / (1 - inside))


class Addition(msgspec.Struct, frozen=True):
    """Learnt weights. `codes` are int8, one a bucket, times `scale`; `pairs` one a pair of leading dimensions."""

    codes: NDArray[np.int8]
    scale: float
    linear: Floats
    pairs: Floats
    slope: float
    bias: float

    def evidence(self, found: Features, shipped: float) -> float:
        """Evidence of toxicity, 0 at even odds."""
        of_grams = float(self.codes[found.buckets] @ found.values) * self.scale
        of_vector = float(found.vector @ self.linear) + float(found.pairs @ self.pairs)
        return of_grams + of_vector + self.slope * shipped + self.bias

    def heaviest(self, grams: NGrams) -> list[str]:
        """The three words of a text, at most, that speak most for toxicity, heaviest first."""
        of_words = self.codes[grams.words[::2] + BYTE_BUCKETS]  # every second is that of a word and its next
        order = np.argsort(-of_words.astype(np.int16), kind="stable")
        return list(dict.fromkeys(grams.tokens[at] for at in order[:9].tolist() if of_words[at] > 0))[:3]

    def packed(self) -> bytes:
        """An .npz of plain arrays."""
        file = io.BytesIO()
        np.savez_compressed(file, allow_pickle=False, **msgspec.structs.asdict(self))
        return file.getvalue()

    @classmethod
    def unpacked(cls, packed: bytes) -> Addition:
        """What `packed` wrote. Raises AssayError for anything else."""
        try:
            with np.load(io.BytesIO(packed), allow_pickle=False) as stored:
                found = cls(
                    stored["codes"].astype(np.int8),
                    float(stored["scale"]),
                    stored["linear"].astype(np.float32),
                    stored["pairs"].astype(np.float32),
                    float(stored["slope"]),
                    float(stored["bias"]),
                )
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile, zlib.error) as error:
            raise AssayError(f"the weights of a fit cannot be read ({error!r}): fit again") from None
        if found.codes.shape != (BUCKETS,) or found.pairs.shape != (len(PAIR_SCALE),):
            raise AssayError("the weights of a fit are of another Assay's shape: fit again")
        return found


class FittedToxicity:
    """The scorer of one project. `base` is what it extends: a Toxicity, whose words it shares."""

    scorer = "local"

    def __init__(self, base: Toxicity, addition: Addition, fit: str) -> None:
        self._base = base
        self._addition = addition
        self._fit = fit
        self._field = FIELDS[base.name]
        self.name = base.name
        self.version = version_of("fitted toxicity 1", base.version, fit)

    def score(self, conversation: Conversation) -> Verdict:
        """Null where the shipped score is null; `reason` names the words that the fit weighs most."""
        return self._extended(conversation, self._base.score(conversation))

    def score_all(self, conversations: Sequence[Conversation]) -> list[Verdict]:
        """`score` of each, the shipped score being made of all at once."""
        return list(map(self._extended, conversations, self._base.score_all(conversations)))

    def _extended(self, conversation: Conversation, verdict: Verdict) -> Verdict:
        if verdict.value is None:
            return verdict
        words = self._base.words
        reading = words.read(getattr(conversation, self._field), RESPONSE_CHARS)
        grams = ngrams(fold(reading.text))
        found = _features(words, reading, grams)
        value = logistic(self._addition.evidence(found, shipped_evidence(verdict.value)))
        reason = f"fitted to this project (shipped: {verdict.value:.2f}, {verdict.reason})"
        if value >= 0.5 and (heaviest := self._addition.heaviest(grams)):
            reason += f"; weighs most here: {', '.join(heaviest)}"
        return msgspec.structs.replace(verdict, value=value, reason=reason)


def fitted_scorers(base: Iterable[Scorer], fits: Iterable[Fit]) -> tuple[Scorer, ...]:
    """A project's scorers: those of `base`, a fitted one in the place of each that `fits` have weights for.

    A score of another tier (an ONNX model, a scorer of one's own) keeps its place.
    """
    learnt = {fit.metric: fit for fit in fits if fit.weights}
    return tuple(
        FittedToxicity(one, Addition.unpacked(learnt[one.name].weights), learnt[one.name].version)
        if isinstance(one, Toxicity) and one.name in learnt
        else one
        for one in base
    )
