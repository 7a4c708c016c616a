"""What a person types to find calls: how it is read, and what it finds in a text.

    refund late          calls with both words, each anywhere in what was said
    "late refund"        the words next to each other, in this order; so do e-mail and snake_case
    refund*  *fund       words that begin, or end, so
    -invoice -"no fee"   calls without them

A word is found whole, in any case, width and composed form; with an accent only so, without one with and without.
Scripts without spaces are found character by character. Punctuation is left out, also an odd quotation mark.

`found_in` defines what is found; analytics/search.py asks the engine for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from typing import NamedTuple

from assay.errors import AssayError
from assay.store.rows import valid_unicode
from assay.store.terms import Token, fold, tokens, without_accents

LONGEST_QUERY = 10_000
"""Characters that can be searched for."""

_QUOTES = str.maketrans(dict.fromkeys("“”„‟＂", '"'))
_PARTS = re.compile(r'(?P<minus>-)?(?:"(?P<phrase>[^"]*)"|(?P<bare>[^\s"]+))')


class Unit(NamedTuple):
    """One word, or one character of a script without spaces, of what is looked for."""

    text: str
    spaced: bool
    follows: bool
    open_start: bool = False
    open_end: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it stands for many words."""
        return self.open_start or self.open_end


Term = tuple[Unit, ...]
"""Units that must stand one after another."""


class Query(NamedTuple):
    """What a call must have, all of it, and what it must not have."""

    wanted: tuple[Term, ...]
    unwanted: tuple[Term, ...]


def parse(q: str) -> Query | None:
    """What is looked for; None for an empty `q`. Raises AssayError where nothing in it can be looked for."""
    q = valid_unicode(q)
    if not q.strip():
        return None
    if len(q) > LONGEST_QUERY:
        raise AssayError(f"q has {len(q):,} characters: search for at most {LONGEST_QUERY:,}")
    wanted, unwanted = dict[Term, None](), dict[Term, None]()
    for part in _PARTS.finditer(_balanced(q.translate(_QUOTES))):
        if term := _term(part["phrase"] or part["bare"] or ""):
            (unwanted if part["minus"] else wanted)[term] = None
    if not wanted and not unwanted:
        raise AssayError(
            f"there is nothing to look for in {q[:80]!r}: search is for words, numbers and symbols such as emoji; "
            "punctuation is left out"
        )
    return Query(tuple(wanted), tuple(unwanted))


def _balanced(q: str) -> str:
    """Without a last quotation mark that nothing closes: what follows it are words like others."""
    if q.count('"') % 2 == 0:
        return q
    before, _, after = q.rpartition('"')
    return f"{before} {after}"


def _term(text: str) -> Term:
    units = list[Unit]()
    folded = fold(text)
    for token in tokens(folded):
        before, after = folded[token.start - 1 : token.start], folded[token.end : token.end + 1]
        stars = (token.spaced and before == "*", token.spaced and after == "*")
        units.append(Unit(token.text, token.spaced, token.follows and not token.spaced, *stars))
    for i, unit in enumerate(units):
        # A character after a word is looked for after it, with or without something between.
        if i and units[i - 1].spaced:
            units[i] = unit._replace(follows=False)
    return tuple(units)


def found_in(query: Query, texts: Iterable[str]) -> bool:
    """Whether a call with these texts is one that is looked for; a phrase does not go on from one text to the next."""
    has = [_finder(text) for text in texts]
    return all(any(one(term) for one in has) for term in query.wanted) and not any(
        one(term) for term in query.unwanted for one in has
    )


def _finder(text: str) -> Callable[[Term], bool]:
    """Answers whether the text has a term. Its words are told apart only where searching it as a whole cannot tell."""
    if text.isascii():
        lowered = text.lower()
        return lambda term: bool(_in_ascii(term).search(lowered))
    folded = fold(text)
    found = cache(lambda: list(tokens(folded)))

    def has(term: Term) -> bool:
        unspaced = not term[0].spaced and all(unit.follows for unit in term[1:])
        return "".join(unit.text for unit in term) in folded if unspaced else bool(_spans(term, found()))

    return has


@lru_cache(1024)
def _in_ascii(term: Term) -> re.Pattern[str]:
    """What a term looks like in a text of ASCII in lower case. Begins with a text, which is quickly looked for."""
    return re.compile("[^a-z0-9]+".join(map(_unit_in_ascii, term)))


def _unit_in_ascii(unit: Unit) -> str:
    text = re.escape(unit.text)
    return (
        text + ("" if unit.open_start else f"(?<![a-z0-9]{text})") + ("[a-z0-9]*" if unit.open_end else "(?![a-z0-9])")
    )


def hits(query: Query, folded: str) -> list[tuple[int, int]]:
    """Where a folded text has what is looked for: [start, end) of each, in order, none within another."""
    found = list(tokens(folded))
    spans = sorted(
        {span for term in query.wanted for span in _spans(term, found)}, key=lambda span: (span[0], -span[1])
    )
    apart = list[tuple[int, int]]()
    for span in spans:
        if not apart or span[0] >= apart[-1][1]:
            apart.append(span)
    return apart


def _spans(term: Term, text: list[Token]) -> list[tuple[int, int]]:
    last = len(term) - 1
    return [
        (text[i].start, text[i + last].end)
        for i in range(len(text) - last)
        if _is(term[0], text[i]) and all(_is(term[j], text[i + j], j) for j in range(1, last + 1))
    ]


def _is(unit: Unit, token: Token, place: int = 0) -> bool:
    if unit.spaced != token.spaced or (place and unit.follows and not token.follows):
        return False
    if not unit.spaced:
        return unit.text == token.text
    text = token.text if _has_accent(unit.text) else without_accents(token.text)
    if unit.open_start and unit.open_end:
        return unit.text in text
    if unit.open_start:
        return text.endswith(unit.text)
    return text.startswith(unit.text) if unit.open_end else text == unit.text


def _has_accent(word: str) -> bool:
    return without_accents(word) != word
