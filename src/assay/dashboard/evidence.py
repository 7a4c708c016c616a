"""One incident in full: its figures, the worst calls behind it, all that happened to it, and what people say."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import streamlit as st

from assay.client.monitor import Monitor
from assay.dashboard import figures
from assay.dashboard.data import Answer
from assay.dashboard.incidents import card, state, when
from assay.dashboard.inert import excerpt, inert
from assay.dashboard.visit import link

LONGEST_COMMENT = 2000

_OPEN = ("firing", "pending")
_NARROWED_BY = {
    "project": "project",
    "model": "model",
    "environment": "environment",
    "user": "user_id",
    "session": "session_id",
    "service": "service",
    "provider": "provider",
}
"""What a rule can be grouped by, and the filter of the page of conversations that shows that group's calls."""


def evidence(monitor: Monitor, incident: Answer) -> None:
    """Draw it. In a fragment, which runs again after a button was pressed."""
    if incident["phase"] in _OPEN:
        card(monitor, incident, opened=True)
    else:
        st.markdown(f"**{inert(incident['rule'])}** {inert(incident['group'])} · {inert(state(incident))}")
        st.text(incident["message"])
    rule = next((one for one in monitor.rules()["rules"] if one["name"] == incident["rule"]), None)
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**Figures**")
        st.dataframe(_figures(incident), hide_index=True, key="incident-figures")
        st.markdown(f"[The calls of that time]({calls_behind(incident, rule)})")
        if rule:
            st.markdown(f"[The rule replayed over the last days]({link('alerts', show='Replay', rule=rule['name'])})")
            if rule["runbook"]:
                st.markdown(f"Runbook: {inert(rule['runbook'])}")
    with right:
        _worst(incident["evidence"].get("worst_calls", []))
    _events(incident["events"])
    _comment(monitor, incident)


def calls_behind(incident: Answer, rule: Answer | None) -> str:
    """The address of the page with the calls that the rule looked at while the incident was open."""
    window = incident["evidence"].get("figures", {}).get("window_seconds") or 0
    began = datetime.fromisoformat(incident["firing_at"] or incident["began"]) - timedelta(seconds=window)
    address = {"since": began.isoformat(timespec="seconds")}
    if incident["phase"] not in _OPEN:
        address["until"] = datetime.fromisoformat(incident["changed_at"]).isoformat(timespec="seconds")
    grouped = _NARROWED_BY.get((rule or {}).get("group_by") or "")
    return link("conversations", **address, **({grouped: incident["group"]} if grouped else {}))


def _figures(incident: Answer) -> list[Answer]:
    told = incident["evidence"].get("figures", {})
    names = {
        "value": "value",
        "low": "low end of its interval",
        "high": "high end of its interval",
        "usual": "compared to",
        "n": "calls",
        "window_seconds": "window",
    }
    rows = [{"figure": words, "is": _figure(name, told[name])} for name, words in names.items() if name in told]
    times = {"began": "began", "firing_at": "fired", "changed_at": "changed last"}
    return [*rows, *({"figure": words, "is": when(incident[name])} for name, words in times.items())]


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return figures.UNKNOWN
    if name == "window_seconds":
        return figures.span(value)
    return f"{value:,.0f}" if name == "n" or abs(value) >= 1000 else f"{value:.4g}"


def _worst(calls: list[Answer]) -> None:
    st.markdown("**Worst calls**")
    if not calls:
        st.caption("None were kept: the rule is not about single calls.")
    for call in calls:
        address = link("conversations", call=call["span_id"])
        facts = inert(f"{_figure('', call['value'])} · {call['model'] or 'unknown model'} · {when(call['started_at'])}")
        st.markdown(f"{facts} · [open]({address})")


def _events(events: list[Answer]) -> None:
    st.markdown("**What happened**")
    rows = [
        {
            "when": when(one["at"]),
            "what": one["kind"],
            "who": one["author"] or "Assay",
            "message": excerpt(one["message"], 400),
        }
        for one in events
    ]
    st.dataframe(rows, hide_index=True, key="incident-events")


def _comment(monitor: Monitor, incident: Answer) -> None:
    with st.form("incident-comment", clear_on_submit=True, border=False):
        text = st.text_input("Comment", max_chars=LONGEST_COMMENT, placeholder="What do you know about it?")
        author = st.text_input("Your name", max_chars=100, width=240)
        said: Any = st.form_submit_button("Write down")
    if said and text.strip():
        monitor.comment(incident["incident_id"], text.strip(), author=author.strip())
        st.rerun(scope="fragment")
