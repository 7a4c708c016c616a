"""One call in full: the conversation, what its scores say and why, what it cost and how long it took, its trace."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import streamlit as st

from assay.client.monitor import Monitor
from assay.dashboard import figures
from assay.dashboard.charts import in_order
from assay.dashboard.data import Answer
from assay.dashboard.drawing import draw
from assay.dashboard.feedback import is_thumb, thumbs
from assay.dashboard.inert import excerpt, inert
from assay.dashboard.panels import metric
from assay.dashboard.replaying import LANGUAGES, replayed
from assay.dashboard.transcript import show_text, show_transcript
from assay.dashboard.waterfall import MOST_SPANS, waterfall
from assay.errors import AssayError

_LONGEST_REASON = 400
_ROW_HEIGHT = 35
_SIMILAR = 10


def detail(monitor: Monitor, call: Answer) -> None:
    """Everything about a call that the API answered in full."""
    _failure(call)
    _headline(call)
    conversation, judged = st.columns([3, 2], gap="large")
    with conversation:
        show_transcript(call)
    with judged:
        _verdicts([verdict for verdict in call["verdicts"] if not is_thumb(verdict)], call)
        thumbs(monitor, call["span_id"], call["verdicts"])
        _facts(call)
    _trace(monitor, call)
    _similar(monitor, call)
    _rest(call)


def _failure(call: Answer) -> None:
    if call["status"] == "error":
        reason = call["error_message"] or "The call failed; no message was reported."
        st.error(inert(reason), title=inert(call["error_type"] or "Error"), icon=":material/error:")
    if call["duplicate_of"]:
        st.info(f"This span tells of a call that is counted as {inert(call['duplicate_of'])}.")


def _headline(call: Answer) -> None:
    first = call["time_to_first_token_ms"]
    with st.grid(4, gap="small", min_column_width=150):
        metric("Cost", figures.dollars(call["cost_usd"]), _cost_split(call))
        metric("Latency", figures.milliseconds(call["latency_ms"]), _speed(call))
        metric("First token after", figures.milliseconds(first), "streamed" if call["stream"] else "not streamed")
        metric("Tokens", figures.count(call["total_tokens"]), _token_split(call))


def _cost_split(call: Answer) -> str:
    if call["cost_usd"] is None:
        return "no known price"
    return f"{figures.dollars(call['input_cost_usd'])} in · {figures.dollars(call['output_cost_usd'])} out"


def _speed(call: Answer) -> str:
    written, first = call["output_tokens"], call["time_to_first_token_ms"]
    seconds = (call["latency_ms"] - (first or 0)) / 1000
    return f"{written / seconds:,.0f} tokens a second" if written and seconds > 0 else ""


def _token_split(call: Answer) -> str:
    estimated = "estimated_" if call["tokens_estimated"] else ""
    parts = [
        f"{figures.count(call[f'{estimated}input_tokens'])} in",
        f"{figures.count(call[f'{estimated}output_tokens'])} out",
        *([f"{figures.count(call['cache_read_tokens'])} cached"] if call["cache_read_tokens"] else []),
        *(["estimated"] if estimated else []),
    ]
    return " · ".join(parts)


def _verdicts(verdicts: list[Answer], call: Answer) -> None:
    st.markdown("**Scores**")
    if not verdicts:
        st.caption("Not scored, since it failed." if call["status"] == "error" else "Not scored yet.")
    order = in_order({verdict["name"] for verdict in verdicts})
    for verdict in sorted(verdicts, key=lambda verdict: order.index(verdict["name"])):
        sure = "" if verdict["confidence"] is None else f" · {verdict['confidence']:.0%} sure"
        value = figures.score(verdict["value"])
        reason = excerpt(verdict["comment"] or verdict["label"], _LONGEST_REASON)
        st.markdown(
            f"**{inert(value)}** {inert(judge(verdict))}:small[:gray[{inert(sure)}]]"
            + (f"  \n:small[:gray[{inert(reason)}]]" if reason else "")
        )


def judge(verdict: Answer) -> str:
    """Which score it is, and who judged where that was no scorer."""
    own = figures.name(verdict["name"])
    return own if verdict["source"] == "scorer" else f"{own} ({verdict['author'] or verdict['source']})"


def _facts(call: Answer) -> None:
    when = datetime.fromisoformat(call["started_at"])
    shown = figures.clock(call["started_at"], st.context.timezone, datetime.now(UTC))
    st.text(f"Started {shown}", help=f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f} UTC")
    facts = {
        "model": call["model"],
        "asked for": call["request_model"] if call["request_model"] != call["model"] else "",
        "provider": call["provider"],
        "project": call["project"],
        "service": call["service"],
        "environment": call["environment"],
        "session": call["session_id"],
        "user": call["user_id"],
        "temperature": call["temperature"],
        "top p": call["top_p"],
        "largest answer": call["max_tokens"],
        "finish": call["finish_reason"],
        "status": call["status"],
        "span": call["span_id"],
        "trace": call["trace_id"],
    }
    known = {name: str(fact) for name, fact in facts.items() if fact not in (None, "")}
    rows = [{"what": name, "value": value} for name, value in known.items()]
    st.dataframe(rows, hide_index=True, height=_ROW_HEIGHT * (len(rows) + 1) + 2, key="facts")


def _trace(monitor: Monitor, call: Answer) -> None:
    st.subheader("Trace", anchor=False)
    try:
        spans = monitor.trace(call["trace_id"])
    except AssayError as error:
        st.caption(inert(str(error)))
        return
    drawn = waterfall(spans, call["span_id"])
    if drawn is not None:
        draw(drawn, "trace", "The spans of the trace over time")
    if len(spans) > MOST_SPANS:
        st.caption(f"The first {MOST_SPANS} of {len(spans):,} spans.")
    told_again = sum(bool(span["duplicate_of"]) for span in spans)
    if told_again:
        st.caption(f"Pale: {told_again} {'spans tell' if told_again > 1 else 'span tells'} of a call once more.")


def _rest(call: Answer) -> None:
    for title, icon, text in (
        ("Documents that were retrieved", ":material/find_in_page:", call["documents"]),
        ("Tools that were offered", ":material/build:", call["tool_definitions"]),
    ):
        if text and text != "[]":
            with st.expander(title, icon=icon):
                show_text(text)
    if call["attributes"]:
        with st.expander(f"{len(call['attributes'])} attributes", icon=":material/label:"):
            st.dataframe(_attributes(call["attributes"]), hide_index=True, key="attributes")
    opened = st.expander("Copy as curl, Python or JSON", icon=":material/content_copy:", on_change="rerun", key="copy")
    with opened:
        if opened.open:
            form = st.segmented_control(
                "Form", list(LANGUAGES), default="curl", required=True, label_visibility="collapsed"
            )
            st.code(replayed(call, form or "curl"), language=LANGUAGES[form or "curl"], wrap_lines=True)


def _similar(monitor: Monitor, call: Answer) -> None:
    """Other kinds of prompt that ask alike, asked for once the reader wants them; one row a kind."""
    opened = st.expander("Find similar", icon=":material/manage_search:", on_change="rerun", key="similar")
    with opened:
        if not opened.open:
            return
        try:
            found = monitor.similar(call["span_id"], limit=_SIMILAR)["similar"]
        except AssayError as error:
            st.caption(inert(str(error)))
            return
        if not found:
            st.caption("No other call is like it.")
        for one in found:
            same = f" · {figures.count(one['calls'])} calls" if one["calls"] > 1 else ""
            left, right = st.columns([8, 1], vertical_alignment="center")
            left.markdown(f"**{one['similarity']:.2f}** {inert(excerpt(one['prompt'], 110))}:small[:gray[{same}]]")
            right.link_button("Open", f"/conversations?call={one['span_id']}")


def _attributes(attributes: dict[str, Any]) -> list[dict[str, str]]:
    return [{"attribute": name, "value": str(value)} for name, value in sorted(attributes.items())]
