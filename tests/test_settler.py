"""What comes late is settled late: spans, verdicts and scores find the call that is counted."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
import pytest

from assay.ingest.batch import EVENT_SCHEMA, SPAN_SCHEMA
from assay.ingest.settler import Settler
from assay.ingest.writer import newest_commit
from assay.records import Event, Score, Span
from assay.store.connect import Row, Store
from assay.store.rows import arrow_table, stamped
from assay.store.scores import insert_scores

NOW = time.time_ns() // 1000 - 10_000_000


@pytest.fixture
def settle(store: Store) -> Callable[..., None]:
    """Stores spans and events as one commit, then settles all that is new."""
    settler = settler_of(store)

    def commit(*items: Span | Event) -> None:
        at = next_commit(store)
        if events := [item for item in items if isinstance(item, Event)]:
            store.insert("events", stamped(arrow_table(events, EVENT_SCHEMA), at))
        if spans := [item for item in items if isinstance(item, Span)]:
            store.insert("spans", stamped(arrow_table(spans, SPAN_SCHEMA), at))
        while settler.step():
            pass

    return commit


def next_commit(store: Store) -> int:
    return max(time.time_ns() // 1000, newest_commit(store) + 1)


def write(store: Store, spans: Sequence[Span]) -> None:
    store.insert("spans", stamped(arrow_table(spans, SPAN_SCHEMA), next_commit(store)))


def settler_of(store: Store) -> Settler:
    """One that has settled all that is there."""
    settler = Settler(store, partial(write, store), lambda span: span, lambda: newest_commit(store))
    while settler.step():
        pass
    return settler


def call(project: str, trace_id: str = "", **fields: Any) -> Span:
    own: dict[str, Any] = {"kind": "llm", "counted": True, "started_at": NOW, "latency_ms": 500.0, "project": project}
    ids = {"trace_id": trace_id or secrets.token_hex(16), "span_id": secrets.token_hex(8)}
    return Span(**ids | own | fields)


def counted(store: Store, project: str) -> list[str]:
    rows = store.query("SELECT span_id FROM spans FINAL WHERE counted AND project = {p:String}", {"p": project})
    return [row["span_id"] for row in rows]


def scores(store: Store, project: str) -> list[Row]:
    return store.query(
        "SELECT target, name, value, source FROM scores FINAL WHERE counted AND project = {p:String} ORDER BY name",
        {"p": project},
    )


def test_an_inner_span_that_comes_later_takes_the_count_over(store: Store, project: str, settle: Any) -> None:
    outer = call(project, prompt="hi", response="ho", input_tokens=3, output_tokens=1)
    settle(outer)
    assert counted(store, project) == [outer.span_id]
    inner = call(project, outer.trace_id, parent_span_id=outer.span_id, prompt="hi", response="ho", input_tokens=3)
    settle(inner)
    assert counted(store, project) == [inner.span_id]


def test_what_people_said_of_a_span_goes_to_the_one_that_stands_for_it(store: Store, project: str, settle: Any) -> None:
    outer = call(project, prompt="hi", response="ho")
    settle(outer)
    own = {"target": outer.span_id, "value": 1.0, "project": project, "started_at": NOW}
    insert_scores(store, [Score(name="helpful", source="human", **own), Score(name="relevance", **own)])
    inner = call(project, outer.trace_id, parent_span_id=outer.span_id, prompt="hi", response="ho")
    settle(inner)
    assert scores(store, project) == [
        {"target": inner.span_id, "name": "helpful", "value": 1.0, "source": "human"},
    ]


def test_the_same_trace_in_two_projects_is_settled_in_each(store: Store, project: str) -> None:
    outer = call(project, prompt="hi", response="ho")
    inner = call(project, outer.trace_id, parent_span_id=outer.span_id, prompt="hi", response="ho")
    other = f"{project}-other"
    there = [msgspec.structs.replace(span, project=other, session_id="s") for span in (outer, inner)]
    settler = settler_of(store)
    write(store, [outer, inner, *there])
    insert_scores(
        store,
        [
            Score(name="helpful", source="human", value=value, target=outer.span_id, project=name, started_at=NOW)
            for name, value in ((project, 1.0), (other, 0.0))
        ],
    )
    assert [settler.step() for _ in range(4)][-2:] == [False, False], "settling again changes nothing"
    for name, value in ((project, 1.0), (other, 0.0)):
        assert counted(store, name) == [inner.span_id]
        assert [(row["target"], row["value"]) for row in scores(store, name)] == [(inner.span_id, value)]


@pytest.mark.parametrize("late", ["span", "event", "neither"])
def test_an_evaluation_becomes_a_score_of_the_call_with_its_response_id(
    store: Store, project: str, settle: Any, late: str
) -> None:
    judged = call(project, response_id=f"r-{project}", prompt="hi", response="ho")
    agent = call(project, judged.trace_id, kind="agent", counted=False)
    told = {
        "gen_ai.evaluation.name": "relevance",
        "gen_ai.evaluation.score.value": 0.75,
        "gen_ai.response.id": f"r-{project}",
    }
    event = Event(
        trace_id=judged.trace_id,
        span_id=agent.span_id,
        name="gen_ai.evaluation.result",
        at=NOW,
        attributes=json.dumps(told),
        digest=project,
    )
    for batch in {"span": [[event], [judged, agent]], "event": [[judged, agent], [event]]}.get(
        late, [[judged, agent, event]]
    ):
        settle(*batch)
    assert scores(store, project) == [{"target": judged.span_id, "name": "relevance", "value": 0.75, "source": "otel"}]


def test_a_span_sent_again_changes_nothing(store: Store, project: str, settle: Any) -> None:
    outer = call(project, prompt="hi", response="ho", session_id="s")
    inner = call(project, outer.trace_id, parent_span_id=outer.span_id, prompt="hi", response="ho")
    settle(outer, inner)
    before = store.query(
        "SELECT * EXCEPT (version, ingested_at) FROM spans FINAL WHERE project = {p:String} ORDER BY span_id",
        {"p": project},
    )
    settle(outer)
    settle(inner, outer)
    after = store.query(
        "SELECT * EXCEPT (version, ingested_at) FROM spans FINAL WHERE project = {p:String} ORDER BY span_id",
        {"p": project},
    )
    assert after == before


def test_spans_of_two_traces_and_two_commits_are_one_call_by_their_response_id(
    store: Store, project: str, settle: Any
) -> None:
    one = call(project, response_id=f"r-{project}", scope_name="framework", session_id="s")
    two = call(project, response_id=f"r-{project}", scope_name="sdk", prompt="hi", response="ho")
    settle(one)
    settle(two)
    rows = store.query("SELECT session_id FROM spans FINAL WHERE counted AND project = {p:String}", {"p": project})
    assert (counted(store, project), rows) == ([two.span_id], [{"session_id": "s"}])
