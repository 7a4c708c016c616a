"""A prompt's template: the prompt with what varies from call to call masked, so that equal questions are equal texts.

In: a prompt as it was sent. Out: the template as it is shown, and a number that is the same for templates that differ
only in case, white space or final punctuation. Deterministic; VERSION grows whenever an answer can change.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

from assay.quality.text import clean

VERSION = 1
READ_CHARS = 2_000
"""Characters of a prompt that are read: of a longer one three quarters at its beginning, the rest at its end."""
SHOWN_CHARS = 400
"""Longest template; of a longer one beginning and end are kept."""
_END = 120
_LONG = 240
"""A paragraph from here on is a document that the prompt is about, if shorter ones stand beside it."""
_ENCLOSED = 80
"""And so is what stands between two tags."""

_FENCED = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)", re.DOTALL)
_TAGGED = re.compile(rf"<([A-Za-z][\w-]*)>.{{{_ENCLOSED},}}?</\1>", re.DOTALL)
_PARAGRAPHS = re.compile(r"(\n+)")
_MONTHS = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?"
_URL = re.compile(r"(?:https?://|www\.)[^\s<>\"']+")
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+")
_CODE = re.compile(r"`[^`\n]+`")
_QUOTED = re.compile(
    r"""
    "[^"\n]{1,400}" | “[^”\n]{1,400}” | «[^»\n]{1,400}» | 「[^」\n]{1,400}」
    | '(?<!\w')(?=\S)[^'\n]{2,400}(?<=\S)'(?!\w) | ‘(?<!\w‘)(?=\S)[^’\n]{2,400}’(?!\w)
    """,
    re.VERBOSE,
)
_DATE = re.compile(
    r"""
    \d(?<!\w\d)\d{3}-\d\d-\d\d(?:[T\ ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?(?!\w)
    | \d(?<!\w\d)\d?[/.]\d{1,2}[/.]\d{2,4}(?!\w)
    | \d(?<!\w\d)\d?(?:st|nd|rd|th)?\ (?:of\ )?(?i:MONTHS)(?:,?\ \d{4})?(?!\w)
    | [JFMASOND](?<!\w[A-Z])(?:an|eb|ar|pr|ay|un|ul|ug|ep|ct|ov|ec)[a-z]{0,6}\.?\ \d{1,2}(?:st|nd|rd|th)?
        (?:,?\ \d{4})?(?!\w)
    | \d(?<!\w\d)\d?:\d\d(?::\d\d)?(?:\ ?[ap]\.?m\b\.?)?
    """.replace("MONTHS", _MONTHS),
    re.VERBOSE,
)
_PATH = re.compile(r"(?<!\w)~?(?:/[\w.@-]+){2,}/?|(?<!\w)[A-Za-z]:\\[^\s\"']+")
# Latin letters only: where words are not set apart, those beside a number are no part of it.
_WITH_DIGIT = re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z_-]*+\d[A-Za-z0-9_-]*(?:[.,]\d+)*")
_AMOUNT = re.compile(r"[\d.,-]+([A-Za-z]{0,3})")
_SEVERAL = re.compile("<text>(?: <text>)+")
_BLOB = re.compile(r"(?<!\w)[A-Za-z0-9+/_-]{40,}={0,2}")
_QUOTE = re.compile("[\"'“«「‘]")
_DIGIT = re.compile(r"\d")
_LONGEST_WORD = 40
_FEWEST_DIGITS = 3
"""Of an id that has letters too: GPT-4 and H2O are names of something."""
_EDGES = " .!?。！？,;:"
PLACEHOLDER = re.compile(r"<(?:url|email|code|text|date|path|id|number)>")
"""What stands for something masked."""


def template(prompt: str) -> str:
    """The prompt with what varies replaced by <number>, <id>, <url>, <email>, <date>, <path>, <code> or <text>.

    At most 400 characters, white space collapsed; "" for a prompt without any visible character. Quoted strings,
    fenced code, the inside of long tags, and long paragraphs beside shorter ones are taken for what the prompt is
    about, not for what it asks.
    """
    text = clean(prompt, len(prompt)) if len(prompt) <= READ_CHARS else _ends(prompt)
    if "```" in text or "~~~" in text:
        text = _FENCED.sub("<code>", text)
    if len(text) > _ENCLOSED:
        if "</" in text:
            text = _TAGGED.sub(r"<\1> <text> </\1>", text)
        text = _without_documents(text)
    shown = _SEVERAL.sub("<text>", " ".join(_masked(text).split()))
    return shown if len(shown) <= SHOWN_CHARS else f"{shown[: SHOWN_CHARS - _END - 3]} … {shown[-_END:]}"


@lru_cache(maxsize=20_000)
def template_id(shown: str) -> int:
    """A number (63 bits) that is the same for templates that differ in case, white space or final punctuation only."""
    same = f"{VERSION} {shown.casefold().strip(_EDGES)}"
    return int.from_bytes(hashlib.blake2b(same.encode(errors="replace"), digest_size=8).digest()) >> 1


def _ends(prompt: str) -> str:
    """Beginning and end of a long prompt: what is asked stands there, before or after what it is about."""
    head = READ_CHARS * 3 // 4
    return f"{clean(prompt, head)}\n{clean(prompt[head - READ_CHARS :])}"


def _masked(text: str) -> str:
    """Each kind of variable replaced, where a character without which it cannot be is there at all."""
    if "http" in text or "www." in text:
        text = _URL.sub("<url>", text)
    if "@" in text:
        text = _EMAIL.sub("<email>", text)
    if "`" in text:
        text = _CODE.sub("<code>", text)
    if _QUOTE.search(text):
        text = _QUOTED.sub("<text>", text)
    has_digit = _DIGIT.search(text)
    if has_digit:
        text = _DATE.sub("<date>", text)
    if "/" in text or "\\" in text:
        text = _PATH.sub("<path>", text)
    if has_digit:
        text = _WITH_DIGIT.sub(_number_or_id, text)
    return _BLOB.sub("<id>", text) if max(map(len, text.split()), default=0) >= _LONGEST_WORD else text


def _number_or_id(found: re.Match[str]) -> str:
    token = found.group()
    if amount := _AMOUNT.fullmatch(token):
        return f"<number>{amount[1]}"
    return "<id>" if sum(map(str.isdigit, token)) >= _FEWEST_DIGITS else token


def _without_documents(text: str) -> str:
    """Long paragraphs as <text>, where a shorter one beside them says what is asked."""
    if len(text) <= _LONG or "\n" not in text:
        return text
    parts = _PARAGRAPHS.split(text)
    paragraphs = parts[::2]
    if not any(0 < len(paragraph.strip()) < _LONG for paragraph in paragraphs):
        return text
    parts[::2] = ["<text>" if len(paragraph) >= _LONG else paragraph for paragraph in paragraphs]
    return "".join(parts)
