"""Prompt groups: templates, vectors, clusters, and what is told of them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.analytics.calls import calls
from assay.analytics.groups import group, groups
from assay.analytics.selection import Selection
from assay.analytics.similar import Unread, similar_to_call
from assay.analytics.summaries import quality
from assay.client.monitor import connect
from assay.errors import AssayError, NotFound
from assay.ingest.batch import SPAN_SCHEMA
from assay.ingest.writer import newest_commit
from assay.quality.groups.embedding import DIMENSIONS, load_embedder, rounded
from assay.quality.groups.fit import fit
from assay.quality.groups.grouping import Grouping
from assay.quality.groups.mask import SHOWN_CHARS, template, template_id
from assay.quality.groups.names import SLOT, typical
from assay.quality.groups.ward import clusters
from assay.records import Score, Span
from assay.store.connect import Store
from assay.store.embeddings import Templates
from assay.store.prompt_groups import OTHER, Group
from assay.store.rows import arrow_table, stamped
from assay.store.scores import insert_scores
from conftest import Server, eventually, messages, otlp

EMBEDDER = load_embedder()

KINDS = {
    "order": ["Where is my order FH-{n}?", "What is the status of order FH-{n}?", "Track my order FH-{n} please"],
    "password": ["How do I reset my password?", "I forgot my password and cannot log in", "Change my login password"],
    "refund": ["I want a refund of ${n}", "Can I get my money back for the broken kettle?", "Please refund ${n}.50"],
    "plants": ["Explain photosynthesis in simple terms", "How do plants make sugar from sunlight?"],
}


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        ("What is 2+2?", "What is <number>+<number>?"),
        ("Where is my order FH-20417?", "Where is my order <id>?"),
        ('Translate "good morning" to French', "Translate <text> to French"),
        ("Mail bob@x.org about https://a.b/c?d=1 by 2026-03-04", "Mail <email> about <url> by <date>"),
        ("Meet on March 5th, 2026 at 5:30 pm", "Meet on <date> at <date>"),
        ("User 123e4567-e89b-12d3-a456-426614174000 paid $1,200.50", "User <id> paid $<number>"),
        ("Read /var/log/app.log", "Read <path>"),
        ("Fix this:\n```py\nx = 1\n```", "Fix this: <code>"),
        ("Summarise:\n\n" + "a long story " * 40, "Summarise: <text>"),
        ("<doc>" + "some text " * 20 + "</doc> Who wrote it?", "<doc> <text> </doc> Who wrote it?"),
        ("Don't mask it's or GPT-4o's", "Don't mask it's or GPT-4o's"),
        ("「東京」はどこですか？", "<text>はどこですか?"),
        ("注文番号は12345です", "注文番号は<number>です"),
        ("A long story. " * 300 + "\n\nWho wrote it?", "<text> Who wrote it?"),
        ("", ""),
    ],
)
def test_what_varies_in_a_prompt_is_masked(prompt: str, shown: str) -> None:
    assert template(prompt) == shown


@settings(max_examples=30)
@given(st.text(max_size=300), st.integers(10_000, 9_999_999))
def test_a_template_is_bounded_and_does_not_depend_on_numbers_case_or_spaces(text: str, number: int) -> None:
    shown = template(text)
    assert len(shown) <= SHOWN_CHARS
    assert template_id(shown) < 2**63
    one, other = (template(f"How much is {n} in euros?  {end}") for n, end in ((number, ""), (number + 1, " ")))
    assert template_id(one) == template_id(other) == template_id(template("HOW MUCH is 5 in euros"))


@settings(max_examples=30)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=5))
def test_vectors_have_length_one_and_are_exact_in_half_the_room(texts: list[str]) -> None:
    vectors = EMBEDDER.embed(texts)
    assert vectors.shape == (len(texts), DIMENSIONS)
    assert np.array_equal(rounded(vectors), vectors)
    lengths = np.linalg.norm(vectors, axis=1)
    assert np.all((lengths == 0) | (abs(lengths - 1) < 0.01))


def test_questions_alike_in_meaning_or_spelling_lie_near_each_other() -> None:
    def alike(one: str, other: str) -> float:
        first, second = EMBEDDER.embed([one, other])
        return float(first @ second)

    assert alike("How do I reset my password?", "I forgot my login password") > 0.6
    assert alike("How do I reset my password?", "Explain photosynthesis") < 0.3
    # No vectors for these languages: they are alike where they are spelt alike.
    assert alike("Как сбросить пароль?", "Сбросить мой пароль") > alike("Как сбросить пароль?", "Где мой заказ?") + 0.2
    assert (
        alike("パスワードをリセットしたい", "パスワードのリセット方法")
        > alike("パスワードをリセットしたい", "注文はどこですか") + 0.2
    )


def test_clusters_are_found_without_being_told_how_many() -> None:
    rng = np.random.default_rng(1)
    centres = np.eye(6, 16, dtype=np.float32)
    truth = rng.integers(0, 6, 200)
    vectors = centres[truth] + rng.normal(0, 0.08, (200, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = clusters(vectors, np.ones(200, np.float32), 24)
    assert len(found.centres) == 6
    assert len({(a, b) for a, b in zip(truth.tolist(), found.labels.tolist(), strict=True)}) == 6
    assert len(clusters(vectors[:1], np.ones(1, np.float32), 24).centres) == 1


def test_a_name_shows_the_place_where_templates_differ() -> None:
    cities = [(f"What is the capital of {city}?", 2.0) for city in ("France", "Spain", "Italy", "Peru", "Chad")]
    assert typical([*cities, ("Capitals of the world", 3.0)]) == f"What is the capital of {SLOT}?"
    assert typical([("Where is my order <id>?", 9.0), *cities[:2]]) == "Where is my order <id>?"


def test_groups_keep_their_ids_when_more_calls_come() -> None:
    first = fitted(templates(rounds=1), [])
    second = fitted(templates(rounds=4, also=["Tell me a joke about cats", "Do you know a joke?"]), first)
    assert {one.id for one in first} <= {one.id for one in second}
    kept = {one.id: one for one in second}
    assert all(kept[one.id].born_at == one.born_at and not kept[one.id].gone for one in first)
    gone = fitted(templates(rounds=1, kinds=["order", "refund"]), second)
    assert {one.id for one in second} == {one.id for one in gone}
    assert [one.id for one in fitted(templates(rounds=1), [])] == [one.id for one in first]


def test_a_project_without_templates_has_no_groups_and_one_template_makes_one() -> None:
    nothing = Templates([], [], np.zeros(0, np.float32), np.zeros((0, 0), np.float32), [])
    assert fit("p", nothing, [], "v", 0) == []
    [only] = fitted(of_texts(["How do I reset my password?"]), [])
    assert (only.name, only.examples) == ("How do I reset my password?", ("How do I reset my password?",))
    assert fitted(of_texts(["🙂"]), []) == []


@pytest.fixture(scope="module")
def asked(store: Store) -> Iterator[str]:
    """A project with three kinds of question a day, of which orders became worse today; read and fitted."""
    project = f"groups-{secrets.token_hex(4)}"
    now = time.time_ns() // 1000
    spans, scores = list[Span](), list[Score]()
    for day in (1, 0):
        for number in range(240):
            kind = ("order", "password", "refund")[number % 3]
            bad = kind == "order" and day == 0
            span = call(project, KINDS[kind][number // 3 % 3].format(n=20000 + number), now, day, number)
            spans.append(span)
            value = (0.3 if bad else 0.8) + 0.01 * (number % 9)
            told = {"project": project, "session_id": span.session_id, "started_at": span.started_at}
            scores.append(Score(target=span.span_id, name="relevance", value=value, **told))
            scores.append(Score(target=span.span_id, name="toxicity", value=0.01 * (number % 5), **told))
    spans.append(call(project, "", now, 0, 999))
    store.insert("spans", stamped(arrow_table(spans, SPAN_SCHEMA), now))
    insert_scores(store, scores)
    grouping = Grouping(store)
    grouping.catch_up(newest_commit(store))
    grouping.refit(project)
    yield project
    grouping.close()


def test_groups_tell_share_cost_errors_quality_and_what_got_worse(store: Store, asked: str) -> None:
    today = Selection(project=asked, since=datetime.now(UTC) - timedelta(hours=20))
    found = groups(store, today)
    assert found["calls"] == 240
    assert sum(one["calls"] for one in (*found["groups"], *found["other"])) == 240
    assert sum(one["share"] for one in (*found["groups"], *found["other"])) == pytest.approx(1)
    worse = [one for one in found["groups"] if one["worse"]]
    assert worse
    assert all("order" in one["name"] for one in worse)
    change = worse[0]["changes"]["relevance"]
    assert change["worse"]
    assert change["low"] <= change["difference"] <= change["high"] < 0
    assert change["difference"] == pytest.approx(-0.5, abs=0.05)
    assert groups(store, Selection(project=asked))["groups"][0]["changes"] == {}


def test_figures_of_a_group_are_those_of_its_calls(store: Store, asked: str) -> None:
    everything = Selection(project=asked)
    for one in (told := groups(store, everything))["groups"]:
        of_group = Selection(project=asked, prompt_group=one["id"])
        page = calls(store, of_group, limit=1000).calls
        assert len(page) == one["calls"]
        assert sum(call["cost_usd"] for call in page) == pytest.approx(one["cost_usd"])
        assert one["error_rate"] == sum(call["status"] == "error" for call in page) / len(page)
        scored = quality(store, of_group)["relevance"]
        relevance = one["scores"]["relevance"]
        for figure in ("n", "mean", "low", "high"):
            assert scored[figure] == pytest.approx(relevance[figure])
        assert one["scores"]["toxicity"]["n"] == one["calls"]
    assert told["scores_sampled"] == 1
    # A question without any filter has no value to bind.
    assert groups(store, Selection())["calls"] >= told["calls"]
    # Filters that neither scores nor embeddings carry themselves.
    by_user = groups(store, Selection(project=asked, user_id="user-1"))
    assert by_user["calls"] == len(calls(store, Selection(project=asked, user_id="user-1"), limit=1000).calls) > 0


def test_one_group_is_told_with_its_templates(store: Store, asked: str) -> None:
    selection = Selection(project=asked)
    first = groups(store, selection)["groups"][0]
    told = group(store, selection, first["id"])
    assert told["templates"][0]["calls"] >= told["templates"][-1]["calls"]
    assert sum(one["calls"] for one in told["templates"]) == first["calls"]
    with pytest.raises(NotFound, match="no prompt group 'nosuch'"):
        group(store, selection, "nosuch")
    assert group(store, Selection(project="nobody"), OTHER)["calls"] == 0


def test_similar_calls_are_one_row_a_template_without_the_call_itself(store: Store, asked: str) -> None:
    [one] = [c for c in calls(store, Selection(project=asked), limit=1000).calls if c["prompt"].endswith("FH-20000?")][
        :1
    ]
    found = similar_to_call(store, Selection(), one["span_id"], limit=3)
    rows = found["similar"]
    assert found["of"]["template"] == "Where is my order <id>?"
    assert [row["similarity"] for row in rows] == sorted((row["similarity"] for row in rows), reverse=True)
    assert rows[0]["similarity"] == pytest.approx(1, abs=0.01)
    assert (rows[0]["template"], rows[0]["calls"]) == ("Where is my order <id>?", 53)
    assert all("order" in row["prompt"] for row in rows)
    assert one["span_id"] not in [row["span_id"] for row in rows]
    assert rows[0]["scores"]["relevance"] is not None


def test_what_cannot_be_compared_is_said(store: Store, asked: str) -> None:
    [empty] = [c for c in calls(store, Selection(project=asked), limit=1000).calls if not c["prompt"]]
    with pytest.raises(Unread, match="has no prompt"):
        similar_to_call(store, Selection(), empty["span_id"])
    with pytest.raises(NotFound, match="no span"):
        similar_to_call(store, Selection(), "00000000000000ff")
    with pytest.raises(AssayError, match="between 1 and 100"):
        similar_to_call(
            store, Selection(), groups(store, Selection(project=asked))["groups"][0] and first_id(store, asked), 0
        )


def test_a_store_without_calls_says_so(store: Store) -> None:
    told = groups(store, Selection(project="nobody"))
    assert (told["groups"], told["other"], told["calls"]) == ([], [], 0)
    assert "no call with a prompt" in told["problem"]


def test_a_server_groups_what_comes_in_by_itself(server: Server, project: str) -> None:
    spans = [
        {"gen_ai.input.messages": messages(user=KINDS[kind][n % 2].format(n=30000 + n))}
        for kind in ("order", "plants")
        for n in range(10)
    ]
    server.post(otlp(*spans, project=project))
    with connect(server.url) as monitor:

        def read() -> Any:
            told = monitor.groups(project=project)
            return told if told["calls"] == 20 and told["groups"] else None

        told = eventually(read, 60)
        assert not told["problem"]
        assert sum(one["calls"] for one in told["groups"]) == 20
        plants = next(one for one in told["groups"] if "photosynthesis" in str(one["examples"]))
        page = monitor.calls(project=project, prompt_group=plants["id"])["calls"]
        assert {call["prompt"] for call in page} <= set(KINDS["plants"])
        similar = monitor.similar(page[0]["span_id"])["similar"]
        assert similar[0]["template"] in KINDS["plants"]
        found = monitor.similar_to("how does photosynthesis work", project=project)["similar"]
        assert found[0]["template"] in KINDS["plants"]
        assert monitor.refit_groups(project)[0]["project"] == project
        assert plants["id"] in [one["id"] for one in monitor.groups(project=project)["groups"]]
        assert monitor.group(plants["id"], project=project)["templates"]
        with pytest.raises(AssayError, match="no word to compare"):
            monitor.similar_to("?!")


def first_id(store: Store, project: str) -> str:
    return next(c["span_id"] for c in calls(store, Selection(project=project)).calls if c["prompt"])


def call(project: str, prompt: str, now: int, day: int, number: int) -> Span:
    return Span(
        trace_id=secrets.token_hex(16),
        span_id=secrets.token_hex(8),
        project=project,
        kind="llm",
        name="chat",
        prompt=prompt,
        response="Here you are.",
        session_id=f"session-{number % 40}",
        user_id=f"user-{number % 5}",
        started_at=now - day * 86_400_000_000 - 3_600_000_000 - number,
        latency_ms=100.0 + number,
        cost_usd=0.001,
        status="error" if number % 50 == 0 else "ok",
        counted=True,
    )


def templates(rounds: int, kinds: list[str] | None = None, also: list[str] | None = None) -> Templates:
    texts = [text for kind in kinds or KINDS for text in KINDS[kind]] + (also or [])
    return of_texts([template(text.format(n=12345)) for text in texts], rounds * 5)


def of_texts(texts: list[str], calls: int = 5) -> Templates:
    vectors = EMBEDDER.embed(texts)
    count = np.full(len(texts), calls, np.float32)
    return Templates([template_id(text) for text in texts], texts, count, vectors, [""] * len(texts))


def fitted(of: Templates, former: list[Group]) -> list[Group]:
    return fit("p", of, former, "v", int(of.calls.sum()))
