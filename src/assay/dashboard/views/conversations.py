"""Conversations: find them by words and filters, page through millions, open one in full.

Everything chosen is in the address: `call` names the one that is open, `cursor` the page of the list.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

from assay.dashboard.calls_table import calls_table
from assay.dashboard.data import Answer
from assay.dashboard.detail import detail
from assay.dashboard.inert import excerpt, inert
from assay.dashboard.paging import cursor, paging, set_address
from assay.dashboard.visit import Visit, answered, link
from assay.dashboard.welcome import nothing_here
from assay.errors import NotFound

ROWS = 50
ORDERS = {"started_at": "Newest", "cost": "Dearest", "latency": "Slowest"}
STATUSES = ("any", "ok", "error")
KINDS = {"llm": "Conversations", "embedding": "Embeddings", "": "All calls"}
MORE = {
    "session_id": "Session",
    "service": "Service",
    "provider": "Provider",
    "prompt_group": "Kind of question",
    "min_latency_ms": "Latency from, ms",
    "max_latency_ms": "Latency below, ms",
}

_OPEN, _LISTED = "call", "listed"


@answered
def page(visit: Visit) -> None:
    """The list, or the call that the address names."""
    if span_id := st.query_params.get(_OPEN):
        _opened(visit, span_id)
    else:
        _list(visit)


def _opened(visit: Visit, span_id: str) -> None:
    listed: list[str] = st.session_state.get(_LISTED, [])
    place = listed.index(span_id) if span_id in listed else None
    row = st.container(horizontal=True, vertical_alignment="center")
    with row:
        st.button("All conversations", icon=":material/arrow_back:", on_click=set_address, args=({_OPEN: None},))
        if place is not None:
            _step("Previous", ":material/chevron_left:", listed[place - 1] if place else None)
            _step("Next", ":material/chevron_right:", listed[place + 1] if place + 1 < len(listed) else None)
    try:
        call = visit.monitor.call(span_id)
    except NotFound as error:
        st.warning(inert(str(error)), title="No such call", icon=":material/search_off:")
        return
    with row:
        if call["session_id"]:
            address = link("sessions", session=call["session_id"], of=call["project"])
            st.link_button("Its session", address, icon=":material/linear_scale:")
    st.subheader(inert(excerpt(call["prompt"], 120) or "(no prompt)"), anchor=False)
    detail(visit.monitor, call)


def _step(label: str, icon: str, span_id: str | None) -> None:
    st.button(label, icon=icon, disabled=span_id is None, on_click=set_address, args=({_OPEN: span_id},))


def _list(visit: Visit) -> None:
    asked = visit.chosen.asked() | _filters()
    found = visit.monitor.calls(**asked, limit=ROWS, cursor=cursor("calls", asked))
    calls: list[Answer] = found["calls"]
    st.session_state[_LISTED] = [call["span_id"] for call in calls]
    if calls:
        chosen = calls_table(calls)
        if chosen is not None:
            set_address({_OPEN: chosen["span_id"]})
            st.rerun()
    elif found["next_cursor"]:
        st.info("Nothing yet: the search has looked through a part of the calls.", icon=":material/search:")
    else:
        nothing_here(visit, "No call")
    paging("calls", found["next_cursor"])


def _filters() -> dict[str, Any]:
    """Search, order and filters, each bound to the address."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        q = st.text_input(
            "Search",
            key="q",
            bind="query-params",
            icon=":material/search:",
            placeholder='words  "a phrase"  begin*  -without',
            width="stretch",
        )
        order = st.selectbox(
            "Order", list(ORDERS), format_func=ORDERS.__getitem__, key="order", bind="query-params", width=130
        )
        status = st.selectbox("Status", STATUSES, key="status", bind="query-params", width=110)
        kind = st.selectbox(
            "Kind", list(KINDS), format_func=KINDS.__getitem__, key="kind", bind="query-params", width=160
        )
        with st.popover("More filters", icon=":material/filter_alt:"):
            more = {name: st.text_input(label, key=name, bind="query-params") for name, label in MORE.items()}
    chosen = {name: value for name, value in more.items() if value}
    return {"q": q, "order": order, "status": None if status == "any" else status, "kind": kind, **chosen}
