"""Finding calls by their texts: a question to the store's text indexes, then a check of what those cannot decide.

The engine keeps what its terms do not rule out (store/terms.py); that words are neighbours is looked up in the texts
themselves, newest candidates first, until a page is full.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from assay.analytics.query import Query, Term, Unit, found_in
from assay.errors import AssayError
from assay.store.connect import Row, Store
from assay.store.spans import started_at_one_of
from assay.store.terms import INDEX, TERMS_SQL, said

MOST_ENDINGS = 20_000
"""Words that one part with a * may stand for."""

SECONDS = 5.0
"""How long the texts of candidates are read for one page; it ends with what was found then, and its cursor goes on."""

_ASKED_OF_ENGINE = 16
"""Terms that the engine looks up, the longest ones; more cost more than they rule out, and are checked afterwards."""

_INDEX = f"mergeTreeTextIndex(currentDatabase(), 'spans', '{INDEX}')"

_indexed: WeakKeyDictionary[Store, frozenset[str]] = WeakKeyDictionary()
"""Parts that are known to have the index."""

_MOST = 4000
"""Candidates whose texts are read at a time."""


FIELDS = ("prompt", "response", "messages")
"""What can be searched alone; `messages` is all that was said: every turn, the system text, tool calls."""


class Condition(NamedTuple):
    """What the engine keeps: every call that is looked for, and no other if `exact`."""

    where: str
    parameters: dict[str, Any]
    exact: bool


def condition(store: Store, query: Query, within: str) -> Condition:
    """The question to the text index. `within` is one of FIELDS, or "" for all that was said.

    Raises AssayError for another, and where a part with a * stands for too many words.
    """
    if within not in ("", *FIELDS):
        raise AssayError(f"cannot search in {within!r}: choose one of {', '.join(FIELDS)}, or leave it out for all")
    everywhere = within in ("", "messages")
    wanted = sorted(query.wanted, key=_length, reverse=True)
    # The index says what a call has somewhere: not that it lacks it in one place, nor that words are no neighbours.
    unwanted = [term for term in query.unwanted if everywhere and _is_decided(term)]
    bound = dict[str, Any]()
    where = [_has(store, wanted[:_ASKED_OF_ENGINE], bound)] if wanted else []
    where += [f"NOT ({_has(store, [term], bound)})" for term in unwanted[:_ASKED_OF_ENGINE]]
    asked = len(wanted) <= _ASKED_OF_ENGINE and len(query.unwanted) == len(unwanted[:_ASKED_OF_ENGINE])
    return Condition(" AND ".join(where) or "1", bound, everywhere and asked and all(map(_is_decided, query.wanted)))


def texts(row: Row, within: str) -> list[tuple[str, str]]:
    """The texts of a row that are searched, with where each is from; a phrase does not go on from one to the next."""
    return [(field, text) for field, text in said(row) if field == within or within in ("", "messages")]


Keys = list[Row]
"""Calls in the order of a page, each with `project`, `span_id` and `started` (Unix microseconds)."""


def checked(
    store: Store, query: Query, within: str, limit: int, candidates: Callable[[int, Row | None], Keys]
) -> tuple[Keys, Row | None]:
    """The first of `candidates(how many, after which)` that are looked for; and where to go on, None at the end."""
    found, last, size, read = Keys(), None, limit + 1, 0
    deadline = time.monotonic() + SECONDS
    while True:
        some = candidates(size, last)
        found += _looked_for(store, query, within, some)
        if len(found) > limit:
            return found[:limit], found[limit - 1]
        if len(some) < size:
            return found, None
        read += len(some)
        # So many that the missing ones are probably among them, going by how many were looked for so far.
        each = (read + 1) / (len(found) + 1)
        last, size = some[-1], min(math.ceil(1.5 * each * (limit + 1 - len(found))), _MOST)
        if time.monotonic() > deadline:
            return found, last


def _looked_for(store: Store, query: Query, within: str, keys: Keys) -> Keys:
    if not keys:
        return []
    condition, parameters = started_at_one_of([key["started"] for key in keys])
    rows = store.query(
        "SELECT project, span_id, system, prompt, response, messages_in, messages_out, tool_calls FROM spans"
        f" PREWHERE span_id IN {{ids:Array(String)}} AND {condition} ORDER BY version DESC LIMIT 1 BY project, span_id",
        {"ids": [key["span_id"] for key in keys], **parameters},
    )
    good = {
        (row["project"], row["span_id"]) for row in rows if found_in(query, (text for _, text in texts(row, within)))
    }
    return [key for key in keys if (key["project"], key["span_id"]) in good]


def _length(term: Term) -> int:
    return sum(len(unit.text) for unit in term)


def _is_decided(term: Term) -> bool:
    """Whether the engine's terms alone say that a text has it."""
    return len(term) == 1 or (len(term) == 2 and term[1].follows)


def _has(store: Store, looked_for: Sequence[Term], bound: dict[str, Any]) -> str:
    """That a call has all that is looked for, and one of the words of each open unit."""
    # One condition for all: each that names the indexed expression takes milliseconds to plan.
    words = sorted({word for term in looked_for for word in _engine_terms(term)})
    found = [_tokens("hasAllTokens", words, bound)] if words else []
    for unit in (unit for term in looked_for for unit in term if unit.is_open):
        found.append(_tokens("hasAnyTokens", words, bound) if (words := _endings(store, unit)) else "0")
    return " AND ".join(found)


def _tokens(function: str, words: list[str], bound: dict[str, Any]) -> str:
    name = f"term_{len(bound)}"
    bound[name] = words
    return f"{function}(terms, {{{name}:Array(String)}})"


def _engine_terms(term: Term) -> Iterator[str]:
    for i, unit in enumerate(term):
        after = term[i + 1] if i + 1 < len(term) else None
        if after and after.follows:
            yield unit.text + after.text
        elif not unit.follows and not unit.is_open:
            yield unit.text


def _endings(store: Store, unit: Unit) -> list[str]:
    """All words in the index, and in what is not indexed yet, that an open unit stands for."""
    if len(unit.text) < 2:
        raise AssayError(f"{_shown(unit)!r} stands for too many words: write at least two letters beside the *")
    pattern = ("%" if unit.open_start else "") + _like(unit.text) + ("%" if unit.open_end else "")
    rows = store.query(
        f"""
        SELECT DISTINCT token FROM (
            SELECT token FROM {_INDEX} WHERE token LIKE {{like:String}}
            UNION ALL
            SELECT arrayJoin(arrayFilter(term -> term LIKE {{like:String}}, {TERMS_SQL})) AS token FROM spans
            WHERE _part NOT IN {{indexed:Array(String)}}
        )
        LIMIT {{most:UInt32}}
        """,
        {"like": pattern, "most": MOST_ENDINGS + 1, "indexed": _indexed_parts(store)},
    )
    if len(rows) > MOST_ENDINGS:
        raise AssayError(f"{_shown(unit)!r} stands for over {MOST_ENDINGS:,} words: write more letters beside the *")
    return [row["token"] for row in rows]


def _indexed_parts(store: Store) -> list[str]:
    """The parts of `spans` that have the index. To learn that of a part is to read its index, so it is remembered.

    What a part holds never changes; one that is made between this answer and its use is read in full, to the same end.
    """
    rows = store.query(
        "SELECT name FROM system.parts WHERE active AND database = currentDatabase() AND table = 'spans'"
    )
    active = {row["name"] for row in rows}
    known = _indexed.get(store, frozenset()) & active
    if unknown := active - known:
        found = store.query(
            f"SELECT DISTINCT part_name FROM {_INDEX} WHERE part_name IN {{parts:Array(String)}}",
            {"parts": sorted(unknown)},
        )
        known |= {row["part_name"] for row in found}
    _indexed[store] = frozenset(known)
    return sorted(known)


def _like(text: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", text)


def _shown(unit: Unit) -> str:
    return ("*" if unit.open_start else "") + unit.text + ("*" if unit.open_end else "")
