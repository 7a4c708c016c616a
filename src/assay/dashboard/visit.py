"""What every page gets: the server to ask, and what the reader has chosen; and ways from one page to another."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import NamedTuple, ParamSpec
from urllib.parse import urlencode

import streamlit as st

from assay.client.monitor import Monitor
from assay.dashboard.data import Filter, Names
from assay.dashboard.inert import inert
from assay.errors import AssayError

GOING = "going"

Shown = ParamSpec("Shown")


class Visit(NamedTuple):
    """One run of a page for one reader, who has just `arrived` or sees an earlier run of it.

    `refresh_seconds` is None where the reader wants no refreshes.
    """

    monitor: Monitor
    chosen: Filter
    names: Names
    refresh_seconds: float | None
    arrived: bool


def answered(draw: Callable[Shown, None]) -> Callable[Shown, None]:
    """Draws a page, or a part of one, until the API gives no answer: then it says so, and why."""

    @wraps(draw)
    def drawn(*shown: Shown.args, **named: Shown.kwargs) -> None:
        try:
            draw(*shown, **named)
        except AssayError as error:
            st.error(inert(str(error)), title="Assay's API does not answer as it should", icon=":material/cloud_off:")

    return drawn


def link(place: str, chosen: Filter | None = None, **more: str) -> str:
    """The address of a page with these filters, and with more of its own: a link to click or to hand on."""
    address = {**(chosen.address() if chosen else {}), **more}
    return f"/{place}?{urlencode(address)}" if address else f"/{place}"


def go(place: str, **address: str) -> None:
    """Show another page next, with these parts of its address; of the shared controls the others stay as they are.

    For callbacks; where a fragment calls it while it is drawn, `st.rerun()` follows.
    """
    st.session_state[GOING] = place, address
