"""The overview: is all well, what does it cost, how good is it, and what was said last."""

from __future__ import annotations

import streamlit as st

from assay.client.monitor import Monitor
from assay.dashboard import data
from assay.dashboard.conversations import recent_conversations
from assay.dashboard.incidents import incidents
from assay.dashboard.panels import alerts, cost, headline, latency, quality, troubles
from assay.dashboard.trust import agreement
from assay.dashboard.visit import Visit, unanswered
from assay.dashboard.welcome import first_call
from assay.errors import AssayError

FIRST_CALL_SECONDS = 2.0
"""How often a page without any call looks for the first one."""


def page(visit: Visit) -> None:
    """All of it is asked for and drawn again on its own, without the controls."""
    refresh_seconds = visit.refresh_seconds
    if not visit.names.projects:
        refresh_seconds = min(refresh_seconds or FIRST_CALL_SECONDS, FIRST_CALL_SECONDS)
    st.fragment(_figures, run_every=refresh_seconds)(visit)


def _figures(visit: Visit) -> None:
    try:
        overview = data.overview(visit.monitor, visit.chosen)
        if overview is None:
            _nothing(visit)
        elif not visit.names.knows(overview.names):
            st.session_state["names"] = visit.names.joined(overview.names)
            st.rerun()
        else:
            _draw(visit.monitor, overview)
    except AssayError as error:
        unanswered(error)


def _draw(monitor: Monitor, overview: data.Overview) -> None:
    troubles(overview)
    headline(overview)
    wide, narrow = st.columns([3, 2])
    with wide:
        quality(overview)
    with narrow:
        alerts(overview)
    left, right = st.columns(2)
    with left:
        cost(overview)
    with right:
        latency(overview)
    if overview.agreement:
        agreement(overview.agreement)
    st.fragment(incidents)(monitor)
    # A fragment of its own: opening a conversation asks for that one alone, not for all figures again.
    st.fragment(recent_conversations)(monitor, overview.calls)


def _nothing(visit: Visit) -> None:
    if not visit.names.projects:
        first_call(st.secrets["assay_url"], needs_key=bool(st.secrets["assay_key"]))
        return
    when = "at all" if visit.chosen.range == "all" else f"in the last {visit.chosen.range}"
    st.info(f"No such conversation {when}. Choose a longer time range, another project or another model.")
