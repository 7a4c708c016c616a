"""A session as one thread of messages: each call adds what was said since the one before, below it what it came to."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import streamlit as st

from assay.dashboard import figures
from assay.dashboard.charts import in_order
from assay.dashboard.data import Answer
from assay.dashboard.inert import excerpt, inert
from assay.dashboard.transcript import Turn, show_turns, turns
from assay.dashboard.visit import link

_FEWEST_TRACES = 2


def show_thread(traces: Iterable[Answer]) -> None:
    """Draw the calls of a session, given by trace and in the order of their starts."""
    said: list[Turn] = []
    for trace in traces:
        for call in trace["calls"]:
            now = turns(call)
            fresh = news(said, now)
            if fresh:
                show_turns(fresh)
            else:
                st.caption("No texts were recorded with this call.")
            _foot(call)
            said = now


def news(said: list[Turn], now: list[Turn]) -> list[Turn]:
    """What a call says that the one before had not.

    A call that does not go on from the one before (another agent's, or of a history that was cut) is told from its
    last question on.
    """
    known = next((place for place, pair in enumerate(zip(said, now, strict=False)) if pair[0] != pair[1]), len(said))
    if said and known >= len(said):
        return now[known:]
    if not said:
        return now
    questions = [place for place, turn in enumerate(now) if turn.role == "user"]
    return now[questions[-1] :] if questions else now


def _foot(call: Answer) -> None:
    """When, by which model, at what cost, how good; and the way to the call in full."""
    when = figures.clock(call["started_at"], st.context.timezone, datetime.now(UTC))
    facts = [
        when,
        call["model"] or "unknown model",
        *([call["kind"]] if call["kind"] != "llm" else []),
        figures.milliseconds(call["latency_ms"]),
        figures.dollars(call["cost_usd"]) if call["cost_usd"] is not None else "no known price",
    ]
    order = in_order(call["scores"])
    scores = [f"{figures.name(name)} {figures.score(call['scores'][name])}" for name in order]
    if call["status"] == "error":
        reason = f"{call['error_type']}: {call['error_message']}".strip(": ")
        st.error(inert(excerpt(reason or "The call failed.", 300)), icon=":material/error:")
    address = link("conversations", call=call["span_id"])
    st.markdown(f":small[:gray[{inert(' · '.join([*facts, *scores]))}] [open]({address})]")
