"""The overview page: is all well, what does it cost, how good is it, and what was said last.

Streamlit runs this file for every visitor and every change of a control. The server gives the address and
key of its own API as secrets; the page is a client like any other and shows only what the API answers.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from assay.client.monitor import Monitor, connect
from assay.dashboard import data
from assay.dashboard.controls import controls
from assay.dashboard.conversations import recent_conversations
from assay.dashboard.incidents import incidents
from assay.dashboard.inert import inert
from assay.dashboard.panels import alerts, cost, headline, latency, quality, troubles
from assay.dashboard.trust import agreement
from assay.dashboard.welcome import first_call
from assay.errors import AssayError

FIRST_CALL_SECONDS = 2.0
"""How often a page without any call looks for the first one."""

NAMES_SECONDS = 60
"""For so long all visitors share one answer about which projects and models there are."""

ICON = Path(__file__).with_name("icon.svg")


def page() -> None:
    """The whole page; everything below the controls is asked for and drawn again on its own."""
    st.set_page_config(page_title="Assay", page_icon=ICON, layout="wide")
    url, key = st.secrets["assay_url"], st.secrets["assay_key"]
    monitor, names = _monitor(url, key), _known_names(url, key)
    chosen, refresh_seconds = controls(names)
    if not names.projects:
        refresh_seconds = min(refresh_seconds or FIRST_CALL_SECONDS, FIRST_CALL_SECONDS)
    st.fragment(_figures, run_every=refresh_seconds)(monitor, chosen, names)


def _figures(monitor: Monitor, chosen: data.Filter, names: data.Names) -> None:
    try:
        overview = data.overview(monitor, chosen)
        if overview is None:
            _nothing(chosen, names)
        elif not names.knows(overview.names):
            st.session_state["names"] = names.joined(overview.names)
            st.rerun()
        else:
            _draw(monitor, overview)
    except AssayError as error:
        st.error(inert(str(error)), title="Assay's API does not answer as it should", icon=":material/cloud_off:")


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


def _nothing(chosen: data.Filter, names: data.Names) -> None:
    if not names.projects:
        first_call(st.secrets["assay_url"], needs_key=bool(st.secrets["assay_key"]))
        return
    when = "at all" if chosen.range == "all" else f"in the last {chosen.range}"
    st.info(f"No such conversation {when}. Choose a longer time range, another project or another model.")


@st.cache_resource
def _monitor(url: str, key: str) -> Monitor:
    return connect(url, api_key=key or None)


@st.cache_data(ttl=NAMES_SECONDS, show_spinner=False)
def _asked_names(url: str, key: str) -> data.Names:
    return data.names(_monitor(url, key))


def _known_names(url: str, key: str) -> data.Names:
    known: data.Names = st.session_state.get("names", data.Names())
    try:
        asked = _asked_names(url, key)
    except AssayError:
        return known
    if not asked.projects:
        _asked_names.clear()
    # Names only ever join: so a page that met one the list leaves out does not run again and again.
    return known.joined(asked)


page()
