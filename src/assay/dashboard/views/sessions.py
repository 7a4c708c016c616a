"""Sessions: the list of them, sorted and paged by the API, and one read as a single thread of messages.

In the address, `session` (with `project`, where the id is in several) names the one that is open.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import streamlit as st

from assay.dashboard import figures
from assay.dashboard.data import Answer
from assay.dashboard.inert import excerpt, inert
from assay.dashboard.paging import CURSOR, cursor, paging, set_address
from assay.dashboard.panels import metric
from assay.dashboard.thread import show_thread
from assay.dashboard.visit import Visit, answered, link
from assay.dashboard.welcome import nothing_here
from assay.errors import NotFound

ROWS = 50
CALLS = 50
"""So many calls of a session on one page."""

ORDERS = {
    "recent": "Newest",
    "cost": "Dearest",
    "calls": "Most calls",
    "tokens": "Most tokens",
    "length": "Longest",
    "errors": "Most errors",
}

_OPEN, _OF = "session", "of"


@answered
def page(visit: Visit) -> None:
    """The list, or the session that the address names."""
    if session_id := st.query_params.get(_OPEN):
        _opened(visit, session_id)
    else:
        _list(visit)


def _list(visit: Visit) -> None:
    order = st.segmented_control(
        "Order",
        list(ORDERS),
        format_func=ORDERS.__getitem__,
        default="recent",
        required=True,
        key="sessions_by",
        bind="query-params",
        label_visibility="collapsed",
    )
    asked = visit.chosen.asked() | {"order": order or "recent"}
    found = visit.monitor.sessions(**asked, limit=ROWS, cursor=cursor("sessions", asked))
    listed: list[Answer] = found["sessions"]
    if not listed:
        nothing_here(visit, "No session")
        return
    chosen = _table(listed)
    if chosen is not None:
        set_address({_OPEN: chosen["session_id"], _OF: chosen["project"], CURSOR: None})
        st.rerun()
    paging("sessions", found["next_cursor"])


def _table(listed: list[Answer]) -> Answer | None:
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    frame = pd.DataFrame([_row(one) for one in listed])
    shown = st.dataframe(
        frame,
        hide_index=True,
        height=min(36 * (len(frame) + 1), 1400),
        column_config={
            "last": st.column_config.DatetimeColumn(
                "Last call", format="D MMM HH:mm:ss", timezone=figures.zone(st.context.timezone), width=125
            ),
            "session": text("Session", width=160),
            "calls": number("Calls", format="localized", width=60),
            "length": text("Length", width=75, help="From the first call's start to the end of the last."),
            "cost": number("Cost", format="$%.5f", width=80),
            "tokens": number("Tokens", format="localized", width=75),
            "worst": text("Worst score", width=170),
            "errors": number("Errors", format="localized", width=60),
            "last error": text("Last error", width=230),
            "models": text("Models", width=150),
            "users": text("Users", width=100),
            "project": text("Project", width=90),
        },
        on_select="rerun",
        selection_mode="single-row",
        placeholder=figures.UNKNOWN,
        key="sessions",
    )
    places: list[int] = shown["selection"]["rows"]
    return listed[places[0]] if places and places[0] < len(listed) else None


def _row(one: Answer) -> dict[str, Any]:
    return {
        "last": datetime.fromisoformat(one["last_at"]),
        "session": excerpt(one["session_id"], 80),
        "calls": one["calls"],
        "length": figures.span(one["seconds"]),
        "cost": one["cost_usd"],
        "tokens": one["total_tokens"],
        "worst": _worst(one) or None,
        "errors": one["errors"],
        "last error": excerpt(_error(one), 160) or None,
        "models": excerpt(", ".join(one["models"]), 120),
        "users": excerpt(", ".join(one["users"]), 120),
        "project": one["project"],
    }


def _opened(visit: Visit, session_id: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        nowhere = {_OPEN: None, _OF: None, CURSOR: None}
        st.button("All sessions", icon=":material/arrow_back:", on_click=set_address, args=(nowhere,))
    project = st.query_params.get(_OF) or visit.chosen.project
    at = cursor("thread", {"session": session_id, "project": project})
    try:
        told = visit.monitor.session(session_id, project=project, limit=CALLS, cursor=at)
    except NotFound as error:
        st.warning(inert(str(error)), title="No such session", icon=":material/search_off:")
        return
    st.subheader(inert(excerpt(session_id, 120)), anchor=False)
    _headline(told)
    _people(told)
    if at:
        st.caption(f"Its calls further on: {CALLS} a page.")
    show_thread(told["traces"])
    paging("thread", told["next_cursor"])


def _headline(told: Answer) -> None:
    with st.grid(4, gap="small", min_column_width=150):
        errors = f"{figures.count(told['errors'])} failed" if told["errors"] else "none failed"
        metric("Calls", figures.count(told["calls"]), errors, "red" if told["errors"] else "gray")
        unpriced = f"{figures.count(told['unpriced'])} unpriced" if told["unpriced"] else "all priced"
        metric("Cost", figures.dollars(told["cost_usd"]), unpriced, "orange" if told["unpriced"] else "gray")
        metric("Length", figures.span(told["seconds"]), f"{figures.milliseconds(told['avg_latency_ms'])} a call")
        metric("Worst score", figures.score(told["worst"]["value"]) if told["worst"] else figures.UNKNOWN, _name(told))


def _people(told: Answer) -> None:
    zone = st.context.timezone
    first, last = (figures.clock(told[end], zone, datetime.now(UTC)) for end in ("first_at", "last_at"))
    facts = [f"{first} to {last}", told["project"], *told["users"], *told["models"]]
    address = link("conversations", session_id=told["session_id"], project=told["project"], range="all")
    st.markdown(f":small[:gray[{inert(' · '.join(facts))}] [its calls as a list]({address})]")


def _name(told: Answer) -> str:
    return figures.name(told["worst"]["name"]) if told["worst"] else "none scored yet"


def _worst(one: Answer) -> str:
    return f"{figures.name(one['worst']['name'])} {figures.score(one['worst']['value'])}" if one["worst"] else ""


def _error(one: Answer) -> str:
    last = one["last_error"]
    return f"{last['error_type']}: {last['message']}".strip(": ") or "(no type given)" if last else ""
