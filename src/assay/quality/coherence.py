"""Coherence: is this text whole, or broken output?

In: the response and its finish reason. Out: 0..1, 1 where no defect was found. It measures what can be
measured without a judge: loops, a cut-off end, word salad, noise. It says nothing of good argument:
shuffled sentences pass (docs/quality.md). Word order is held against a table of how often one class of
word follows another in English (weights/fluency.npz, counts written by training/fluency.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from assay.quality.refusal import is_refusal
from assay.quality.scorer import Conversation, Verdict, logistic, unknown, version_of
from assay.quality.text import RESPONSE_CHARS
from assay.quality.words import WEIGHTS, Floats, Reading, Words

BOUNDARY = 0
SHAPES = ("number", "name", "ing", "ed", "ly", "ion", "s", "al", "er", "long", "short")
"""Classes of words that are not among the frequent ones: by ending, capital or length."""
CUT_OFF = frozenset({"length", "max_tokens", "MAX_TOKENS", "model_length", "incomplete"})
"""Finish reasons that mean the model was stopped in mid-text."""
LEAST_WORDS = 4

# Middles and slopes were set between sound answers (99th percentile) and broken ones of the dev rows of
# coherence-corrupted-answers. Usual order: mean 0.6 in sound answers, -0.4 in shuffled ones.
LOOPS = (0.25, 20.0)
STRANGE_WORDS = (0.15, 30.0)
USUAL_ORDER = (0.1, -12.0)
TYPICAL_ORDER = 0.6
PRIOR_PAIRS = 25
"""So many pairs of typical order are added to a text's own: a short text proves little."""
_CUT_BY_LIMIT = 0.8
_CUT_MID_PHRASE = 0.75
_NO_END_MARK = 0.5

_END_MARK = re.compile(r"[.!?:…。！？)\]}\"'”’`*|>]\W*$|[^\w\s,;(\[{–—-]\s*$")
_LIST_ITEM = re.compile(r"^\s*(?:[-*•#>|]|\d+[.)])")


class Fluency:
    """How usual it is that a word of one class follows another: log P(b|a) / P(b), clipped to +-4."""

    def __init__(self, frequent: Sequence[str], table: Floats, version: str) -> None:
        self._classes = {word: place for place, word in enumerate(frequent, start=1 + len(SHAPES))}
        self._shapes: dict[str, int] = {}
        self._table = table
        self.version = version

    def classes(self, reading: Reading) -> list[int]:
        """Class of each word, with BOUNDARY before each sentence and at the end."""
        known = self._classes
        found = [known.get(low) or shape(word) for low, word in zip(reading.lower, reading.words, strict=True)]
        for start in reversed(reading.starts):
            found.insert(start, BOUNDARY)
        found.append(BOUNDARY)
        return found

    def surprise(self, reading: Reading) -> tuple[float, int]:
        """Mean log ratio over neighbouring words (about 1 in English, 0 at random), and their number."""
        classes = np.array(self.classes(reading))
        return float(self._table[classes[:-1], classes[1:]].mean()), len(classes) - 1


def shape(word: str) -> int:
    """Index of the class of a word that is not frequent: 1..len(SHAPES)."""
    if word[0].isdigit():
        return 1
    if word[0].isupper():
        return 2
    for place, ending in enumerate(SHAPES[2:9], start=3):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            return place
    return 10 if len(word) > 5 else 11


class Defect(msgspec.Struct, frozen=True):
    """One way in which a text is broken: how sure, 0..1, and what a person would see."""

    name: str
    degree: float
    sign: str


class Coherence:
    """Scorer "coherence" of the local set."""

    name = "coherence"
    scorer = "local"

    def __init__(self, words: Words, fluency: Fluency) -> None:
        self._words = words
        self._fluency = fluency
        constants = f"{LOOPS} {STRANGE_WORDS} {USUAL_ORDER} {_CUT_BY_LIMIT} {_CUT_MID_PHRASE} {_NO_END_MARK}"
        self.version = version_of("coherence 1", words.version, fluency.version, constants)

    def score(self, conversation: Conversation) -> Verdict:
        """1 less the defects found; null for refusals, code, JSON, tables, other languages, a few words."""
        reading = self._words.read(conversation.response, RESPONSE_CHARS)
        form = reading.kind
        if form in _NOT_ASSESSABLE:
            return unknown(_NOT_ASSESSABLE[form], form)
        if len(reading.words) < LEAST_WORDS:
            return unknown(f"not assessable: fewer than {LEAST_WORDS} words", "short")
        if is_refusal(reading.text):
            return unknown("a refusal: it declines, so its coherence is not scored", "refusal")
        whole = len(conversation.response) <= RESPONSE_CHARS
        found = self.defects(reading, conversation.finish_reason, whole)
        value = float(np.prod([1 - defect.degree for defect in found]))
        return Verdict(value=value, reason=_reason(found), confidence=round(min(1.0, len(reading.words) / 30), 2))

    def defects(self, reading: Reading, finish_reason: str, whole: bool) -> list[Defect]:
        """All four kinds, most of them of a degree near 0. `whole`: the end of the text was read."""
        order, pairs = self._fluency.surprise(reading)
        order = (order * pairs + TYPICAL_ORDER * PRIOR_PAIRS) / (pairs + PRIOR_PAIRS)
        strange = self._strange(reading)
        share = len(strange) / (len(reading.words) + 3)
        repeated = repetition(reading)
        return [
            Defect("loops", _degree(repeated, LOOPS), f"{repeated:.0%} of it repeats itself"),
            Defect("noise", _degree(share, STRANGE_WORDS), f"unknown words: {', '.join(strange[:4])}"),
            Defect("word salad", _degree(order, USUAL_ORDER), f"unusual word order ({order:.2f}, usually 0.6)"),
            cut_off(reading, finish_reason) if whole else Defect("cut off", 0.0, ""),
        ]

    def _strange(self, reading: Reading) -> list[str]:
        """Lower-case words that are in no list: most are typos or noise. Names and numbers do not count."""
        return [
            word
            for word, row in zip(reading.words, reading.rows.tolist(), strict=True)
            if row < 0 and word[0].islower() and self._words.stem(word) not in self._words
        ]


_NOT_ASSESSABLE = {
    "empty": "not assessable: empty response",
    "short": "not assessable: no words in the response",
    "code": "not assessable: mostly code",
    "json": "not assessable: the response is JSON",
    "table": "not assessable: mostly a table",
    "foreign": "not assessable: not in English",
}


def _degree(value: float, curve: tuple[float, float]) -> float:
    middle, slope = curve
    return logistic(slope * (value - middle))


def repetition(reading: Reading) -> float:
    """Share of word triples, or of sentences, that occurred before in the text: 0..1, the larger."""
    triples = list(zip(reading.lower, reading.lower[1:], reading.lower[2:], strict=False))
    again = 1 - len(set(triples)) / len(triples) if triples else 0.0
    return max(again, 1 - len(set(reading.sentences)) / len(reading.sentences))


def ends(text: str) -> bool:
    """Whether the text closes with an end mark, a bracket or a symbol rather than in mid-sentence."""
    return _END_MARK.search(text[-40:]) is not None


def cut_off(reading: Reading, finish_reason: str) -> Defect:
    """Whether the text stops in mid-sentence: reported by the provider, or seen at its end."""
    if finish_reason in CUT_OFF:
        return Defect("cut off", _CUT_BY_LIMIT, f"stopped by the provider ({finish_reason})")
    last = reading.sentences[-1]
    ending = f'ends with "{last.strip()[-40:]}"'
    if reading.text != reading.prose or ends(reading.prose):
        return Defect("cut off", 0.0, ending)
    if reading.lower[-1] in _LEADS_ON or reading.prose[-1] in ",;([{-–—":
        return Defect("cut off", _CUT_MID_PHRASE, ending)
    ended = sum(ends(sentence) for sentence in reading.sentences[:-1])
    running = 2 * ended >= len(reading.sentences[:-1]) and (ended or len(reading.words) > 30)
    if running and not _LIST_ITEM.match(last):
        return Defect("cut off", _NO_END_MARK, ending)
    return Defect("cut off", 0.0, ending)


_NEVER_LAST = """
    a an and are as at be because but by can for from has have if in into is its nor of or our that the
    their to was were when which while who will with would your
"""
_LEADS_ON = frozenset(_NEVER_LAST.split())
"""Words that no English sentence ends with, or hardly any."""


def _reason(found: list[Defect]) -> str:
    signs = [f"{d.name}: {d.sign}" for d in sorted(found, key=lambda d: -d.degree) if d.degree >= 0.3]
    return "; ".join(signs) or "no loops, no noise, usual word order, complete"


def load_fluency(path: Path = WEIGHTS / "fluency.npz") -> Fluency:
    """The shipped table. Raises OSError where the file is missing or not an .npz of plain arrays."""
    with np.load(path, allow_pickle=False) as stored:
        frequent = stored["frequent"].tobytes().decode().split("\n")
        table = stored["table"].astype(np.float32) * np.float32(stored["scale"])
        return Fluency(frequent, table, version_of(path.read_bytes()))
