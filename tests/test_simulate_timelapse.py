"""Time lapse: a real TracerProvider, its spans shifted on the way to the exporter."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from assay.simulate.timelapse import TimeLapse

S = 1_000_000_000
DAY = 86_400 * S
START = 1_800_000_000 * S


class Lapsed:
    """A time lapse of a day in a minute in front of an in-memory exporter, with a tracer that feeds it."""

    def __init__(self, processor=SimpleSpanProcessor, **limits: int) -> None:
        self.memory = InMemorySpanExporter()
        self.lapse = TimeLapse(self.memory, START - DAY, 1440, start_ns=START)
        self.provider = TracerProvider(span_limits=SpanLimits(**limits))
        self.provider.add_span_processor(processor(self.lapse))
        self.tracer = self.provider.get_tracer("test")

    def span(self, at_s: float, lasting_s: float = 1.0, parent=None, **attributes):
        span = self.tracer.start_span(
            "s", trace.set_span_in_context(parent) if parent else None,
            start_time=START + round(at_s * S), attributes=attributes,
        )  # fmt: skip
        span.end(START + round((at_s + lasting_s) * S))
        return span

    def seen(self) -> list[tuple[float, float]]:
        """When each exported span began, in seconds after the real start, and how long it lasted."""
        spans = self.memory.get_finished_spans()
        return [((s.start_time - START) / S, (s.end_time - s.start_time) / S) for s in spans]


def test_a_day_passes_in_a_minute_and_durations_stay():
    lapsed = Lapsed()
    for at_s in (0, 1, 30):
        lapsed.span(at_s, lasting_s=1.5)
    assert lapsed.seen() == [(-86_400, 1.5), (-86_400 + 1440, 1.5), (-86_400 + 30 * 1440, 1.5)]


def test_nothing_is_shifted_before_the_start_and_once_the_clock_has_caught_up():
    lapsed = Lapsed()
    caught_up_s = (lapsed.lapse.end_ns - START) / S
    assert caught_up_s == pytest.approx(60.04, abs=0.01)
    lapsed.span(-5)
    lapsed.span(caught_up_s + 0.1)
    assert [began for began, _ in lapsed.seen()] == pytest.approx([-5, caught_up_s + 0.1])


@given(st.floats(-100, 1000), st.floats(1.001, 10_000), st.integers(0, 10**7))
def test_the_simulated_clock_never_runs_ahead_and_never_back(at_s, scale, origin_s):
    lapse = TimeLapse(InMemorySpanExporter(), START - origin_s * S, scale, start_ns=START)
    real_ns = START + round(at_s * S)
    later_ns = real_ns + S
    assert lapse.simulated_ns(real_ns) <= real_ns + 1
    if real_ns >= START:
        assert lapse.simulated_ns(later_ns) + 1 >= lapse.simulated_ns(real_ns)


def test_all_spans_of_a_trace_move_together_whatever_the_batch():
    lapsed = Lapsed()
    root = lapsed.tracer.start_span("root", start_time=START + 10 * S)
    lapsed.span(11, 2, parent=root)
    lapsed.span(14, 3, parent=root)
    root.end(START + 18 * S)
    (first, _), (second, _), (whole, lasted) = lapsed.seen()
    assert (first - whole, second - whole, lasted) == (1, 4, 8)
    assert first == -86_400 + 11 * 1440


def test_in_one_batch_the_earliest_span_decides():
    lapsed = Lapsed(BatchSpanProcessor)
    root = lapsed.tracer.start_span("root", start_time=START + 10 * S)
    lapsed.span(11, 2, parent=root)
    root.end(START + 18 * S)
    lapsed.provider.force_flush()
    assert sorted(lapsed.seen()) == [(-86_400 + 14_400, 8), (-86_400 + 14_401, 2)]


@pytest.mark.parametrize("key", ["session.id", "gen_ai.conversation.id"])
def test_the_pauses_of_a_conversation_stay_as_long_as_they_were(key):
    lapsed = Lapsed()
    for at_s in (10, 14, 90):
        lapsed.span(at_s, **{key: "a"})
    lapsed.span(14, **{key: "b"})
    first, second, third, other = (began for began, _ in lapsed.seen())
    assert (second - first, third - first) == (4, 80)
    assert other == -86_400 + 14 * 1440


def test_events_move_along_and_everything_else_is_kept():
    lapsed = Lapsed(max_attributes=2)
    span = lapsed.tracer.start_span(
        "chat gpt-4o", start_time=START + S, kind=trace.SpanKind.CLIENT, attributes={"a": 1, "b": 2, "c": 3}
    )
    span.add_event("first token", {"n": 1}, timestamp=START + 2 * S)
    span.set_status(trace.StatusCode.ERROR, "broken")
    span.end(START + 3 * S)
    (shifted,) = lapsed.memory.get_finished_spans()
    (event,) = shifted.events
    assert event.timestamp - shifted.start_time == S
    assert (event.name, dict(event.attributes)) == ("first token", {"n": 1})
    assert shifted.dropped_attributes == span.dropped_attributes == 1
    assert dict(shifted.attributes) == dict(span.attributes)
    assert (shifted.name, shifted.kind, shifted.context, shifted.parent) == (
        "chat gpt-4o",
        trace.SpanKind.CLIENT,
        span.context,
        None,
    )
    assert (shifted.status, shifted.resource) == (span.status, span.resource)
    assert shifted.instrumentation_scope == span.instrumentation_scope
    wire = encode_spans([shifted]).resource_spans[0].scope_spans[0].spans[0]
    assert (wire.start_time_unix_nano, wire.dropped_attributes_count) == (shifted.start_time, 1)


def test_begin_starts_the_clock_anew():
    memory = InMemorySpanExporter()
    lapse = TimeLapse(memory, time.time_ns() - DAY, 1440)
    before_ns = time.time_ns()
    lapse.begin()
    assert lapse.simulated_ns(before_ns - 1) == before_ns - 1
    now_ns = time.time_ns()
    assert now_ns - lapse.simulated_ns(now_ns) > 0.9 * DAY


def test_a_scale_or_origin_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="above 1, not 1"):
        TimeLapse(InMemorySpanExporter(), 0, 1)
    with pytest.raises(ValueError, match="after the start"):
        TimeLapse(InMemorySpanExporter(), START + 1, 2, start_ns=START)


def test_shutdown_and_flush_reach_the_exporter_behind():
    lapsed = Lapsed()
    assert lapsed.lapse.force_flush()
    lapsed.lapse.shutdown()
    lapsed.span(1)
    assert lapsed.seen() == []
