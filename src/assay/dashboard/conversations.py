"""The newest conversations, each in full once it is opened: texts, verdicts with reasons, cost and time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import streamlit as st

from assay.client.monitor import Monitor
from assay.dashboard import figures
from assay.dashboard.charts import in_order
from assay.dashboard.data import Answer
from assay.dashboard.detail import judge
from assay.dashboard.feedback import is_thumb, thumbs
from assay.dashboard.inert import excerpt, inert
from assay.dashboard.transcript import show_text
from assay.errors import AssayError


def recent_conversations(monitor: Monitor, calls: Iterable[Answer]) -> None:
    """A line for each call; what only an opened one shows is asked for when it is opened."""
    st.subheader("Recent conversations", anchor=False)
    for call in calls:
        failed = call["status"] == "error"
        opened = st.expander(
            _title(call),
            key=f"call-{call['span_id']}",
            icon=":material/error:" if failed else ":material/chat_bubble:",
            on_change="rerun",
        )
        with opened:
            if opened.open:
                _conversation(monitor, call)


def _title(call: Answer) -> str:
    when = figures.clock(call["started_at"], st.context.timezone, datetime.now(UTC))
    prompt = excerpt(call["prompt"]) or "(no prompt)"
    failed = " · :red-badge[failed]" if call["status"] == "error" else ""
    return f"{when} · **{inert(call['model'] or 'unknown model')}**{failed} · {inert(prompt)}"


def _conversation(monitor: Monitor, call: Answer) -> None:
    if call["status"] == "error":
        reason = call["error_message"] or "The call failed; no message was reported."
        st.error(inert(reason), title=inert(call["error_type"] or "Error"), icon=":material/error:")
    asked, answered = st.columns(2)
    with asked:
        _text("Prompt", call["prompt"])
    with answered:
        _text("Response", call["response"])
    _verdicts(monitor, call)
    st.caption(inert(" · ".join(_facts(call))))
    st.link_button("Open in full", f"/conversations?call={call['span_id']}", icon=":material/open_in_new:")


def _text(label: str, text: str) -> None:
    st.markdown(f"**{label}**")
    with st.container(border=True):
        show_text(text)


def _verdicts(monitor: Monitor, call: Answer) -> None:
    try:
        verdicts = monitor.call(call["span_id"])["verdicts"]
    except AssayError as error:
        st.warning(inert(str(error)), title="The scores cannot be shown")
        return
    _grid([verdict for verdict in verdicts if not is_thumb(verdict)], call)
    thumbs(monitor, call["span_id"], verdicts)


def _grid(verdicts: list[Answer], call: Answer) -> None:
    if not verdicts:
        st.caption("Not scored, since it failed." if call["status"] == "error" else "Not scored yet.")
        return
    with st.grid(4, gap="small", min_column_width=170):
        order = in_order({verdict["name"] for verdict in verdicts})
        for verdict in sorted(verdicts, key=lambda verdict: order.index(verdict["name"])):
            with st.container():
                st.metric(inert(judge(verdict)), inert(figures.score(verdict["value"])))
                st.caption(inert(excerpt(verdict["comment"] or verdict["label"], 200)))


def _facts(call: Answer) -> list[str]:
    first = call["time_to_first_token_ms"]
    facts = {
        "cost": figures.dollars(call["cost_usd"]),
        "latency": figures.milliseconds(call["latency_ms"]),
        "first token after": None if first is None else figures.milliseconds(first),
        "tokens": _tokens(call),
        "session": call["session_id"],
        "user": call["user_id"],
        "project": call["project"],
        "temperature": call["temperature"],
        "finish": call["finish_reason"],
        "status": call["status"],
        "span": call["span_id"],
    }
    return [f"{name} {fact}" for name, fact in facts.items() if fact not in (None, "")]


def _tokens(call: Answer) -> str:
    if call["total_tokens"] is None:
        return figures.UNKNOWN
    about, kind = ("about ", "estimated_") if call["tokens_estimated"] else ("", "")
    into, out = figures.count(call[f"{kind}input_tokens"]), figures.count(call[f"{kind}output_tokens"])
    return f"{about}{figures.count(call['total_tokens'])} ({into} in, {out} out)"
