"""Each call is counted once, whatever tells of it and in whatever order."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.ingest.settle import as_sent, settled
from assay.records import Event, Span

START = 1_700_000_000_000_000


def call(span_id: str, **fields: Any) -> Span:
    """A call of half a second, as its sender told it."""
    own: dict[str, Any] = {"trace_id": "t1", "kind": "llm", "counted": True, "started_at": START, "latency_ms": 500.0}
    return Span(span_id=span_id, **own | fields)


def other(span_id: str, kind: str = "span", **fields: Any) -> Span:
    return call(span_id, **{"kind": kind, "counted": False} | fields)


def by_id(spans: list[Span]) -> dict[str, Span]:
    return {span.span_id: span for span in spans}


def counted(spans: list[Span]) -> list[str]:
    return sorted(span.span_id for span in spans if span.counted)


def test_a_span_that_stands_alone_is_left_as_it_is() -> None:
    span = call("a", prompt="hi", response="ho", input_tokens=3)
    assert settled([span]) == [span]


def test_of_an_outer_and_an_inner_span_of_one_call_the_inner_is_counted() -> None:
    usage = {"input_tokens": 9, "output_tokens": 4, "prompt": "hi", "response": "ho"}
    spans = settled([call("outer", **usage), call("inner", parent_span_id="outer", **usage)])
    assert counted(spans) == ["inner"]
    assert by_id(spans)["outer"].duplicate_of == "inner"


def test_the_span_with_texts_is_counted_and_takes_usage_from_the_providers_own_sdk() -> None:
    outer = call("outer", prompt="hi", response="ho", input_tokens=82, output_tokens=14, response_id="msg_1")
    native = call(
        "native",
        parent_span_id="outer",
        scope_name="com.anthropic.sdk.python",
        response_id="msg_1",
        input_tokens=1234,
        output_tokens=13,
        cache_read_tokens=1024,
        time_to_first_token_ms=90.0,
    )
    spans = by_id(settled([outer, native]))
    assert spans["native"].counted is False
    assert spans["native"].duplicate_of == "outer"
    chosen = spans["outer"]
    assert (chosen.input_tokens, chosen.output_tokens, chosen.cache_read_tokens) == (1234, 13, 1024)
    assert chosen.time_to_first_token_ms == 90.0
    assert json.loads(chosen.as_sent) == {
        "input_tokens": 82,
        "output_tokens": 14,
        "cache_read_tokens": None,
        "time_to_first_token_ms": None,
    }


def test_spans_of_two_traces_with_one_response_id_are_one_call() -> None:
    one = call("a", trace_id="t1", response_id="r", scope_name="langchain")
    two = call("b", trace_id="t2", response_id="r", scope_name="openai", prompt="hi", response="ho")
    assert counted(settled([one, two])) == ["b"]


@pytest.mark.parametrize(
    "difference",
    [{"scope_name": "langchain"}, {"started_at": START + 60_000_000}, {"kind": "embedding"}],
    ids=["one instrumentation", "a minute later", "another kind"],
)
def test_one_response_id_alone_does_not_make_two_spans_one_call(difference: dict[str, Any]) -> None:
    one = call("a", trace_id="t1", response_id="r", scope_name="langchain")
    two = call("b", **{"trace_id": "t2", "response_id": "r", "scope_name": "openai"} | difference)
    assert counted(settled([one, two])) == ["a", "b"]


STREAMED = {"request_model": "claude", "input_tokens": 20, "output_tokens": 29}
INSIDE = {"trace_id": "t2", "scope_name": "com.anthropic.sdk.python", "started_at": START + 1000, "latency_ms": 400.0}


def test_a_stream_whose_id_the_framework_does_not_know_is_one_call_with_that_of_the_providers_own_sdk() -> None:
    outer = call("outer", prompt="hi", response="ho", scope_name="langchain", **STREAMED)
    spans = settled([outer, call("sdk", response_id="msg_1", **STREAMED, **INSIDE)])
    assert counted(spans) == ["outer"]
    assert by_id(spans)["outer"].response_id == "msg_1"


@pytest.mark.parametrize(
    "difference",
    [{"output_tokens": 30}, {"request_model": "other"}, {"latency_ms": 900.0}, {"scope_name": "other"}],
    ids=["other usage", "another model", "not within", "not the provider's own"],
)
def test_a_call_within_another_in_time_alone_is_a_call_of_its_own(difference: dict[str, Any]) -> None:
    inner = call("sdk", **STREAMED | INSIDE | {"response_id": "msg_1"} | difference)
    assert counted(settled([call("outer", scope_name="langchain", **STREAMED), inner])) == ["outer", "sdk"]


def test_as_many_streams_at_once_are_as_many_calls() -> None:
    outer = [call(f"o{n}", scope_name="langchain", started_at=START + n, **STREAMED) for n in range(3)]
    inner = [call(f"i{n}", response_id=f"m{n}", **STREAMED | INSIDE | {"trace_id": f"i{n}"}) for n in range(3)]
    assert len(counted(settled([*outer, *inner]))) == 3


def test_a_failed_call_told_by_two_instrumentations_side_by_side_is_one() -> None:
    failed = {"status": "error", "request_model": "m", "parent_span_id": "root"}
    outer = call("outer", scope_name="one", **failed)
    inner = call("inner", scope_name="two", started_at=START + 10, latency_ms=100.0, **failed)
    assert counted(settled([other("root"), outer, inner])) == ["inner"]
    assert counted(settled([other("root"), outer, msgspec.structs.replace(inner, scope_name="one")])) == [
        *("inner", "outer")
    ]


def test_a_session_that_a_framework_made_up_gives_way_to_the_applications() -> None:
    root = other("root", session_id="mine")
    inner = {"scope_name": "pydantic-ai", "session_id": "made up"}
    spans = settled(
        [root, other("run", "agent", parent_span_id="root", **inner), call("a", parent_span_id="run", **inner)]
    )
    assert by_id(spans)["a"].session_id == "mine"


def test_a_model_called_by_a_tool_that_a_model_called_is_a_call_of_its_own() -> None:
    spans = [call("outer"), other("tool", "tool", parent_span_id="outer"), call("inner", parent_span_id="tool")]
    assert counted(settled(spans)) == ["inner", "outer"]


def test_a_span_that_sums_up_several_calls_is_not_counted_and_lends_no_usage() -> None:
    spans = settled(
        [
            call("sum", prompt="hi", response="ho", input_tokens=30, output_tokens=3),
            call("a", parent_span_id="sum", input_tokens=10, output_tokens=1),
            call("b", parent_span_id="sum", started_at=START + 1000),
        ]
    )
    assert counted(spans) == ["a", "b"]
    assert by_id(spans)["b"].input_tokens is None


def test_failed_attempts_within_a_call_are_calls_of_their_own() -> None:
    spans = settled(
        [
            call("outer", input_tokens=10, output_tokens=1, response_id="r"),
            call("failed", parent_span_id="outer", status="error"),
            call("done", parent_span_id="outer", input_tokens=10, output_tokens=1, response_id="r"),
        ]
    )
    assert counted(spans) == ["done", "failed"]
    assert by_id(spans)["outer"].duplicate_of == "done"


def test_requests_and_answers_told_apart_are_paired_one_to_one() -> None:
    requests = [call(f"q{n}", call_key="k", trace_id=f"q{n}", started_at=START + n * 1_000_000) for n in range(3)]
    answers = [
        call(f"a{n}", call_key="k", trace_id=f"a{n}", started_at=START + n * 1_000_000 + 5, response="ho")
        for n in range(3)
    ]
    spans = by_id(settled([*requests, *answers]))
    assert {f"a{n}": spans[f"a{n}"].duplicate_of for n in range(3)} == {f"a{n}": f"q{n}" for n in range(3)}


def test_session_and_user_come_from_the_nearest_ancestor_that_names_them() -> None:
    spans = settled(
        [
            other("root", "agent", session_id="far", user_id="ada"),
            other("step", "chain", parent_span_id="root", session_id="near"),
            call("a", parent_span_id="step"),
        ]
    )
    assert (by_id(spans)["a"].session_id, by_id(spans)["a"].user_id) == ("near", "ada")
    assert json.loads(by_id(spans)["a"].as_sent) == {"session_id": "", "user_id": ""}


def test_a_session_named_elsewhere_in_the_trace_counts_only_if_it_is_the_only_one() -> None:
    orphan = call("a", parent_span_id="lost")
    assert by_id(settled([orphan, other("x", session_id="s1")]))["a"].session_id == "s1"
    assert by_id(settled([orphan, other("x", session_id="s1"), other("y", session_id="s2")]))["a"].session_id == ""


def test_a_failed_call_gets_its_question_from_the_agent_that_asked() -> None:
    spans = settled(
        [other("agent", "agent", prompt="hi", system="be kind"), call("a", parent_span_id="agent", status="error")]
    )
    assert (by_id(spans)["a"].prompt, by_id(spans)["a"].system) == ("hi", "be kind")


def test_texts_that_come_as_log_records_fill_the_span_and_nothing_else() -> None:
    body = json.dumps({"content": "What is OTLP?"})
    event = Event(trace_id="t1", span_id="a", name="gen_ai.user.message", at=START, body=body)
    spans = by_id(settled([call("a"), call("b", parent_span_id="zzz")], [event]))
    assert spans["a"].prompt == "What is OTLP?"
    assert spans["b"].prompt == ""


def test_of_two_echoes_the_later_one_names_the_response_whatever_the_order() -> None:
    spans = [call("a"), *(other(id, parent_span_id="a", response_id=id, started_at=START) for id in ("x", "y"))]
    for order in (spans, spans[::-1]):
        assert by_id(settled(order))["a"].response_id == "y"


def test_a_log_record_nested_beyond_reading_holds_nothing_up() -> None:
    deep = json.dumps({"gen_ai.input.messages": '{"message":' * 900 + '"x"' + "}" * 900})
    name = "gen_ai.client.inference.operation.details"
    event = Event(trace_id="t1", span_id="a", name=name, at=START, attributes=deep)
    [span] = settled([call("a", prompt="hi")], [event])
    assert (span.counted, span.prompt) == (True, "hi")


def test_a_loop_of_parents_ends() -> None:
    spans = [call("a", parent_span_id="b"), call("b", parent_span_id="a"), call("c", parent_span_id="c")]
    assert len(settled(spans)) == 3


names = st.sampled_from(["", "x", "y"])
counts = st.none() | st.integers(0, 3)


@st.composite
def traces(draw: Any) -> list[Span]:
    ids = [f"s{n}" for n in range(draw(st.integers(1, 7)))]
    return [
        Span(
            trace_id=draw(st.sampled_from(["t1", "t2"])),
            span_id=span_id,
            parent_span_id=draw(st.sampled_from(["", "lost", *ids])),
            kind=(kind := draw(st.sampled_from(["llm", "llm", "embedding", "agent", "tool", "span"]))),
            counted=kind in ("llm", "embedding"),
            started_at=START + draw(st.integers(0, 3)) * 400_000,
            latency_ms=500.0,
            scope_name=draw(st.sampled_from(["one", "two", "com.anthropic.sdk.python"])),
            response_id=draw(names),
            call_key=draw(names),
            session_id=draw(names),
            user_id=draw(names),
            prompt=draw(names),
            response=draw(names),
            input_tokens=draw(counts),
            output_tokens=draw(counts),
            status=draw(st.sampled_from(["ok", "error"])),
        )
        for span_id in ids
    ]


@given(traces(), st.randoms(use_true_random=False), st.data())
def test_the_order_of_arrival_changes_nothing(spans: list[Span], random: Any, data: Any) -> None:
    arriving = list(spans)
    random.shuffle(arriving)
    stored: list[Span] = []
    while arriving:
        batch = data.draw(st.integers(1, len(arriving)))
        stored = settled([*stored, *arriving[:batch]])
        arriving = arriving[batch:]
    assert by_id(stored) == by_id(settled(spans))


@given(traces())
def test_settling_again_changes_nothing_and_what_was_sent_can_be_told(spans: list[Span]) -> None:
    once = settled(spans)
    assert settled(once) == once
    assert [as_sent(span) for span in once] == spans


@given(traces())
def test_every_call_that_is_not_counted_names_a_counted_one(spans: list[Span]) -> None:
    result = by_id(settled(spans))
    for span in result.values():
        if span.kind in ("llm", "embedding"):
            assert span.counted or result[span.duplicate_of].counted
        else:
            assert (span.counted, span.duplicate_of) == (False, "")
