"""What kind of text this is, where that decides whether a score can mean anything.

Rules, not a model: cheap, and a person can check them. Everything a rule does not claim is "prose".
"""

from __future__ import annotations

import json
import re
from typing import Literal

from assay.quality.text import STOP_WORDS

Kind = Literal["empty", "short", "code", "json", "table", "foreign", "prose"]

_LETTER_OF_ANOTHER_SCRIPT = re.compile("[\u0370-\u1dff\u2c00-\ua7ff\ua980-\ud7ff\uf900-\ufdff\ufe70-\ufeff]")
_CODE_LINE = re.compile(
    r"^\s*(?:(?:def|class|import|from|return|function|const|let|var|public|private|static|void|for|while|if|else"
    r"|elif|try|except|catch|print|SELECT|INSERT|UPDATE|CREATE|#include|package|func|fn|use)\b.*[(){};:=<>].*"
    r"|.*[;{}]\s*|[\w.\[\]\"']+\s*[-+*/]?=\s*\S.*|.*\w\(.*\)\s*:?\s*|\s*(?:#|//|--|\*).*)$"
)
_TABLE_ROW = re.compile(r"^\s*\|.*\|\s*$|^[^\n]*\t[^\n]*\t|^[^,\n]{1,30}(?:,[^,\s][^,\n]{0,30}){2,}$")
_FOREIGN = """
    el los las una que por para como está estoy puede pero muy también donde
    le les des du est une dans pour pas vous nous avec sur sont cette très mais
    der das und ist ein eine nicht mit ich sie wir auf für dem den von zu auch wird sind
    il che non della sono questo gli uma não são você isso mais
    het een niet van zijn voor och att som är det inte för på nie jest się że jak
    ve bir için olarak yang untuk dengan adalah
"""
_FOREIGN_FUNCTION_WORDS = frozenset(_FOREIGN.split())
"""Common words of other languages in Latin script that are not English words too."""


def kind(text: str, plain: str, lower: list[str]) -> Kind:
    """The kind of a cleaned text, given its prose and the prose's lower-case words.

    "short" has no word at all outside code; "foreign" is not English.
    """
    if not text:
        return "empty"
    if is_json(text):
        return "json"
    if len(plain) < 0.4 * len(text) or _mostly(_CODE_LINE, plain):
        return "code"
    if _mostly(_TABLE_ROW, plain):
        return "table"
    if is_foreign(plain, lower):
        return "foreign"
    return "prose" if lower else "short"


def is_json(text: str) -> bool:
    """Whether the text is a JSON object or array, also one cut off at the cap."""
    if text[0] not in "{[" or len(text) < 2:
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text[0] == "{" and text.lstrip("{ \n\t").startswith('"') and text.count('":') >= 2
    return True


def is_foreign(plain: str, lower: list[str]) -> bool:
    """Whether most letters are of another script, or the function words are of another language."""
    if not plain.isascii():
        other = len(_LETTER_OF_ANOTHER_SCRIPT.findall(plain))
        if other > 0.3 * sum(map(str.isalpha, plain)):
            return True
    foreign = sum(word in _FOREIGN_FUNCTION_WORDS for word in lower)
    return foreign >= 2 and foreign > sum(word in STOP_WORDS for word in lower)


def _mostly(shape: re.Pattern[str], text: str) -> bool:
    """Whether at least two lines, and 60% of all that are not blank, have this shape."""
    lines = [line[:200] for line in text.split("\n") if line.strip()][:60]
    matching = sum(shape.match(line) is not None for line in lines)
    return matching >= 2 and matching >= 0.6 * len(lines)
