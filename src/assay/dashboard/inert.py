"""Show what users and models wrote as it is, in places where Streamlit would read it as Markdown.

Labels, captions, badges and messages are Markdown: a prompt in them could load an image, pose as a link or
colour itself like an alert. Where plain elements exist (st.text, st.code) they need none of this.
"""

from __future__ import annotations

import re

JOINER = "\u2060"
"""A character without width: it parts what would be replaced even after escaping."""

# Streamlit and its Markdown parser look for these in finished text, where a backslash no longer helps:
# :icon: and :emoji: names, bare URLs, e-mail addresses, and arrows and signs made of ASCII.
_REPLACED_LATER = re.compile(r"[:@]|www(?=\.)|[-<>~](?=[->=])", re.IGNORECASE)
_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_BIDI = re.compile(r"[\u202a-\u202e\u2066-\u2069]")


def inert(text: str) -> str:
    """Markdown that shows exactly this text, on one line.

    Every ASCII punctuation character is escaped, which CommonMark (section 2.4) allows anywhere.
    """
    parted = _REPLACED_LATER.sub(lambda found: found[0] + JOINER, one_line(text))
    return _PUNCTUATION.sub(r"\\\g<0>", parted)


def excerpt(text: str, length: int = 90) -> str:
    """The beginning of a text on one line, at most `length` characters; still to be made inert."""
    line = one_line(text[: length * 4])
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def one_line(text: str) -> str:
    """The text without line breaks, control characters and switches of writing direction."""
    return " ".join(_BIDI.sub("", _CONTROLS.sub(" ", text)).split())
