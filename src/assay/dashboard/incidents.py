"""Incidents and alert rules on the page: what fires, who is at it, and what a rule would have done before it is on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import streamlit as st

from assay.client.monitor import Monitor
from assay.dashboard import figures
from assay.dashboard.data import Answer
from assay.dashboard.inert import excerpt, inert
from assay.dashboard.panels import SEVERITIES
from assay.errors import AssayError

SHOWN = 20
SILENCES = ("1h", "4h", "1d", "7d")
REPLAYED = ("1d", "7d", "30d")
EXAMPLE = """[[rule]]
name = "slow-answers"
metric = "latency"
aggregate = "p95"
above = 4000
window = "15m"
for = "5m"
"""


def incidents(monitor: Monitor) -> None:
    """Open incidents with what can be done about them, and the rules with their replay."""
    st.subheader("Incidents", anchor=False)
    try:
        found = monitor.incidents(phase=["firing", "pending"], limit=SHOWN)
        _open(monitor, found)
        opened = st.popover("Rules and replay", icon=":material/rule:", key="rules", on_change="rerun")
        with opened:
            if opened.open:
                _rules(monitor)
    except AssayError as error:
        st.error(inert(str(error)), title="Incidents cannot be shown", icon=":material/cloud_off:")


def _open(monitor: Monitor, found: list[Answer]) -> None:
    if not found:
        st.caption("No rule fires at present.")
    for incident in found:
        with st.container(border=True):
            _incident(monitor, incident)


def _incident(monitor: Monitor, incident: Answer) -> None:
    key = incident["incident_id"]
    when = figures.clock(incident["began"], st.context.timezone, datetime.now(UTC))
    group = f" · {excerpt(incident['group'])}" if incident["group"] else ""
    state = (
        f"acknowledged by {incident['acknowledged_by'] or 'somebody'}"
        if incident["acknowledged"]
        else incident["phase"]
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(incident["severity"], color=SEVERITIES[incident["severity"]])
        st.markdown(f"**{inert(incident['rule'])}**{inert(group)} · {inert(state)} · since {inert(when)}")
        if not incident["acknowledged"]:
            _button("Acknowledge", f"ack-{key}", lambda: monitor.acknowledge(key))
        length = st.selectbox("Silence for", SILENCES, key=f"for-{key}", label_visibility="collapsed", width=90)
        _button("Silence", f"silence-{key}", lambda: monitor.silence(length, incident_id=key))
    st.text(incident["message"])
    if incident["unsaid"]:
        st.caption(f"Nobody is told: {inert(incident['unsaid'])}.")
    _worst(incident["evidence"].get("worst_calls", []))


def _worst(calls: list[Answer]) -> None:
    if calls:
        shown = ", ".join(f"{call['span_id']} ({call['value']:.4g})" for call in calls)
        st.caption(inert(f"Worst calls: {shown}"))


def _button(label: str, key: str, act: Callable[[], Any]) -> None:
    if st.button(label, key=key):
        act()
        st.rerun(scope="fragment")


def _rules(monitor: Monitor) -> None:
    told = monitor.rules()
    for problem in told["problems"]:
        st.warning(inert(problem))
    names = [rule["name"] for rule in told["rules"]]
    with st.form("replay", border=False):
        text = st.text_area("A rule to try, or none for those in force", placeholder=EXAMPLE, height=180, key="try")
        chosen = st.multiselect("Only these rules in force", names, key="only")
        since = st.segmented_control("Over the last", REPLAYED, default="7d", required=True, key="over")
        asked = st.form_submit_button("Replay")
    if asked:
        tried = f"defaults = false\n{text}" if text.strip() else None
        _replayed(monitor.replay(tried, since=since, only=None if tried else chosen))


def _replayed(found: Answer) -> None:
    for problem in found["problems"]:
        st.warning(inert(problem))
    rows = [
        {
            "rule": rule["rule"],
            "fired": rule["fired"],
            "a week": rule["a_week"],
            "limit": rule["limit"],
            "limit for at most one a week": rule["suggested"],
            "last fired": rule["episodes"][-1]["fired_at"][:16] if rule["episodes"] else rule["error"] or "never",
        }
        for rule in found["rules"]
    ]
    st.dataframe(rows, hide_index=True, key="replayed")
