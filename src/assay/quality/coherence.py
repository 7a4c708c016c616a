"""Coherence: is this text whole, or broken output?

In: the response, the prompt and the finish reason. Out: 0..1, 1 where no defect was found. It measures what
can be measured without a judge: loops, a cut-off end, word salad, lost words, noise, a jump to another subject,
list items out of order. It says nothing of good argument: most shuffled sentences pass (docs/quality.md). Word
order is held against a table of how often one class of word follows another in English (weights/fluency.npz,
counts written by training/fluency.py).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.quality.kind import INTERRUPTED, hindrance
from assay.quality.scorer import Conversation, Verdict, logistic, unknown, version_of
from assay.quality.text import RESPONSE_CHARS, STOP_WORDS
from assay.quality.words import WEIGHTS, Floats, Reading, Remembered, Words, unit

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
FUNCTION_WORDS = (0.24, -30.0)
TYPICAL_FUNCTION_WORDS = 0.42
PRIOR_WORDS = 10
LONG_SENTENCE = 8
"""Only sentences of so many words must have function words: headings and list items need none."""
SUBJECT = (0.06, -15.0)
LEAST_SIDE = 8
"""Words on either side of a jump: a closing "I hope this helps!" is none."""
_OUT_OF_ORDER = 0.6
_OPENS_IN_THE_MIDDLE = 0.1
_CUT_BY_LIMIT = 0.8
_CUT_MID_PHRASE = 0.75
_NO_END_MARK = 0.5

_ITEM = re.compile(r"(?:^|\n|(?<=[.!?:] ))\s*(\d{1,2})[.)](?=\s)")
_NUMBERED = re.compile(r"\d[.)]\s")
_REFERRING = """
    they it this these those he she them his her its their however additionally moreover furthermore also overall
    finally therefore thus but and or so then next another similarly meanwhile besides lastly instead
"""
_GOES_ON = frozenset(_REFERRING.split())
"""Words that refer to or go on from a sentence before."""

_END_MARK = re.compile(r"[.!?:…。！？)\]}\"'”’`*|>]\W*$|[^\w\s,;(\[{–—-]\s*$")
_LIST_ITEM = re.compile(r"^\s*(?:[-*•#>|]|\d+[.)])")


class Fluency:
    """How usual it is that a word of one class follows another: log P(b|a) / P(b), clipped to +-4."""

    def __init__(self, frequent: Sequence[str], table: Floats, version: str) -> None:
        self._frequent = {word: place for place, word in enumerate(frequent, start=1 + len(SHAPES))}
        self._classes = Remembered(self._class)
        self._ratios, self._width = table.ravel(), table.shape[1]
        self.version = version

    def classes(self, reading: Reading) -> list[int]:
        """Class of each word, with BOUNDARY before each sentence and at the end."""
        known = list(map(self._classes.__getitem__, reading.words))
        found: list[int] = []
        for start, end in pairwise([*reading.starts, len(known)]):
            found.append(BOUNDARY)
            found += known[start:end]
        found.append(BOUNDARY)
        return found

    def _class(self, word: str) -> int:
        return self._frequent.get(word.lower()) or shape(word)

    def surprise(self, reading: Reading) -> tuple[float, int]:
        """Mean log ratio over neighbouring words (about 1 in English, 0 at random), and their number."""
        classes = np.array(self.classes(reading))
        ratios = self._ratios.take(classes[:-1] * self._width + classes[1:])
        return float(np.add.reduce(ratios)) / len(ratios), len(ratios)


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
        curves = (LOOPS, STRANGE_WORDS, USUAL_ORDER, FUNCTION_WORDS, SUBJECT)
        degrees = (_OUT_OF_ORDER, _OPENS_IN_THE_MIDDLE, _CUT_BY_LIMIT, _CUT_MID_PHRASE, _NO_END_MARK)
        self.version = version_of("coherence 2", words.version, fluency.version, repr((curves, degrees)))

    def score(self, conversation: Conversation) -> Verdict:
        """1 less the defects found; null for refusals, code, JSON, tables, other languages, a few words."""
        reading = self._words.read(conversation.response, RESPONSE_CHARS)
        hindered = hindrance(conversation, reading.kind, bool(reading.refusal), frozenset())
        if hindered is not None:
            return hindered
        if conversation.finish_reason.lower() in INTERRUPTED:
            return unknown(f"not assessable: a part of an answer ({conversation.finish_reason})", "partial")
        if len(reading.words) < LEAST_WORDS:
            return unknown(f"not assessable: fewer than {LEAST_WORDS} words", "short")
        whole = len(conversation.response) <= RESPONSE_CHARS
        prompt = self._words.read(conversation.prompt, RESPONSE_CHARS)
        found = self.defects(reading, prompt, conversation.finish_reason, whole)
        value = math.prod(1 - defect.degree for defect in found)
        return Verdict(value=value, reason=_reason(found), confidence=round(min(1.0, len(reading.words) / 30), 2))

    def defects(self, reading: Reading, prompt: Reading, finish_reason: str, whole: bool) -> list[Defect]:
        """All kinds, most of them of a degree near 0. `whole`: the end of the text was read."""
        order, pairs = self._fluency.surprise(reading)
        order = (order * pairs + TYPICAL_ORDER * PRIOR_PAIRS) / (pairs + PRIOR_PAIRS)
        strange = self._strange(reading)
        share = len(strange) / (len(reading.words) + 3)
        repeated = repetition(reading)
        return [
            Defect("loops", _degree(repeated, LOOPS), f"{repeated:.0%} of it repeats itself"),
            Defect("noise", _degree(share, STRANGE_WORDS), f"unknown words: {', '.join(strange[:4])}"),
            Defect("word salad", _degree(order, USUAL_ORDER), f"unusual word order ({order:.2f}, usually 0.6)"),
            lost_words(reading),
            self._jump(reading, prompt),
            out_of_order(reading),
            cut_off(reading, finish_reason) if whole else Defect("cut off", 0.0, ""),
        ]

    def _jump(self, reading: Reading, prompt: Reading) -> Defect:
        """Whether what follows some sentence is far in subject from all before it, prompt included."""
        last = len(reading.words) - LEAST_SIDE
        inner = [place for place, start in enumerate(reading.starts[1:]) if LEAST_SIDE <= start <= last]
        if not inner:
            return Defect("another subject", 0.0, "")
        asked = unit(np.add.reduce(self._words.sentence_vectors(prompt))).astype(np.float64)
        likeness = likenesses(self._words.sentence_vectors(reading), asked)
        place = min(inner, key=likeness.__getitem__)
        sign = f'jumps at "{_short(reading.sentences[place + 1])}"'
        return Defect("another subject", _degree(likeness[place], SUBJECT), sign)

    def _strange(self, reading: Reading) -> list[str]:
        """Lower-case words that are in no list: most are typos or noise. Names and numbers do not count."""
        unknown_words = [reading.words[place] for place in np.flatnonzero(reading.rows < 0)]
        return [word for word in unknown_words if word[0].islower() and self._words.stem(word) not in self._words]


def _degree(value: float, curve: tuple[float, float]) -> float:
    middle, slope = curve
    return logistic(slope * (value - middle))


def likenesses(vectors: Floats, asked: NDArray[np.float64]) -> list[float]:
    """After each sentence but the last: the cosine of what follows with what came before and was asked.

    Both of the latter count alike: a unit vector each. `asked` is one, or of zeros. Only products of sums are
    needed, in double precision, since what follows is a difference of them.
    """
    upto = np.cumsum(vectors, axis=0, dtype=np.float64)
    whole = upto[-1]
    with_itself, with_whole, with_asked = (
        np.vecdot(upto, upto).tolist(),
        (upto @ whole).tolist(),
        (upto @ asked).tolist(),
    )
    size, in_asked, of_asked = with_itself[-1], with_asked[-1], float(asked @ asked)
    found: list[float] = []
    for own, shared, towards in zip(with_itself[:-1], with_whole, with_asked, strict=False):
        scale = own**-0.5 if own else 0.0
        follows = size - 2 * shared + own
        before = scale * scale * own + 2 * scale * towards + of_asked
        product = scale * (shared - own) + in_asked - towards
        found.append(product / math.sqrt(follows * before) if follows > 0 < before else 0.0)
    return found


def repetition(reading: Reading) -> float:
    """Share of word triples, or of sentences, that occurred before in the text: 0..1, the larger."""
    triples = list(zip(reading.lower, reading.lower[1:], reading.lower[2:], strict=False))
    again = 1 - len(set(triples)) / len(triples) if triples else 0.0
    return max(again, 1 - len(set(reading.sentences)) / len(reading.sentences))


def lost_words(reading: Reading) -> Defect:
    """Whether long sentences lack the function words that English needs, as where some were dropped."""
    ends = [*reading.starts[1:], len(reading.words)]
    spans = [(a, b) for a, b in zip(reading.starts, ends, strict=True) if b - a >= LONG_SENTENCE]
    found = sum(sum(map(STOP_WORDS.__contains__, reading.lower[a:b])) for a, b in spans)
    total = sum(b - a for a, b in spans)
    share = (found + TYPICAL_FUNCTION_WORDS * PRIOR_WORDS) / (total + PRIOR_WORDS)
    return Defect("lost words", _degree(share, FUNCTION_WORDS), f"{share:.0%} function words, usually 42%")


def out_of_order(reading: Reading) -> Defect:
    """Whether list items are not numbered 1, 2, 3, or the text opens with a word that goes on from another."""
    numbers = [int(number) for number in _ITEM.findall(reading.text)] if _NUMBERED.search(reading.text) else []
    if numbers and (numbers[0] > 1 or any(b not in (1, a + 1) for a, b in pairwise(numbers))):
        return Defect("out of order", _OUT_OF_ORDER, f"items numbered {', '.join(map(str, numbers[:8]))}")
    if len(reading.starts) > 1 and reading.lower[0] in _GOES_ON:
        return Defect("out of order", _OPENS_IN_THE_MIDDLE, f'opens with "{reading.words[0]}"')
    return Defect("out of order", 0.0, "")


def _short(sentence: str, most: int = 60) -> str:
    sentence = " ".join(sentence.split())
    return sentence if len(sentence) <= most else sentence[: most - 1] + "…"


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
    return "; ".join(signs) or "no loops, no noise, one subject, usual word order, complete"


def load_fluency(path: Path = WEIGHTS / "fluency.npz") -> Fluency:
    """The shipped table. Raises OSError where the file is missing or not an .npz of plain arrays."""
    with np.load(path, allow_pickle=False) as stored:
        frequent = stored["frequent"].tobytes().decode().split("\n")
        table = stored["table"].astype(np.float32) * np.float32(stored["scale"])
        return Fluency(frequent, table, version_of(path.read_bytes()))
