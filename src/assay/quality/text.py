"""Text as the scorers see it: cleaned, capped, cut into words, sentences and stems.

In: whatever a model or a user wrote. Out: plain strings and lists of them. Training uses the same
functions as scoring, so a word is the same thing in both.
"""

from __future__ import annotations

import re
import unicodedata

RESPONSE_CHARS = 4_000
"""Characters of a prompt or a response that are read; quality does not need the rest."""
CONTEXT_CHARS = 8_000
"""Characters of one context chunk that are read."""

# General category Cf: zero-width spaces and joiners, direction marks, soft hyphen, tag characters.
_INVISIBLE = re.compile(
    "[\u00ad\u0600-\u0605\u061c\u06dd\u070f\u08e2\u180e\u200b-\u200f\u202a-\u202e"
    "\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\U000e0001-\U000e007f]"
)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_GAPS = {code: " " for code in range(128) if not chr(code).isalnum() and chr(code) != "'"}
_OUTER_APOSTROPHE = re.compile(r"'(?:(?![A-Za-z0-9])|(?<![A-Za-z0-9]'))")
# Not after "12." at the head of a list item nor after an initial. A class of characters comes first, since
# the engine skips to those: it is 20 times as fast as trying at every place whether a mark stands before it.
_SENTENCE_END = re.compile(r"[.!?。！？\n](?:(?<=\n)\n*|(?<!\b\d\.)(?<!\b\d\d\.)(?<!\b[A-Z]\.)[\"')\]]*\s+)")
_FENCE = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)", re.DOTALL)

_FUNCTION_WORDS = """
    a about above after again against all also am an and any are as at be because been before being
    below between both but by can cannot could did do does doing down during each even ever few for from
    further get got had has have having he her here hers herself him himself his how i i'd i'll i'm i've
    if in into is it it's its itself just let like may me might more most much must my myself no nor not
    now of off on once one only or other our ours ourselves out over own please same shall she should so
    some such than that that's the their theirs them themselves then there there's these they they're
    this those through to too under until up upon us very was we were what when where which while who
    whom whose why will with would yes you your yours yourself don't doesn't isn't can't won't
"""
STOP_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Function words of English: they carry grammar, not subject."""


def clean(text: str, cap: int = RESPONSE_CHARS) -> str:
    """The first `cap` characters, Unicode-folded (NFKC) and without invisible characters (category Cf)."""
    text = text[:cap]
    if text.isascii():
        return text.strip()
    return _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))[:cap].strip()


def prose(text: str) -> str:
    """The text without its fenced code blocks."""
    return _FENCE.sub(" ", text).strip() if "```" in text or "~~~" in text else text


def words(text: str) -> list[str]:
    """Words and numbers in order, case kept: letters and digits of any script, inner apostrophes too."""
    if text.isascii():
        return _OUTER_APOSTROPHE.sub(" ", text).translate(_GAPS).split()
    found: list[str] = []
    for piece in text.split():
        if piece.isalnum():
            found.append(piece)
        else:
            found += _WORD.findall(piece)
    return found


def has_words(text: str) -> bool:
    """Whether there is any word or number."""
    return _WORD.search(text) is not None


def sentences(text: str) -> list[str]:
    """Sentences and lines in order, none empty."""
    parts: list[str] = []
    start = 0
    for end in _SENTENCE_END.finditer(text):
        mark = end.start()
        parts.append(text[start : mark if text[mark] == "\n" else mark + 1])
        start = end.end()
    parts.append(text[start:])
    return [part for part in parts if part and not part.isspace()]


def stem(word: str) -> str:
    """A lower-case stem of an English word, cheap and rough: "studies" and "study", "planned" and "plan".

    Cuts the inflections of Porter's step 1 (An algorithm for suffix stripping, 1980); derivations stay.
    """
    word = word.lower().replace("’", "'")
    if word.endswith("'s"):
        word = word[:-2]
    if len(word) < 4 or word[0].isdigit():
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    return _without_verb_ending(word)


def _without_verb_ending(word: str) -> str:
    for ending, shortest in (("ing", 6), ("ed", 5), ("ly", 6)):
        if word.endswith(ending) and len(word) >= shortest:
            word = word[: -len(ending)]
            if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
                word = word[:-1]
            break
    return word[:-1] if word.endswith("e") and len(word) > 3 else word
