"""What every page gets: the server to ask, and what the reader has chosen; and ways from one page to another."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlencode

import streamlit as st

from assay.client.monitor import Monitor
from assay.dashboard.data import Filter, Names
from assay.dashboard.inert import inert
from assay.errors import AssayError

GOING = "going"


class Visit(NamedTuple):
    """One run of a page for one reader. `refresh_seconds` is None where the reader wants no refreshes."""

    monitor: Monitor
    chosen: Filter
    names: Names
    refresh_seconds: float | None


def unanswered(error: AssayError) -> None:
    """Say that the API gave no answer, and why."""
    st.error(inert(str(error)), title="Assay's API does not answer as it should", icon=":material/cloud_off:")


def link(place: str, chosen: Filter | None = None, **more: str) -> str:
    """The address of a page with these filters, and with more of its own: a link to click or to hand on."""
    address = {**(chosen.address() if chosen else {}), **more}
    return f"/{place}?{urlencode(address)}" if address else f"/{place}"


def go(place: str, **address: str) -> None:
    """Show another page next, with these parts of its address; of the shared controls the others stay as they are.

    For callbacks; where a fragment calls it while it is drawn, `st.rerun()` follows.
    """
    st.session_state[GOING] = place, address
