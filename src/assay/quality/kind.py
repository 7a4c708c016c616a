"""What kind of text this is, where that decides whether a score can mean anything.

Rules, not a model: cheap, and a person can check them. Everything a rule does not claim is "prose".
"""

from __future__ import annotations

import json
import re
from typing import Literal

from assay.quality.scorer import Conversation, Verdict, unknown
from assay.quality.text import STOP_WORDS

Kind = Literal["empty", "short", "code", "json", "table", "foreign", "prose"]

_LETTER_OF_ANOTHER_SCRIPT = re.compile("[\u0370-\u1dff\u2c00-\ua7ff\ua980-\ud7ff\uf900-\ufdff\ufe70-\ufeff]")
_CODE_LINE = re.compile(
    r"^\s*(?:(?:def|class|import|from|return|function|const|let|var|public|private|static|void|for|while|if|else"
    r"|elif|try|except|catch|print|SELECT|INSERT|UPDATE|CREATE|#include|package|func|fn|use)\b.*[(){};:=<>].*"
    r"|.*[;{}]\s*|[\w.\[\]\"']+\s*[-+*/]?=\s*\S.*|.*\w\(.*\)\s*:?\s*|\s*(?:#|//|--|\*).*)$"
)
_TABLE_ROW = re.compile(r"^\s*\|.*\|\s*$|^[^\n]*\t[^\n]*\t|^[^,\n]{1,30}(?:,[^,\s][^,\n]{0,30}){2,}$")
_CODE_SIGNS = ("(", "{", ";", "=", "}", "#", "//", "--", "*")
_TIGHT_COMMA = re.compile(r",\S")
"""A text of code has one of the signs; a table has this, a bar or a tab."""
_FOREIGN = """
    el los las una unas que por para como está están estoy puede pueden pero muy también donde cuando todos todas
    esto esta este eso ese nos ustedes nosotros ella ellos nuestro nuestra porque qué quién cómo hay fue yo
    les des du est une dans pour pas vous nous avec sur sont cette ces très mais je ils elles mes tes leur leurs
    qui quoi où ici tous toutes peut peuvent fait être avoir moi toi lui pourquoi quand aux
    der das und ist ein eine einen einem einer nicht mit ich sie wir ihr auf für dem den von zu auch wird sind alle
    diese dieser dieses keine kein noch schon wenn weil aber oder doch nach über unter zum zur haben kann können
    sollen soll muss müssen euch mir mich dich sein seine ihre werden wie
    il che non della dello degli delle dalla dalle nella sono questo questa questi gli perché quando tutti tutte
    hanno essere più anche così loro siamo mio tuo suo le
    uma não são você vocês isso mais os eles elas nosso nossa devem essa esse muito seu sua pelo pela têm foi
    het een niet van zijn voor deze dit dat wordt worden naar maar ook nog wel geen wij jij jullie hun onze hebben
    heeft moet moeten te veel aan bij
    och att som är det inte för på jag ett till med måste alla dem jeg ikke
    nie jest są się że jak tak tym tych tego za ich oni być tylko już czy dla przez wszyscy powinni tutaj
    ve bir bu çok için olarak değil gibi kadar yang untuk dengan adalah tidak akan dari saya mereka ini itu
    hai hain nahi aur kya yeh mujhe mera tera hota hote mein sabhi
"""
_FOREIGN_FUNCTION_WORDS = frozenset(_FOREIGN.split())
"""Common words of other languages in Latin letters that are hardly ever English words too."""


TOOL_CALL = frozenset({"tool_calls", "tool_call", "tool_use", "function_call"})
INTERRUPTED = frozenset({"cancelled", "canceled", "aborted", "interrupted", "disconnected"})
"""Finish reasons of a stream that its reader left: the text is a part, through no fault of the model."""

_NOT_ASSESSABLE: dict[Kind, str] = {
    "empty": "empty response",
    "short": "no words in the response",
    "code": "mostly code",
    "json": "the response is JSON",
    "table": "mostly a table",
    "foreign": "not in English",
}


def hindrance(conversation: Conversation, form: Kind, refuses: bool, scored: frozenset[Kind]) -> Verdict | None:
    """Why this response, of this kind, gets no score from a scorer that reads prose and `scored`; None if it does."""
    if form == "empty" and conversation.finish_reason.lower() in TOOL_CALL:
        return unknown("not assessable: a tool call without text", "tool call")
    if form in _NOT_ASSESSABLE and form not in scored:
        return unknown(f"not assessable: {_NOT_ASSESSABLE[form]}", form)
    if refuses:
        return unknown("not assessable: a refusal", "refusal")
    return None


def kind(text: str, plain: str, lower: list[str]) -> Kind:
    """The kind of a cleaned text, given its prose and the prose's lower-case words.

    "short" has no word at all outside code; "foreign" is not English.
    """
    if not text:
        return "empty"
    if is_json(text):
        return "json"
    if len(plain) < 0.4 * len(text) or _is_code(plain):
        return "code"
    if _is_table(plain):
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
    """Whether most letters are of another script, or the function words and accents are of another language."""
    if not plain.isascii():
        other = len(_LETTER_OF_ANOTHER_SCRIPT.findall(plain))
        if other > 0.3 * sum(map(str.isalpha, plain)):
            return True
    foreign = sum(map(_FOREIGN_FUNCTION_WORDS.__contains__, lower))
    if not plain.isascii():
        foreign += sum(not word.replace("’", "").isascii() and word not in _FOREIGN_FUNCTION_WORDS for word in lower)
    return foreign >= 2 and foreign > sum(map(STOP_WORDS.__contains__, lower))


def _is_code(plain: str) -> bool:
    return "\n" in plain and any(map(plain.__contains__, _CODE_SIGNS)) and _mostly(_CODE_LINE, plain)


def _is_table(plain: str) -> bool:
    if "\n" not in plain or not ("|" in plain or "\t" in plain or _TIGHT_COMMA.search(plain)):
        return False
    return _mostly(_TABLE_ROW, plain)


def _mostly(shape: re.Pattern[str], text: str) -> bool:
    """Whether at least two lines, and 60% of all that are not blank, have this shape."""
    lines = [line[:200] for line in text.split("\n") if line.strip()][:60]
    matching, needed = len(lines), max(2, 0.6 * len(lines))
    for line in lines:
        matching -= shape.match(line) is None
        if matching < needed:
            return False
    return matching >= needed
