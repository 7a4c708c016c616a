"""Incidents as a reader meets them: what fires, and what can be done about it where it is shown."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

import streamlit as st

from assay.client.monitor import Monitor
from assay.dashboard import figures
from assay.dashboard.data import Answer
from assay.dashboard.inert import excerpt, inert
from assay.dashboard.visit import link

SEVERITIES: dict[str, Literal["red", "orange", "blue"]] = {"HIGH": "red", "MEDIUM": "orange", "LOW": "blue"}

SILENCES = ("1h", "4h", "1d", "7d")

_LONGEST_GROUP = 90


def card(monitor: Monitor, incident: Answer, *, opened: bool = False) -> None:
    """An open incident with its buttons. Drawn in a fragment, which runs again once one was pressed."""
    key = incident["incident_id"]
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(incident["severity"], color=SEVERITIES[incident["severity"]])
            st.markdown(_title(incident), width="stretch")
            if not incident["acknowledged"]:
                _button("Acknowledge", f"ack-{key}", lambda: monitor.acknowledge(key))
            length = st.selectbox("Silence for", SILENCES, key=f"for-{key}", label_visibility="collapsed", width=84)
            _button("Silence", f"silence-{key}", lambda: monitor.silence(length, incident_id=key))
        st.text(incident["message"])
        if incident["unsaid"]:
            st.caption(f"Nobody is told: {inert(incident['unsaid'])}.")
        if not opened:
            st.markdown(f":small[[Evidence and what happened]({link('alerts', incident=key)})]")


def state(incident: Answer) -> str:
    """Its phase, and whether somebody is at it."""
    if incident["acknowledged"] and incident["phase"] in ("firing", "pending"):
        return f"{incident['phase']}, acknowledged by {incident['acknowledged_by'] or 'somebody'}"
    return incident["phase"]


def when(moment: str | None) -> str:
    """A moment on the reader's clock; a dash where there is none."""
    if moment is None:
        return figures.UNKNOWN
    return figures.clock(moment, st.context.timezone, datetime.now(UTC))


def _title(incident: Answer) -> str:
    group = f" · {inert(excerpt(incident['group'], _LONGEST_GROUP))}" if incident["group"] else ""
    return f"**{inert(incident['rule'])}**{group} · {inert(state(incident))} · since {when(incident['began'])}"


def _button(label: str, key: str, act: Callable[[], Any]) -> None:
    if st.button(label, key=key):
        act()
        st.rerun(scope="fragment")
