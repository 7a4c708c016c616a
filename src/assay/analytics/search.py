"""Finding calls by their texts: a question to the store's text indexes, then a check of what those cannot decide.

The engine keeps what its terms do not rule out (store/terms.py); that words are neighbours is looked up in the texts
themselves, newest candidates first, until a page is full.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from assay.analytics.query import Query, Term, Unit, found_in
from assay.errors import AssayError
from assay.store.connect import Row, Store
from assay.store.spans import started_within
from assay.store.terms import FIELDS, INDEXES, TERMS_SQL, said

MOST_ENDINGS = 20_000
"""Words that one part with a * may stand for."""

SECONDS = 5.0
"""How long the texts of candidates are read for one page; it ends with what was found then, and its cursor goes on."""

_ASKED_OF_ENGINE = 16
"""Terms that the engine looks up, the longest ones; more cost more than they rule out, and are checked afterwards."""

_FEWEST, _MOST = 200, 4000
"""Candidates whose texts are read at a time."""


class Condition(NamedTuple):
    """What the engine keeps: every call that is looked for, and no other if `exact`."""

    names: str
    """Expressions that `where` names, for WITH."""
    where: str
    parameters: dict[str, Any]
    exact: bool


def condition(store: Store, query: Query, within: str) -> Condition:
    """The question to the text indexes. `within` is one of FIELDS, or "" for all that was said.

    Raises AssayError where a part with a * stands for too many words.
    """
    parts = parts_of(within)
    engine = _Engine(store, parts)
    longest = sorted(query.wanted, key=_length, reverse=True)
    where = [engine.has(term) for term in longest[:_ASKED_OF_ENGINE]]
    decided = [term for term in query.unwanted if _is_decided(term)]
    where += [f"NOT {engine.has(term)}" for term in decided[:_ASKED_OF_ENGINE]]
    exact = (
        all(map(_is_decided, (*query.wanted, *query.unwanted)))
        and max(len(query.wanted), len(query.unwanted)) <= _ASKED_OF_ENGINE
    )
    names = ", ".join(f"{TERMS_SQL[part]} AS {INDEXES[part]}" for part in parts)
    return Condition(names, " AND ".join(where) or "1", engine.parameters, exact)


def parts_of(within: str) -> tuple[str, ...]:
    """The indexed parts of a call that one of FIELDS means. Raises AssayError for another."""
    if within not in ("", *FIELDS):
        raise AssayError(f"cannot search in {within!r}: choose one of {', '.join(FIELDS)}, or leave it out for all")
    return tuple(INDEXES) if within in ("", "messages") else (within,)


def texts(row: Row, parts: tuple[str, ...]) -> list[tuple[str, str]]:
    """The texts of a row that are searched, with where each is from: prompt, response, system or messages."""
    found = [(part, row[part]) for part in parts if part != "said"]
    if "said" in parts:
        system, *turns = said(row)
        found += [("system", system), *(("messages", turn) for turn in turns)]
    return found


Keys = list[Row]
"""Calls in the order of a page, each with `project`, `span_id` and `started` (Unix microseconds)."""


def checked(
    store: Store, query: Query, within: str, limit: int, candidates: Callable[[int, Row | None], Keys]
) -> tuple[Keys, Row | None]:
    """Of `candidates(how many, after which)` the first that are looked for; and after which to go on, None at the end."""
    found, last, size = Keys(), None, max(4 * limit, _FEWEST)
    deadline = time.monotonic() + SECONDS
    while True:
        some = candidates(size, last)
        found += _looked_for(store, query, parts_of(within), some)
        if len(found) > limit:
            return found[:limit], found[limit - 1]
        if len(some) < size:
            return found, None
        last, size = some[-1], min(2 * size, _MOST)
        if time.monotonic() > deadline:
            return found, last


def _looked_for(store: Store, query: Query, parts: tuple[str, ...], keys: Keys) -> Keys:
    if not keys:
        return []
    starts = [key["started"] for key in keys]
    condition, parameters = started_within((min(starts), max(starts)))
    rows = store.query(
        "SELECT project, span_id, system, prompt, response, messages_in, messages_out, tool_calls FROM spans"
        f" WHERE span_id IN {{ids:Array(String)}} AND {condition} ORDER BY version DESC LIMIT 1 BY project, span_id",
        {"ids": [key["span_id"] for key in keys], **parameters},
    )
    good = {
        (row["project"], row["span_id"]) for row in rows if found_in(query, (text for _, text in texts(row, parts)))
    }
    return [key for key in keys if (key["project"], key["span_id"]) in good]


def _length(term: Term) -> int:
    return sum(len(unit.text) for unit in term)


def _is_decided(term: Term) -> bool:
    """Whether the engine's terms alone say that a text has it."""
    return len(term) == 1 or (len(term) == 2 and term[1].follows)


class _Engine:
    """Conditions over the indexes of some parts, and the values that they are bound to."""

    def __init__(self, store: Store, parts: tuple[str, ...]) -> None:
        self.parameters = dict[str, Any]()
        self._store = store
        self._parts = parts

    def has(self, term: Term) -> str:
        """That a part has all terms of what is looked for, and one of the words of each open unit."""
        return "(" + " OR ".join(self._part_has(part, term) for part in self._parts) + ")"

    def _part_has(self, part: str, term: Term) -> str:
        words = sorted(set(_engine_terms(term)))
        found = [f"hasAllTokens({INDEXES[part]}, {self._bound(words)})"] if words else []
        for unit in term:
            if unit.is_open:
                words = _endings(self._store, part, unit)
                found.append(f"hasAnyTokens({INDEXES[part]}, {self._bound(words)})" if words else "0")
        return "(" + " AND ".join(found) + ")"

    def _bound(self, words: list[str]) -> str:
        name = f"term_{len(self.parameters)}"
        self.parameters[name] = words
        return f"{{{name}:Array(String)}}"


def _engine_terms(term: Term) -> Iterator[str]:
    for i, unit in enumerate(term):
        after = term[i + 1] if i + 1 < len(term) else None
        if after and after.follows:
            yield unit.text + after.text
        elif not unit.follows and not unit.is_open:
            yield unit.text


def _endings(store: Store, part: str, unit: Unit) -> list[str]:
    """All words in a part's index, and in what is not indexed yet, that an open unit stands for."""
    if len(unit.text) < 2:
        raise AssayError(f"{_shown(unit)!r} stands for too many words: write at least two letters beside the *")
    index = INDEXES[part]
    pattern = ("%" if unit.open_start else "") + _like(unit.text) + ("%" if unit.open_end else "")
    rows = store.query(
        f"""
        SELECT DISTINCT token FROM (
            SELECT token FROM mergeTreeTextIndex(currentDatabase(), 'spans', '{index}') WHERE token LIKE {{like:String}}
            UNION ALL
            SELECT arrayJoin(arrayFilter(term -> term LIKE {{like:String}}, {TERMS_SQL[part]})) AS token FROM spans
            WHERE _part NOT IN (SELECT part_name FROM mergeTreeTextIndex(currentDatabase(), 'spans', '{index}'))
        )
        LIMIT {{most:UInt32}}
        """,
        {"like": pattern, "most": MOST_ENDINGS + 1},
    )
    if len(rows) > MOST_ENDINGS:
        raise AssayError(f"{_shown(unit)!r} stands for over {MOST_ENDINGS:,} words: write more letters beside the *")
    return [row["token"] for row in rows]


def _like(text: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", text)


def _shown(unit: Unit) -> str:
    return ("*" if unit.open_start else "") + unit.text + ("*" if unit.open_end else "")
