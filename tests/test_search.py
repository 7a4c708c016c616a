"""Search: what people type in sixteen languages finds what was said, all of it, and nothing else."""

from __future__ import annotations

import secrets
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.analytics import search
from assay.analytics.calls import calls
from assay.analytics.query import LONGEST_QUERY, found_in, parse
from assay.analytics.selection import Selection
from assay.errors import AssayError
from assay.ingest.dialects.messages import conversation
from assay.records import Span
from assay.store.connect import Row, Store
from assay.store.rows import arrow_schema, arrow_table, stamped
from assay.store.terms import INDEXES, TERMS_SQL, fold, fold_with_origins, terms
from languages import SAID, Said

NOON = 1_706_788_800_000_000  # 2024-02-01T12:00:00Z: a day that no other test writes to
PLACES = ("prompt", "response", "system", "turn", "tool")


def insert(store: Store, *spans: Span, at: int = NOON) -> None:
    store.insert("spans", stamped(arrow_table(spans, arrow_schema(Span)), at))


def call(project: str, **fields: Any) -> Span:
    own: dict[str, Any] = {"trace_id": "1" * 32, "span_id": secrets.token_hex(8), "started_at": NOON, "kind": "llm"}
    return Span(**own | {"project": project, "counted": True} | fields)


def said_as(place: str, text: str) -> dict[str, str]:
    """The columns of a call in which this was said there, as ingest makes them."""
    if place in ("prompt", "response", "system"):
        return {place: text}
    if place == "turn":
        turns = [("user", text), ("assistant", "I see."), ("user", "And now?")]
        return conversation([{"role": role, "content": said} for role, said in turns], "Now this.")._asdict()
    asked = {"type": "tool_call", "id": "call-1", "name": "order_lookup", "arguments": {"note": text, "count": 2}}
    return conversation("Look it up.", [{"role": "assistant", "parts": [asked]}])._asdict()


def found(store: Store, project: str, q: str, **more: Any) -> set[str]:
    return {row["session_id"] for row in calls(store, Selection(project=project), q=q, limit=1000, **more).calls}


@pytest.fixture(scope="module")
def spoken(store: Store) -> str:
    """Every text in every place, half of them in a part that has its indexes, half in one that has none yet."""
    project = f"test-{secrets.token_hex(4)}"
    spans = [
        call(project, session_id=f"{one.language} {place}", **said_as(place, one.text))
        for one in SAID
        for place in PLACES
    ]
    insert(store, *spans[::2])
    store.command("OPTIMIZE TABLE spans PARTITION ID '20240201' FINAL")
    insert(store, *spans[1::2])
    return project


@pytest.mark.parametrize("one", SAID, ids=[one.language for one in SAID])
def test_what_was_said_is_found_wherever_it_was_said_and_nothing_else(store: Store, spoken: str, one: Said) -> None:
    everywhere = {f"{one.language} {place}" for place in PLACES}
    assert {q: found(store, spoken, q) for q in one.finds} == dict.fromkeys(one.finds, everywhere)
    assert {q: found(store, spoken, q) for q in one.misses} == dict.fromkeys(one.misses, set())


def test_a_search_can_be_kept_to_a_part_of_the_call(store: Store, spoken: str) -> None:
    def places(within: str, q: str = "退款") -> set[str]:
        return {session.split()[1] for session in found(store, spoken, q, within=within)}

    assert places("prompt") == {"prompt"}
    assert places("response") == {"response"}
    assert places("messages") == places("") == set(PLACES)
    with pytest.raises(AssayError, match="cannot search in 'title': choose one of prompt, response, messages"):
        places("title")


def test_the_structure_of_messages_is_not_text(store: Store, spoken: str) -> None:
    assert {q: found(store, spoken, q) for q in ("role", "parts", "assistant", "user", "arguments")} == {
        q: set() for q in ("role", "parts", "assistant", "user", "arguments")
    }
    assert len(found(store, spoken, '"order lookup" call-1')) == len(SAID), "a tool's name and a call's id are"


def test_terms_of_the_engine_are_those_of_the_reference(store: Store) -> None:
    texts = [one.text for one in SAID] + [
        "",
        "\0",
        "\u0301",
        "ﾞ",
        "İ",
        "a\u0328\u0301",
        "ǅ ﬃ ㎏ ½ Ⅷ ①",
        "한\u1100\u1161\u11a8",
    ]
    assert _terms(store, texts) == [terms(text) for text in texts]


_LETTERS = st.characters(exclude_categories=["Cs", "Cn", "Co"], max_codepoint=0x1FFFF)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(_LETTERS), min_size=10, max_size=40))
def test_terms_of_the_engine_are_those_of_the_reference_for_any_text(store: Store, texts: list[str]) -> None:
    assert _terms(store, texts) == [terms(text) for text in texts]


def _terms(store: Store, texts: list[str]) -> list[set[str]]:
    rows = store.query(
        f"SELECT {TERMS_SQL['prompt']} AS terms FROM (SELECT arrayJoin({{texts:Array(String)}}) AS prompt)",
        {"texts": texts},
    )
    return [{term for term in row["terms"] if " " not in term and term} for row in rows]


@given(st.text(_LETTERS))
def test_a_text_folded_by_clusters_is_the_text_folded_as_a_whole(text: str) -> None:
    folded, origins = fold_with_origins(text)
    assert folded == fold(text)
    assert len(origins) == len(folded) + 1
    assert origins == sorted(origins)


_WORDS = st.sampled_from(
    "cat Cat cats café CAFE e-mail мой мои ёлка 東京 京都 東京都 ガ ｶﾞ ก กิ 서울 설 é e İ i 🎉 ß ss . \n \\".split(" ")
)
_TEXTS = st.lists(_WORDS, max_size=8).map(" ".join) | st.lists(_WORDS, max_size=4).map("".join)
_ASKED = st.tuples(st.sampled_from(["", "", "-"]), st.sampled_from(["{}", "{}", '"{}"', "{}*", "*{}"]), _TEXTS).map(
    lambda parts: parts[0] + parts[1].format(parts[2])
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(_TEXTS, _TEXTS, _TEXTS), min_size=1, max_size=6), st.lists(_ASKED, max_size=3).map(" ".join))
def test_what_is_found_is_what_the_reference_finds(store: Store, said: list[tuple[str, ...]], q: str) -> None:
    project = f"test-{secrets.token_hex(6)}"
    rows = [dict(zip(("prompt", "response", "system"), texts, strict=True)) for texts in said]
    insert(store, *(call(project, session_id=str(i), **row) for i, row in enumerate(rows)))
    try:
        query = parse(q)
    except AssayError:
        return
    expected = {str(i) for i, row in enumerate(rows) if query is None or found_in(query, row.values())}
    try:
        assert found(store, project, q) == expected
    except AssayError as error:
        assert "at least two letters" in str(error)
