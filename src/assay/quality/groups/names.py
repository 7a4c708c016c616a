"""Readable names for groups of templates: the most typical template, and the words that set a group apart."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from assay.quality.groups.mask import PLACEHOLDER
from assay.quality.text import STOP_WORDS, stem, words

SLOT = "<…>"
"""Stands for a word that differs between templates that are otherwise the same."""
FEWEST_VALUES = 4
"""So many different words in one place make it a slot."""
_LONGEST = 24
NAME_CHARS = 90
WORDS = 4

Weighted = Sequence[tuple[str, float]]
"""Templates with the calls that each stands for."""


def typical(templates: Weighted) -> str:
    """The template, or the shape of several that differ in one word, that most calls of a group have.

    Of equally frequent ones the first is taken: sort by likeness to the group's centre before.
    """
    calls: dict[str, float] = defaultdict(float)
    values: dict[str, set[str]] = defaultdict(set)
    for text, count in templates:
        calls[text] += count
        for shape, value in _shapes(text):
            values[shape].add(value)
            calls[shape] += count
    named = {text: count for text, count in calls.items() if text not in values or len(values[text]) >= FEWEST_VALUES}
    return shortened(max(named, key=named.__getitem__))


def distinguishing(groups: Mapping[str, Weighted]) -> dict[str, tuple[str, ...]]:
    """Of each group up to four words that its prompts have more often than all prompts do, most telling first."""
    counts = {group: _content(templates) for group, templates in groups.items()}
    overall: Counter[str] = Counter()
    shown: dict[str, Counter[str]] = defaultdict(Counter)
    for own in counts.values():
        for word, count in own.items():
            overall[stem(word)] += count
            shown[stem(word)][word] += count
    total = sum(overall.values()) or 1.0
    return {group: _telling(own, overall, total, shown) for group, own in counts.items()}


def shortened(text: str) -> str:
    """At most 90 characters, cut between words."""
    return text if len(text) <= NAME_CHARS else text[: NAME_CHARS - 1].rsplit(" ", 1)[0] + "…"


def _shapes(text: str) -> Iterable[tuple[str, str]]:
    """The template with each of its words in turn made a slot, and that word."""
    tokens = text.split()
    if 3 <= len(tokens) <= _LONGEST:
        for place, token in enumerate(tokens):
            if not PLACEHOLDER.search(token):
                end = token[len(token.rstrip(".,;:!?")) :]
                yield " ".join([*tokens[:place], SLOT + end, *tokens[place + 1 :]]), token


def _content(templates: Weighted) -> Counter[str]:
    found: Counter[str] = Counter()
    for text, count in templates:
        for word in set(words(PLACEHOLDER.sub(" ", text).lower())) - STOP_WORDS:
            if not word.isdigit():
                found[word] += count  # pyright: ignore[reportArgumentType] counts may be fractions
    return found


def _telling(
    own: Counter[str], overall: Counter[str], total: float, shown: Mapping[str, Counter[str]]
) -> tuple[str, ...]:
    stems: Counter[str] = Counter()
    for word, count in own.items():
        stems[stem(word)] += count
    size = sum(stems.values()) or 1.0
    telling = {one: count / size * math.log(count / size * total / overall[one]) for one, count in stems.items()}
    best = sorted((one for one in telling if telling[one] > 0), key=lambda one: (-telling[one], one))
    return tuple(shown[one].most_common(1)[0][0] for one in best[:WORDS])
