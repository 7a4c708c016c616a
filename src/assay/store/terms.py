"""The terms of a text: what its index holds, in SQL for the engine and in Python to check and to highlight.

A term is a word in the form that search compares: compatibility forms and case folded, so that full width, ligatures
and ß are as one types them. Where a word has accents there are two, with and without, so that who types them finds
only them and who does not finds both. Scripts that put no spaces between words (Chinese, Japanese, Korean with its
particles, Thai, emoji and others) have no words here, but characters and pairs of neighbours.

tests/test_search.py holds the SQL and the Python to the same terms, and both to migration 8.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any, NamedTuple

_UNSPACED_RANGES = (
    *((0x0E00, 0x109F), (0x1100, 0x11FF), (0x1780, 0x17FF)),  # Thai, Lao, Tibetan, Burmese; Hangul letters; Khmer
    *((0x2190, 0x2BFF), (0x1F000, 0x1FAFF)),  # symbols and emoji
    *((0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3041, 0x318F), (0x31A0, 0x31BF), (0x31F0, 0x31FF)),  # kana and radicals
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),  # Han
    *((0xA960, 0xA97F), (0xAC00, 0xD7FF), (0x1B000, 0x1B16F)),  # Hangul; old kana
)
_UNSPACED_SQL = "".join(rf"\x{{{first:X}}}-\x{{{last:X}}}" for first, last in _UNSPACED_RANGES)
_UNSPACED = "".join(f"{chr(first)}-{chr(last)}" for first, last in _UNSPACED_RANGES)

# Marks that people leave out as they like, also in texts: the dot of the Turkish İ (folding leaves it on the i), Greek
# accents (capitals have none), Hebrew points, Arabic vowels, hamza and tatweel.
_OPTIONAL = r"(i)\x{307}|([\x{370}-\x{3FF}])[\x{300}-\x{36F}]+|[\x{591}-\x{5C7}\x{640}\x{64B}-\x{65F}\x{670}]"
# й and ў are letters of their own; ё is an е that one may dot.
_ACCENTS = r"([\x{400}-\x{4FF}]\x{306})|[\x{300}-\x{36F}]"
_STROKES = ("đłøħ", "dloh")

_IGNORED = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Unicode's Default_Ignorable_Code_Point: joiners, directions, variation selectors; nobody sees or types them."""

# What a message list says beside its texts, in the form in which ingest writes it; and every JSON escape.
_TYPES = ("text", "tool_call", "tool_call_response", "reasoning", "blob", "uri")
_ROLES = ("system", "developer", "user", "assistant", "tool")
_KEYS = ("role", "type", "parts", "content", "finish_reason", "id", "name", "arguments", "response", "modality", "uri")
_STRUCTURE = (
    rf'"role":"(?:{"|".join(_ROLES)})"|"type":"(?:{"|".join(_TYPES)})"|"finish_reason":"[^"\\]*"'
    rf'|"(?:{"|".join(_KEYS)})":|\\(?:u[0-9a-fA-F]{{4}}|.)'
)

INDEX = "said_terms"
"""The text index of `spans` that holds the terms of each call."""


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _terms_sql(text: str) -> str:
    # Texts of ASCII, by far the most, take a short way; the long one then has nothing to do. An `if` around all of it
    # would do what is shared below once for each that shares it.
    ascii = f"length({text}) = lengthUTF8({text})"
    folded = f"normalizeUTF8NFD(replaceAll(normalizeUTF8NFKCCasefold(if({ascii}, '', {text})), 'ı', 'i'))"
    strict = rf"normalizeUTF8NFC(replaceRegexpAll({folded}, {_quoted(_OPTIONAL)}, '\\1\\2'))"
    # Replacing what is no word and splitting at ASCII afterwards takes a third of the time of extracting words.
    no_word = rf"(?:[^\p{{L}}\p{{N}}\p{{M}}]|[{_UNSPACED_SQL}])+"
    words = f"replaceRegexpAll({strict}, {_quoted(no_word)}, ' ')"
    loose = rf"normalizeUTF8NFC(replaceRegexpAll(normalizeUTF8NFD({words}), {_quoted(_ACCENTS)}, '\\1'))"
    loose = f"translateUTF8({loose}, '{_STROKES[0]}', '{_STROKES[1]}')"
    unspaced = f"replaceRegexpAll({strict}, {_quoted(f'[^{_UNSPACED_SQL}]+')}, ' ')"
    all_words = f"concat(if({ascii}, lower({text}), ''), ' ', {words}, ' ', {loose})"
    return f"arrayConcat(tokens({all_words}, 'splitByNonAlpha'), ngrams({unspaced}, 1), ngrams({unspaced}, 2))"


TERMS_SQL = _terms_sql(
    "concat(prompt, ' ', response, ' ', system, ' ', replaceRegexpAll(concat(messages_in, ' ', messages_out, ' ', "
    f"tool_calls), {_quoted(_STRUCTURE)}, ' '))"
)
"""The terms of all that was said in a row of `spans`, Array(String): what the index is made of."""


class Token(NamedTuple):
    """A word, or one character of a script without spaces, in a folded text at [start, end)."""

    text: str
    start: int
    end: int
    spaced: bool
    follows: bool
    """Whether it stands directly after the one before."""


class Folded(NamedTuple):
    """A text as search compares it. Character i of it came from [origins[i], origins[i + 1]) of the text itself."""

    text: str
    origins: list[int]


def fold(text: str) -> str:
    """A text as search compares it, accents kept."""
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFD", _IGNORED.sub("", text)).casefold()
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    text = unicodedata.normalize("NFD", text.replace("ı", "i"))
    return unicodedata.normalize("NFC", _pattern(_OPTIONAL).sub(r"\1\2", text))


def fold_with_origins(text: str) -> Folded:
    """A folded text and where each of its characters came from: folded cluster by cluster, to the same end."""
    if text.isascii():
        return Folded(text.lower(), list(range(len(text) + 1)))
    pieces, origins = list[str](), list[int]()
    for cluster in _clusters().finditer(text):
        piece = _fold_cluster(cluster.group())
        pieces.append(piece)
        origins += [cluster.start()] * len(piece)
    return Folded("".join(pieces), [*origins, len(text)])


@lru_cache(16_384)
def without_accents(term: str) -> str:
    """A folded word without the accents of Latin and Cyrillic letters."""
    if term.isascii():
        return term
    bare = _pattern(_ACCENTS).sub(r"\1", unicodedata.normalize("NFD", term))
    return unicodedata.normalize("NFC", bare).translate(_STROKE_TABLE)


def tokens(folded: str) -> Iterator[Token]:
    """Words and unspaced characters of a folded text, in order."""
    last = -1
    for match in _tokens().finditer(folded):
        start, end = match.span()
        yield Token(match.group(), start, end, match.lastindex is not None, start == last)
        last = end


def terms(text: str) -> set[str]:
    """The terms of a text: what TERMS_SQL gives, but for terms with a space in them, which only the engine makes."""
    found, before = set[str](), ""
    for token in tokens(fold(text)):
        found |= {token.text, without_accents(token.text) if token.spaced else ""}
        if not token.spaced and token.follows and before:
            found.add(before + token.text)
        before = "" if token.spaced else token.text
    return found - {""}


def message_texts(messages: str) -> list[str]:
    """The texts of a message list (JSON) that search reads: contents, names, arguments, results, ids; no structure."""
    try:
        return list(_texts(json.loads(messages, parse_int=str, parse_float=str, parse_constant=str)))
    except (ValueError, RecursionError):
        return [messages]


def said(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The texts of a row that are searched, with where each is from: prompt, response, system or messages."""
    for name in ("prompt", "response", "system"):
        yield name, row[name]
    for messages in (row["messages_in"], row["messages_out"], row["tool_calls"]):
        yield from (("messages", text) for text in (message_texts(messages) if messages else []))


def _texts(data: Any) -> Iterator[str]:
    if isinstance(data, dict):
        for key, value in data.items():
            if key not in _KEYS:
                yield key
            if not (isinstance(value, str) and _is_structure(key, value)):
                yield from _texts(value)
    elif isinstance(data, list):
        for item in data:
            yield from _texts(item)
    else:
        yield data if isinstance(data, str) else json.dumps(data)


def _is_structure(key: str, value: str) -> bool:
    return (
        (key == "role" and value in _ROLES)
        or (key == "type" and value in _TYPES)
        or (key == "finish_reason" and '"' not in value and "\\" not in value)
    )


_STROKE_TABLE = str.maketrans(*_STROKES)


@cache
def _pattern(sql: str) -> re.Pattern[str]:
    """A pattern of the engine's, whose characters are written \\x{41}, as one of Python's."""
    return re.compile(re.sub(r"\\x\{([0-9A-Fa-f]+)\}", lambda code: chr(int(code[1], 16)), sql))


@lru_cache(1 << 16)
def _fold_cluster(cluster: str) -> str:
    return fold(cluster)


@cache
def _tokens() -> re.Pattern[str]:
    unspaced = re.compile(f"[{_UNSPACED}]")
    return re.compile(f"([{_characters('LNM', unspaced)}]+)|[{_UNSPACED}]")


@cache
def _clusters() -> re.Pattern[str]:
    """A character with what joins it: marks, what nobody sees, later letters of Hangul, halfwidth voicing."""
    joins = f"{_characters('M')}{_IGNORED.pattern[1:-1]}\u1160-\u11ff\uff9e\uff9f"
    return re.compile(f"[^{joins}]?[{joins}]+|[^{joins}]", re.DOTALL)


def _characters(categories: str, but: re.Pattern[str] | None = None) -> str:
    """The inside of a character class of these categories. Beyond the first two planes there is nothing of them."""
    all_of_them = (code for code in range(0x20000) if unicodedata.category(chr(code))[0] in categories)
    found = [code for code in all_of_them if not (but and but.match(chr(code)))]
    firsts = [code for i, code in enumerate(found) if not i or found[i - 1] != code - 1]
    lasts = [code for i, code in enumerate(found) if i + 1 == len(found) or found[i + 1] != code + 1]
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in zip(firsts, lasts, strict=True))
