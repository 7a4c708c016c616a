"""Search: what people type in sixteen languages finds what was said, all of it, and nothing else."""

from __future__ import annotations

import json
import secrets
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from assay.analytics import search
from assay.analytics.calls import calls
from assay.analytics.query import found_in, hits, parse
from assay.analytics.search import condition
from assay.analytics.selection import Selection
from assay.client.monitor import connect
from assay.errors import AssayError, ServerError
from assay.ingest.dialects.messages import conversation
from assay.records import Span
from assay.store import housekeeping
from assay.store.connect import Store
from assay.store.rows import arrow_schema, arrow_table, stamped
from assay.store.terms import INDEX, TERMS_SQL, fold, fold_with_origins, terms
from conftest import Server, eventually, messages, otlp, run_assay
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
    assert {q: found(store, spoken, q) for q in one.misses} == {q: set() for q in one.misses}


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
        "a≠b",
    ]
    assert _terms(store, texts) == [terms(text) for text in texts]


_LETTERS = st.characters(exclude_categories=["Cs", "Cn", "Co"], max_codepoint=0x1FFFF)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(_LETTERS), min_size=10, max_size=40))
def test_terms_of_the_engine_are_those_of_the_reference_for_any_text(store: Store, texts: list[str]) -> None:
    assert _terms(store, texts) == [terms(text) for text in texts]


def _terms(store: Store, texts: list[str]) -> list[set[str]]:
    rows = store.query(
        f"SELECT {TERMS_SQL} AS terms FROM (SELECT arrayJoin({{texts:Array(String)}}) AS prompt, '' AS response,"
        " '' AS system, '' AS messages_in, '' AS messages_out, '' AS tool_calls)",
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
    [
        *(*"eéiİß.\\\n🎉ガก설", "cat", "Cat", "cats", "café", "CAFE", "e-mail", "мой", "мои", "ёлка"),
        *("東京", "京都", "東京都", "ｶﾞ", "กิ", "서울", "ss"),
    ]
)
_TEXTS = st.lists(_WORDS, max_size=8).map(" ".join) | st.lists(_WORDS, max_size=4).map("".join)
_ASKED = st.tuples(st.sampled_from(["", "", "-"]), st.sampled_from(["{}", "{}", '"{}"', "{}*", "*{}"]), _TEXTS).map(
    lambda parts: parts[0] + parts[1].format(parts[2])
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


_SHORT = st.text("ab _*", max_size=6) | st.text("ab -é京都", max_size=6)


@settings(max_examples=500)
@example("ab b", '"{}"', "a* b")
@given(_SHORT, st.sampled_from(['"{}"', "{}", '"{}*"', '"*{}"', "*{}*"]), _SHORT)
def test_a_text_searched_as_a_whole_has_what_its_words_one_by_one_have(text: str, form: str, looked_for: str) -> None:
    try:
        query = parse(form.format(looked_for))
    except AssayError:
        return
    if query and len(query.wanted) == 1 and not query.unwanted:
        assert found_in(query, [text]) == bool(hits(query, fold(text)))


def test_the_engine_answers_from_the_index_that_the_migration_makes(store: Store, spoken: str) -> None:
    asked = condition(store, parse("refund -fee"), "")
    plan = store.query(
        f"EXPLAIN indexes = 1, actions = 1 WITH {TERMS_SQL} AS terms SELECT span_id FROM spans WHERE {asked.where}",
        asked.parameters,
    )
    text = "\n".join(row["explain"] for row in plan)
    assert asked.exact
    assert f"__text_index_{INDEX}_hasAllTokens" in text, "no text is read"
    assert "normalizeUTF8" not in text


def test_what_was_found_is_shown_in_pieces_of_the_text_itself(store: Store, project: str) -> None:
    text = "x " * 100 + "Die STRASSE ist naß: ﬁnal İstanbul ｶﾞ. " + "y " * 200
    insert(store, call(project, prompt=text, response="strasse", system="nothing"))
    [row] = calls(store, Selection(project=project), q="straße ガ istan* -never").calls
    first, second = row["highlights"]
    assert [piece["text"] for piece in first["pieces"] if piece["hit"]] == ["STRASSE", "İstanbul", "ｶﾞ"]
    excerpt = "".join(piece["text"] for piece in first["pieces"])
    assert text[first["start"] :].startswith(excerpt)
    assert (first["field"], first["cut_before"], first["cut_after"], len(excerpt) <= 300) == (
        "prompt",
        True,
        True,
        True,
    )
    assert second == {
        "field": "response",
        "start": 0,
        "pieces": [{"text": "strasse", "hit": True}],
        "cut_before": False,
        "cut_after": False,
    }
    assert "highlights" not in calls(store, Selection(project=project)).calls[0]


def test_a_search_is_paged_without_gaps_also_where_texts_must_be_read(store: Store, project: str) -> None:
    texts = ["late refund" if i % 7 == 0 else "refund late" for i in range(60)]
    insert(store, *(call(project, session_id=str(i), prompt=text, started_at=NOON + i) for i, text in enumerate(texts)))
    for q, expected in (('"late refund"', range(56, -1, -7)), ("late refund", range(59, -1, -1))):
        paged, cursor = list[str](), ""
        while cursor is not None:
            page = calls(store, Selection(project=project), q=q, limit=4, cursor=cursor)
            paged += [row["session_id"] for row in page.calls]
            cursor = page.next_cursor
        assert paged == [str(i) for i in expected]


def test_a_page_ends_when_reading_takes_too_long_and_its_cursor_goes_on(
    store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "SECONDS", 0.0)
    insert(store, *(call(project, prompt="b a", started_at=NOON + i) for i in range(1, 9)))
    insert(store, call(project, prompt="a b"))
    first = calls(store, Selection(project=project), q='"a b"', limit=1)
    assert first.calls == []
    assert first.next_cursor
    monkeypatch.setattr(search, "SECONDS", 5.0)
    rest = calls(store, Selection(project=project), q='"a b"', limit=1, cursor=first.next_cursor)
    assert [row["prompt"] for row in rest.calls] == ["a b"]
    assert rest.next_cursor is None


def test_a_newer_version_of_a_call_is_found_by_what_it_says_now(store: Store, project: str) -> None:
    old = call(project, prompt="before")
    insert(store, old, at=NOON)
    insert(store, msgspec.structs.replace(old, prompt="after"), at=NOON + 1)
    assert found(store, project, "before") == set()
    assert found(store, project, "after -before") == {""}


def test_parts_without_an_index_get_it_in_the_background(
    store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "FEWEST_ROWS", 1)
    insert(store, call(project, prompt="unindexed", started_at=NOON + 86_400_000_000))
    assert "20240202" in eventually(lambda: housekeeping.index_new_parts(store))
    eventually(lambda: not store.query("SELECT 1 FROM system.mutations WHERE NOT is_done"))
    assert "20240202" not in housekeeping.index_new_parts(store)
    assert found(store, project, "unindex*") == {""}


HOSTILE = [
    *(
        "' OR 1=1 --",
        '"',
        '""',
        '"""',
        "'",
        "\\",
        "\\'",
        "a\\",
        "%",
        "_",
        "{q:String}",
        "a\x00b",
        "\ud800",
        "a \udfff b",
        "-",
    ),
    *(
        "--",
        '-"',
        '-""',
        "🙈",
        "\u202eevil\u202c",
        "\u200b",
        "a" * 9000,
        "a " * 4000,
        "ab*" * 30,
        "(((",
        "* *",
        "**",
        "%*",
    ),
    *("“smart”", "\u0301", "ﷺ" * 50, "; DROP TABLE spans", "<script>", "{{x}}", "\n\t", "NULL", "true", "ab* " * 20),
]


def test_no_query_breaks_the_server(server: Server) -> None:
    with connect(server.url) as monitor:
        for q in HOSTILE:
            try:
                monitor.calls(q=q, project="nobody")
            except AssayError as error:
                assert not isinstance(error, ServerError), f"{q[:40]!r}: {error}"
        with pytest.raises(AssayError, match="there is nothing to look for in '\\?!'"):
            monitor.calls(q="?!")
        with pytest.raises(AssayError, match="q has 10,001 characters: search for at most 10,000"):
            monitor.calls(q="a" * 10_001)
        with pytest.raises(AssayError, match="'a\\*' stands for too many words"):
            monitor.calls(q="a*")


def test_the_search_command_shows_what_was_said(server: Server, project: str) -> None:
    server.post(otlp({"gen_ai.input.messages": messages(user="Wo ist mein Päckchen? [bold]")}, project=project))
    asked = ["search", "päckch*", "--url", server.url, "--project", project]
    shown = run_assay(*asked)
    assert "prompt: Wo ist mein Päckchen? [bold]" in shown.stdout, shown.stderr
    [found_call] = json.loads(run_assay(*asked, "--json").stdout)
    assert [p["text"] for p in found_call["highlights"][0]["pieces"] if p["hit"]] == ["Päckchen"]
    none = run_assay(*asked, "--without", "mein")
    assert none.stdout == "No call says that.\n"
