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
"""Characters of a prompt that are read."""
SHOWN_CHARS = 400
"""Longest template."""
_LONG = 240
"""A paragraph from here on is a document that the prompt is about, if shorter ones stand beside it."""
_ENCLOSED = 80
"""And so is what stands between two tags."""

_FENCED = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)", re.DOTALL)
_TAGGED = re.compile(rf"<([A-Za-z][\w-]*)>.{{{_ENCLOSED},}}?(?:</\1>|\Z)", re.DOTALL)
_PARAGRAPHS = re.compile(r"(\n+)")
_MONTHS = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?"
_VARIABLES = re.compile(
    r"""
    (?P<url>(?:https?://|www\.)[^\s<>"']+)
    | (?P<email>(?<![\w.+-])[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+)
    | (?P<code>`[^`\n]+`)
    | (?P<text>"[^"\n]{1,400}"|“[^”\n]{1,400}”|«[^»\n]{1,400}»|「[^」\n]{1,400}」
        |(?<!\w)'(?=\S)[^'\n]{2,400}(?<=\S)'(?!\w)|(?<!\w)‘(?=\S)[^’\n]{2,400}’(?!\w))
    | (?P<date>(?<!\w)\d{4}-\d\d-\d\d(?:[T\ ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?(?!\w)
        |(?<!\w)\d{1,2}[/.]\d{1,2}[/.]\d{2,4}(?!\w)
        |(?<!\w)\d{1,2}(?:st|nd|rd|th)?\ (?:of\ )?(?i:MONTHS)(?:,?\ \d{4})?(?!\w)
        |(?<!\w)(?i:MONTHS)\ \d{1,2}(?:st|nd|rd|th)?(?:,?\ \d{4})?(?!\w)
        |(?<!\w)\d{1,2}:\d\d(?::\d\d)?(?:\ ?[ap]\.?m\b\.?)?)
    | (?P<path>(?<!\w)~?(?:/[\w.@-]+){2,}/?|(?<!\w)[A-Za-z]:\\[^\s"']+)
    | (?P<id>(?<!\w)[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}(?!\w)
        |(?<![\w-])(?=[A-Za-z_-]*\d)(?=(?:[\w-]*\d){3})[\d_-]*[A-Za-z][\w-]*
        |(?<!\w)[A-Za-z0-9+/_-]{40,}={0,2})
    | (?P<number>(?<![\w])\d+(?:[.,]\d+)*(?=[A-Za-z]{0,3}\b))
    """.replace("MONTHS", _MONTHS),
    re.VERBOSE,
)
# Nothing above can begin without one of these; most short questions have none.
_HINTS = re.compile(r"""\d|["'`“«「‘@/\\]|www\.|\w{40}""")
_SPACE = re.compile(r"\s+")
_EDGES = " .!?。！？,;:"
PLACEHOLDER = re.compile(r"<(?:url|email|code|text|date|path|id|number)>")
"""What stands for something masked."""


def template(prompt: str) -> str:
    """The prompt with what varies replaced by <number>, <id>, <url>, <email>, <date>, <path>, <code> or <text>.

    At most 400 characters, white space collapsed; "" for a prompt without any visible character. Quoted strings,
    fenced code, the inside of long tags, and long paragraphs beside shorter ones are taken for what the prompt is
    about, not for what it asks.
    """
    text = clean(prompt, READ_CHARS)
    if "```" in text or "~~~" in text:
        text = _FENCED.sub("<code>", text)
    if len(text) > _ENCLOSED:
        if "</" in text or len(prompt) > READ_CHARS:
            text = _TAGGED.sub(r"<\1> <text> </\1>", text)
        text = _without_documents(text)
    if _HINTS.search(text):
        text = _VARIABLES.sub(_placeholder, text)
    return _SPACE.sub(" ", text).strip()[:SHOWN_CHARS]


@lru_cache(maxsize=20_000)
def template_id(shown: str) -> int:
    """A number (63 bits) that is the same for templates that differ in case, white space or final punctuation only."""
    same = f"{VERSION} {shown.casefold().strip(_EDGES)}"
    return int.from_bytes(hashlib.blake2b(same.encode(errors="replace"), digest_size=8).digest()) >> 1


def _placeholder(found: re.Match[str]) -> str:
    return f"<{found.lastgroup}>"


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
