"""Count each call once: the spans of some traces in, the same spans out with links, borrowed facts and costs.

One call to a model may be told by several spans (framework, instrumentation, the provider's own SDK), in one
trace or in several, and by log records. Of the spans of one call exactly one is counted: the nearest to the
provider that has the texts. It borrows what it lacks from the others, and session and user from its ancestors.

Everything is decided from what the senders said (`as_sent` restores it), so the answer does not depend on the
order in which spans arrive, and settling again changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from assay.ingest.dialects.genai import told_by_events
from assay.records import CALL_KINDS, SDK_SCOPES, Event, Span

USAGE = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
INPUT_TEXTS = ("system", "prompt", "messages_in", "tool_definitions")
OUTPUT_TEXTS = ("response", "messages_out", "tool_calls")
BORROWED = (
    *("provider", "request_model", "response_model", "response_id", "finish_reason", "time_to_first_token_ms"),
    *("stream", "temperature", "top_p", "max_tokens", "documents", "error_type", "error_message"),
    *("session_id", "user_id"),
)
"""What a counted span takes from the others of its call where it is silent."""

ANSWERED_BY = ("response_id", "response_model")
"""What the span nearest to the provider knows best: others may repeat the request's model, or an id of their own."""

CHANGEABLE = (*USAGE, *INPUT_TEXTS, *OUTPUT_TEXTS, *BORROWED, "latency_ms")
ORIGIN = ("session_id", "user_id")
INVENTS_SESSIONS = ("pydantic-ai",)
"""Who names every run a session of its own, unless told: what the application around it says is better."""

# Clocks of one machine, read by two libraries around one request.
SLACK_MICROS = 50_000

Spans = dict[str, Span]


def settled(
    spans: Sequence[Span], events: Iterable[Event] = (), finish: Callable[[Span], Span] = lambda span: span
) -> list[Span]:
    """The spans as they are to be stored, in the same order. `finish` counts missing tokens and prices.

    Give all spans of every trace that may tell of the same calls, each once, and the log records of these traces.
    """
    own = {_id(span): as_sent(span) for span in spans}
    told = _with_echoes(_with_events(own, events))
    lineage = {span_id: list(_ancestors(span, told)) for span_id, span in told.items()}
    result = dict(told)
    groups = _calls(told, lineage)
    for group in groups.calls:
        tellers = [span for span in group if _id(span) not in groups.aggregates]
        candidates = [span for span in tellers if _id(span) not in groups.answers]
        chosen = max(candidates or tellers, key=lambda span: _claim(span, lineage))
        for span in group:
            result[_id(span)] = _replaced(span, counted=False, duplicate_of=chosen.span_id)
        enriched = _enriched(chosen, [span for span in tellers if span is not chosen], lineage)
        ends = [span.started_at + span.latency_ms * 1000 for span in group if _id(span) in groups.answers]
        if ends:
            enriched = _replaced(enriched, latency_ms=(max(ends) - chosen.started_at) / 1000)
        result[_id(chosen)] = enriched
    sole_origin = _sole_origin(told.values())
    for span in result.values():
        if span.counted:
            result[_id(span)] = _placed(span, lineage[_id(span)], sole_origin[span.trace_id])
    return [_remembering(own[_id(span)], finish(result[_id(span)])) for span in spans]


def told_apart(spans: Sequence[Span]) -> list[list[Span]]:
    """The spans as they may be settled together: by project where one trace was stored in several, else all."""
    by_project: dict[str, list[Span]] = defaultdict(list)
    for span in spans:
        by_project[span.project].append(span)
    once = sum(len(set(map(_id, own))) for own in by_project.values()) == len(set(map(_id, spans)))
    return [list(spans)] if once else list(by_project.values())


def settled_batch(spans: Sequence[Span], finish: Callable[[Span], Span]) -> list[Span]:
    """The spans of one request, settled as far as they tell of each other; most stand alone and cost nothing."""
    seen, shared = set[str](), set[str]()
    for span in spans:
        for key in (span.trace_id, span.call_key, span.response_id):
            (shared if key in seen else seen).add(key)
    shared.discard("")
    related = [span for span in spans if not shared.isdisjoint((span.trace_id, span.call_key, span.response_id))]
    if not related:
        return list(spans)
    groups = told_apart(related)
    changed = {(span.project, _id(span)): span for group in groups for span in settled(group, finish=finish)}
    return [changed.get((span.project, _id(span)), span) for span in spans]


def as_sent(span: Span) -> Span:
    """The span as its sender told it, before any settling."""
    changes: dict[str, Any] = msgspec.json.decode(span.as_sent) if span.as_sent else {}
    if changes or span.duplicate_of or span.counted != (span.kind in CALL_KINDS):
        return _replaced(span, **changes, counted=span.kind in CALL_KINDS, duplicate_of="", as_sent="")
    return span


def _id(item: Span | Event) -> str:
    """Of a span, or of the span that an event belongs to: span ids are unique within a trace."""
    return item.trace_id + item.span_id


def _parent_id(span: Span) -> str:
    return span.trace_id + span.parent_span_id


def _with_events(own: Spans, events: Iterable[Event]) -> Spans:
    by_span: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        by_span[_id(event)].append(event)
    told = dict(own)
    for span_id in by_span.keys() & own.keys():
        told[span_id] = _filled(own[span_id], told_by_events(by_span[span_id], own[span_id].kind))
    return told


def _with_echoes(told: Spans) -> Spans:
    """Calls with the provider's own response id, where a span within each, which is no call itself, tells it."""
    for span in sorted(told.values(), key=lambda span: (span.started_at, _id(span))):
        call = told.get(_parent_id(span))
        if span.kind == "span" and span.response_id and call and call.kind in CALL_KINDS:
            told[_id(call)] = _filled(
                _replaced(call, response_id=span.response_id), {"finish_reason": span.finish_reason}
            )
    return told


def _ancestors(span: Span, spans: Spans) -> Iterator[Span]:
    """Parent, grandparent, … as far as they are known; a loop in broken telemetry ends it."""
    seen = {_id(span)}
    while (parent := spans.get(_parent_id(span))) and _id(parent) not in seen:
        seen.add(_id(parent))
        yield parent
        span = parent


# Which spans tell of the same call


class _Groups(NamedTuple):
    """Call spans by call; ids of those that sum up several calls, and of answers told apart from their request."""

    calls: list[list[Span]]
    aggregates: set[str]
    answers: set[str]


def _calls(spans: Spans, lineage: Mapping[str, list[Span]]) -> _Groups:
    calls = [span for span in spans.values() if span.kind in CALL_KINDS]
    leader = {_id(span): _id(span) for span in calls}
    aggregates, answers = set[str](), set[str]()

    def find(span_id: str) -> str:
        while leader[span_id] != span_id:
            span_id = leader[span_id]
        return span_id

    for outer, inner, sums_up in _nested_pairs(calls, lineage):
        leader[find(_id(outer))] = find(_id(inner))
        aggregates |= {_id(outer)} if sums_up else set()
    for one, other in (*_pairs_by_response(calls), *_pairs_told_apart(calls, lineage), *_pairs_beside(calls)):
        leader[find(_id(one))] = find(_id(other))
    for request, answer in _pairs_by_key(calls):
        leader[find(_id(request))] = find(_id(answer))
        answers.add(_id(answer))
    groups: dict[str, list[Span]] = defaultdict(list)
    for span in calls:
        groups[find(_id(span))].append(span)
    return _Groups(list(groups.values()), aggregates, answers)


def _nested_pairs(calls: Iterable[Span], lineage: Mapping[str, list[Span]]) -> Iterator[tuple[Span, Span, bool]]:
    """An outer call span, the inner one it goes with, and whether the outer sums up several calls.

    One with several calls inside repeats one of them, after failed attempts, or is no call itself.
    """
    inner: dict[str, tuple[Span, list[Span]]] = {}
    for span in calls:
        if outer := _enclosing_call(span, lineage[_id(span)]):
            inner.setdefault(_id(outer), (outer, []))[1].append(span)
    for outer, spans in inner.values():
        likeness = [(_alike(outer, span), span.started_at, _id(span), span) for span in spans]
        alike, _, _, likely = max(likeness, key=lambda place: place[:3])
        if len(spans) > 1:
            yield outer, likely, not alike
        elif not _contradict(outer, likely):
            yield outer, likely, False


def _enclosing_call(span: Span, ancestors: Iterable[Span]) -> Span | None:
    for ancestor in ancestors:
        if ancestor.kind == span.kind:
            return ancestor
        if ancestor.kind not in ("span", "chain"):  # a tool or an agent that calls a model makes a call of its own
            return None
    return None


def _alike(outer: Span, inner: Span) -> int:
    same_id = bool(outer.response_id) and outer.response_id == inner.response_id
    return 2 * same_id + (_usage(outer) == _usage(inner) and _has_usage(inner))


def _contradict(outer: Span, inner: Span) -> bool:
    """Whether two nested spans each name their own answer with their own usage."""
    ids = {outer.response_id, inner.response_id}
    told = len(ids) == 2 and "" not in ids and _has_usage(outer) and _has_usage(inner)
    return told and _usage(outer) != _usage(inner)


def _pairs_by_response(calls: Iterable[Span]) -> Iterator[tuple[Span, Span]]:
    """Spans of different instrumentations with one response id at the same time.

    Some servers give every answer the same id, and a cache gives an old answer again: so neither one
    instrumentation's spans nor spans apart in time are joined.
    """
    for spans in _grouped(calls, lambda span: span.response_id):
        for n, span in enumerate(spans):
            rivals = [s for s in spans[:n] if s.scope_name != span.scope_name and s.kind == span.kind]
            if rivals and _overlap(nearest := min(rivals, key=lambda s: abs(s.started_at - span.started_at)), span):
                yield nearest, span


def _pairs_by_key(calls: Iterable[Span]) -> Iterator[tuple[Span, Span]]:
    """A request and its answer that one instrumentation told apart: each answer goes with the nearest request."""
    for spans in _grouped(calls, lambda span: span.call_key):
        requests = [span for span in spans if not _answered(span)]
        for answer in filter(_answered, spans):
            if requests:
                nearest = min(requests, key=lambda span: abs(span.started_at - answer.started_at))
                requests.remove(nearest)
                yield nearest, answer


def _pairs_told_apart(calls: Iterable[Span], lineage: Mapping[str, list[Span]]) -> Iterator[tuple[Span, Span]]:
    """A call as its provider's SDK tells it in a trace of its own, and one around it that does not know its id."""
    nameless = defaultdict[tuple[Any, ...], list[Span]](list)
    for span in calls:
        if not span.response_id and not _by_sdk(span):
            nameless[_outcome(span)].append(span)
    alone = [span for span in calls if _by_sdk(span) and not lineage[_id(span)] and _outcome(span)]
    for span in sorted(alone, key=lambda span: (span.started_at, _id(span))):
        alike = nameless[_outcome(span)]
        if around := [other for other in alike if _holds(other, span)]:
            outer = max(around, key=lambda other: (other.started_at, other.span_id))
            if span.status == "ok":  # a failed call may have been tried more than once
                alike.remove(outer)
            yield outer, span


def _pairs_beside(calls: Iterable[Span]) -> Iterator[tuple[Span, Span]]:
    """Spans of two instrumentations around one call whose id neither knows, where the outer one is no parent."""
    nameless = (span for span in calls if span.parent_span_id and not span.response_id)
    for spans in _grouped(nameless, _parent_id):
        for n, span in enumerate(spans):
            alike = [s for s in spans[:n] if s.scope_name != span.scope_name and _outcome(s) == _outcome(span)]
            if around := [other for other in alike if _outcome(span) and _holds(other, span)]:
                yield around[-1], span


def _outcome(span: Span) -> tuple[Any, ...]:
    """How a call went, as far as two spans of it must agree; () for one that says too little."""
    if span.status == "error":
        return () if span.response_id else (span.kind, span.request_model)
    return (span.kind, span.request_model, *_usage(span)) if _has_usage(span) else ()


def _holds(outer: Span, inner: Span) -> bool:
    ends = (span.started_at + span.latency_ms * 1000 for span in (outer, inner))
    same = (outer.project, outer.service, outer.request_model) == (inner.project, inner.service, inner.request_model)
    return same and outer.started_at <= inner.started_at and next(ends) >= next(ends)


def _grouped(calls: Iterable[Span], key: Callable[[Span], str]) -> Iterator[list[Span]]:
    groups: dict[str, list[Span]] = defaultdict(list)
    for span in sorted(calls, key=lambda span: (span.started_at, _id(span))):
        if key(span):
            groups[key(span)].append(span)
    return (spans for spans in groups.values() if len(spans) > 1)


def _overlap(one: Span, other: Span) -> bool:
    first, last = sorted((one, other), key=lambda span: span.started_at)
    return last.started_at <= first.started_at + first.latency_ms * 1000 + SLACK_MICROS


def _answered(span: Span) -> bool:
    return bool(span.response or span.tool_calls or span.output_tokens)


# Which of them is counted, and what it takes from the others


def _claim(span: Span, lineage: Mapping[str, list[Span]]) -> tuple[Any, ...]:
    """Larger for the span that should be counted: with texts first, then the nearest to the provider."""
    has_answer, has_question = bool(span.response or span.tool_calls), bool(span.prompt or span.messages_in)
    depth = len(lineage[_id(span)])
    return (has_answer, has_question, _by_sdk(span), depth, bool(span.request_model), span.started_at, _id(span))


def _enriched(chosen: Span, others: list[Span], lineage: Mapping[str, list[Span]]) -> Span:
    if not others:
        return chosen
    witnesses = sorted(others, key=lambda span: _witness(span, lineage), reverse=True)
    for texts in (INPUT_TEXTS, OUTPUT_TEXTS):
        if not any(getattr(chosen, name) for name in texts):
            richest = max(witnesses, key=lambda span: sum(len(getattr(span, name)) for name in texts))
            chosen = _filled(chosen, {name: getattr(richest, name) for name in texts})
    best = max([chosen, *witnesses], key=lambda span: (_has_usage(span), *_witness(span, lineage)))
    if _by_sdk(best) or not _has_usage(chosen):
        chosen = _replaced(chosen, **{name: getattr(best, name) for name in USAGE})
    for name in ANSWERED_BY:
        nearest = max([chosen, *witnesses], key=lambda span: (bool(getattr(span, name)), *_witness(span, lineage)))
        chosen = _replaced(chosen, **{name: getattr(nearest, name)})
    for witness in witnesses:
        details = USAGE if witness.input_tokens == chosen.input_tokens else ()
        chosen = _filled(chosen, {name: getattr(witness, name) for name in (*BORROWED, *details)})
    return chosen


def _witness(span: Span, lineage: Mapping[str, list[Span]]) -> tuple[Any, ...]:
    return (_by_sdk(span), len(lineage[_id(span)]), span.started_at, _id(span))


def _by_sdk(span: Span) -> bool:
    return span.scope_name.startswith(SDK_SCOPES)


def _usage(span: Span) -> tuple[int | None, int | None]:
    return span.input_tokens, span.output_tokens


def _has_usage(span: Span) -> bool:
    return span.input_tokens is not None or span.output_tokens is not None


# What a call takes from the spans around it


def _placed(span: Span, ancestors: Sequence[Span], sole_origin: Mapping[str, str]) -> Span:
    """The call with session and user of its nearest ancestor that has them, else of its trace.

    A call that failed may have lost its question with it; the agent that asked still has it.
    """
    if span.scope_name.startswith(INVENTS_SESSIONS):
        named = (a.session_id for a in ancestors if not a.scope_name.startswith(INVENTS_SESSIONS))
        span = _replaced(span, session_id=next(filter(None, named), span.session_id))
    for ancestor in ancestors:
        span = _filled(span, {name: getattr(ancestor, name) for name in ORIGIN})
    span = _filled(span, sole_origin)
    if span.status == "error" and not (span.prompt or span.messages_in):
        asking = next((ancestor for ancestor in ancestors if ancestor.prompt and ancestor.kind != "tool"), None)
        span = _filled(span, {name: getattr(asking, name) for name in INPUT_TEXTS}) if asking else span
    return span


def _sole_origin(spans: Iterable[Span]) -> dict[str, dict[str, str]]:
    """By trace: the session and the user, where all of its spans that name one name the same."""
    named: dict[str, dict[str, set[str]]] = defaultdict(lambda: {name: set() for name in ORIGIN})
    for span in spans:
        for name in ORIGIN:
            named[span.trace_id][name].add(getattr(span, name))
    return {
        trace_id: {name: next(iter(values - {""})) for name, values in origins.items() if len(values - {""}) == 1}
        for trace_id, origins in named.items()
    }


# Records with fields replaced, and the memory of what they were


def _filled(span: Span, values: Mapping[str, Any]) -> Span:
    """The span with these values in fields that are blank."""
    missing = {
        name: value
        for name, value in values.items()
        if name in CHANGEABLE and value not in ("", None) and getattr(span, name) in ("", None)
    }
    return _replaced(span, **missing) if missing else span


def _remembering(own: Span, result: Span) -> Span:
    """The result, with what its sender said in the fields that settling changed."""
    changed = {name: getattr(own, name) for name in CHANGEABLE if getattr(own, name) != getattr(result, name)}
    return _replaced(result, as_sent=msgspec.json.encode(changed).decode()) if changed else result


def _replaced(span: Span, **changes: Any) -> Span:
    return msgspec.structs.replace(span, **changes)
