"""The engine's complaints about a user's query, in the user's words: what, where, and what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches


def in_plain_words(said: str, views: Sequence[str], query: str, columns: Sequence[str] = ()) -> str:
    """One sentence or two. `said` is the engine's message, `columns` are those of the views that may be meant."""
    message = _bare(said)
    if "Multi-statements are not allowed" in said:
        return "one query at a time: leave out the ; and what follows it"
    if found := re.search(
        r"Syntax error.*?failed at position (\d+) \((.*?)\)(?: \(line \d+, col \d+\))?: ", said, re.S
    ):
        return _syntax(int(found[1]), found[2], query)
    if found := re.search(r"Unknown (?:expression|table expression) identifier [`'](.+?)[`']", message):
        known = views if "table expression" in found[0] else columns
        return f"there is no {'view' if known is views else 'column'} {found[1]}{_meant(found[1], known, message)}"
    if found := re.search(r"Function with name [`'](.+?)[`'] does not exist", message):
        return f"there is no function {found[1]}{_meant(found[1], (), message)}"
    for sign, told in _LIMITS.items():
        if sign in said:
            return told
    return message


_LIMITS = {
    "TIMEOUT_EXCEEDED": "the query took too long: narrow it, for example by WHERE started_at > now() - INTERVAL 1 DAY "
    "(sql.max_seconds in assay.toml sets the limit)",
    "MEMORY_LIMIT_EXCEEDED": "the query needs too much memory: narrow it, or group by fewer values "
    "(sql.max_memory_bytes in assay.toml sets the limit)",
    "TOO_SLOW": "the query took too long: narrow it (sql.max_seconds in assay.toml sets the limit)",
    "UNKNOWN_QUERY_PARAMETER": "write values into the query: parameters such as {name:String} cannot be filled in",
    "READONLY": "the query may only read",
    "ACCESS_DENIED": "the query may only read",
}


def _bare(said: str) -> str:
    """Without codes, versions, the whole query repeated, and the engine's own names of errors."""
    text = re.sub(r"^.*?DB::Exception: ", "", said, count=1, flags=re.S)
    text = re.sub(r"Code: \d+\. DB::Exception: ", "", text)
    text = re.sub(r"(: |\. |\s)In scope .*", "", text, flags=re.S)
    text = re.sub(r": While (executing|processing) .*", "", text, flags=re.S)
    return re.sub(r"( \(version [^)]*\))?[.\s]*(\([A-Z_]{4,}\))?\s*$", "", text).strip()


def _syntax(position: int, near: str, query: str) -> str:
    """`position` counts bytes from 1; what is told counts characters."""
    before = query.encode()[: position - 1].decode(errors="replace")
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    rest = query[len(before) :].split("\n", 1)[0][:40]
    if near == "end of query" or not rest:
        return f"the query ends too soon, at line {line}, column {column}"
    return f"cannot read the query at line {line}, column {column}: {rest}"


def _meant(name: str, known: Sequence[str], message: str) -> str:
    hinted = re.search(r"Maybe you meant:? \[(.+?)\]", message)
    names = re.findall(r"'(.+?)'", hinted[1]) if hinted else get_close_matches(name.split(".")[-1], known, 3, 0.5)
    if names:
        return f": did you mean {' or '.join(names)}?"
    return f": there are {', '.join(known)}" if known else ""
