"""What the simulated assistant knows and says: topics with several right answers, notes and a wrong answer.

In: the user's last message. Out: the topic it is about, an answer in one of several phrasings, passages of
the Fernhill handbook for the context. The texts are data, in general.toml, fernhill.toml and replies.toml.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from importlib.resources import files
from typing import Literal

import msgspec

Manner = Literal["answer", "irrelevant", "toxic", "ungrounded", "empty"]
"""How a reply is meant: a right answer, or one of the quality faults."""

_ORDER = re.compile(r"\bFH-\d{5}\b")
_WORD = re.compile(r"[a-z0-9]+")
_STOPWORDS = frozenset(
    _WORD.findall(
        "a about an and any are as at be been but by can could do does for from get give had has have help "
        "her his how i if in into is it its like make me more most much my need of on or our out please say "
        "should simple so some tell terms than that the their them then there these they this to up us use "
        "want was we were what when where which who why will with won would write you your hello hi hey "
        "explain describe"
    )
)
_ALIKE = 0.5
"""A prompt belongs to a topic when at least half of the weight of their words is shared."""


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that people ask about. `{order}` in a prompt stands for an order number such as FH-20417."""

    name: str
    prompts: tuple[str, ...]
    answers: tuple[str, ...]
    note: str
    wrong: str = ""
    kind: Literal["answer", "refusal"] = "answer"
    area: Literal["general", "fernhill"] = "general"


class Replies(msgspec.Struct, frozen=True):
    """Texts that fit no topic or any; `{subject}` stands for what the prompt is about."""

    fallback: tuple[str, ...]
    irrelevant: tuple[str, ...]
    rude: tuple[str, ...]
    thanks: tuple[str, ...]


class Library:
    """All topics and replies, with the search that finds a prompt's topic."""

    def __init__(self, topics: Sequence[Topic], replies: Replies) -> None:
        self.topics = tuple(topics)
        self.replies = replies
        self._exact = {_plain(prompt): topic for topic in topics for prompt in topic.prompts}
        self._phrasings = [(words(prompt), topic) for topic in topics for prompt in topic.prompts]
        self._spread = Counter(word for topic in topics for word in words(" ".join(topic.prompts)))

    def topic(self, prompt: str) -> Topic | None:
        """The topic that a prompt asks about, in its own words or similar ones; None when unknown."""
        if found := self._exact.get(_plain(prompt)):
            return found
        asked = words(prompt)
        alike, topic = max(
            ((self._alike(asked, phrasing), topic) for phrasing, topic in self._phrasings),
            key=lambda pair: pair[0],
            default=(0.0, None),
        )
        return topic if alike >= _ALIKE else None

    def phrasings(self, prompt: str, manner: Manner = "answer") -> tuple[str, ...]:
        """Every reply to a prompt in the given manner; the first is the one of a low temperature."""
        if manner == "empty":
            return ("",)
        if manner == "irrelevant":
            return self.replies.irrelevant
        if manner == "toxic":
            return _filled(self.replies.rude, prompt)
        if _is_thanks(prompt):
            return self.replies.thanks
        topic = self.topic(prompt)
        if topic is None:
            return _filled(self.replies.fallback, prompt)
        return (topic.wrong,) if manner == "ungrounded" and topic.wrong else topic.answers

    def passages(self, prompt: str, count: int = 3) -> list[Topic]:
        """The handbook's topics that share most with a prompt, best first: what a retriever would find."""
        asked, found = words(prompt), self.topic(prompt)
        handbook = [topic for topic in self.topics if topic.area == "fernhill"]
        ranked = sorted(
            handbook,
            key=lambda topic: (
                topic is not found,
                -self._alike(asked, words(f"{topic.prompts[0]} {topic.note}")),
            ),
        )
        return ranked[:count]

    @cached_property
    def handbook(self) -> str:
        """The whole Fernhill handbook, some 1,100 tokens: long enough for the prompt cache."""
        return "\n".join(topic.note for topic in self.topics if topic.area == "fernhill")

    def _alike(self, one: frozenset[str], other: frozenset[str]) -> float:
        union = sum(map(self._weight, one | other))
        return sum(map(self._weight, one & other)) / union if union else 0.0

    def _weight(self, word: str) -> float:
        return math.log(1 + len(self.topics) / max(self._spread[word], 1))


def library() -> Library:
    """The library read from the package's data files."""
    topics = [
        msgspec.structs.replace(topic, area=area)
        for area in ("general", "fernhill")
        for topic in msgspec.toml.decode(_data(f"{area}.toml"), type=dict[str, list[Topic]])["topic"]
    ]
    return Library(topics, msgspec.toml.decode(_data("replies.toml"), type=Replies))


def words(text: str) -> frozenset[str]:
    """The words of a text that carry meaning, in lower case and without a plural s."""
    found = _WORD.findall(_ORDER.sub("order", text).lower().replace("wi-fi", "wifi"))
    return frozenset(_singular(word) for word in found if word not in _STOPWORDS)


def subject(prompt: str) -> str:
    """What a prompt is about: its first six words that carry meaning, in order; "that" without any."""
    kept = [word for word in re.findall(r"[\w'+-]+", prompt) if words(word)]
    return " ".join(kept[:6]) or "that"


def order_number(text: str) -> str | None:
    """The first order number (FH- and five digits) in a text."""
    found = _ORDER.search(text)
    return found.group() if found else None


def _data(name: str) -> str:
    return files("assay.simulate").joinpath(name).read_text("utf-8")


def _plain(prompt: str) -> str:
    spaced = _ORDER.sub("{order}", prompt).lower().replace("2 + 2", "2+2")
    return " ".join(spaced.split()).rstrip(".!? ")


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def _filled(templates: Sequence[str], prompt: str) -> tuple[str, ...]:
    about = subject(prompt)
    return tuple(template.replace("{subject}", about) for template in templates)


def _is_thanks(prompt: str) -> bool:
    return len(prompt) < 60 and re.match(r"\s*(ok(ay)?,?\s+)?(thanks|thank you|great, thank)", prompt, re.I) is not None
