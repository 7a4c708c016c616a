"""Alerts: what fires now, what fired, who was told, and what the rules are and would have done.

In the address, `show` names the part below, `incident` the one that is open in full.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from assay.client.monitor import Monitor
from assay.dashboard import figures
from assay.dashboard.data import Answer
from assay.dashboard.evidence import evidence
from assay.dashboard.incidents import SEVERITIES, card, state, when
from assay.dashboard.inert import excerpt, inert
from assay.dashboard.paging import set_address
from assay.dashboard.replay_panel import replay_panel
from assay.dashboard.visit import Visit, answered, link
from assay.errors import NotFound

REFRESH_SECONDS = 10.0
SHOWN = 200
CARDS = 20

_OPEN = "incident"


@answered
def page(visit: Visit) -> None:
    """The part that the reader chooses, or one incident; what fires is drawn again every ten seconds."""
    st.title("Alerts", anchor=False)
    if incident_id := st.query_params.get(_OPEN):
        st.button("All alerts", icon=":material/arrow_back:", on_click=set_address, args=({_OPEN: None},))
        st.fragment(_incident)(visit.monitor, incident_id)
        return
    shown = st.segmented_control(
        "Show",
        list(_PARTS),
        default="Firing now",
        required=True,
        key="show",
        bind="query-params",
        label_visibility="collapsed",
    )
    _PARTS[shown or "Firing now"](visit.monitor)


@answered
def _incident(monitor: Monitor, incident_id: str) -> None:
    try:
        evidence(monitor, monitor.incident(incident_id))
    except NotFound as error:
        st.warning(inert(str(error)), title="No such incident", icon=":material/search_off:")


def _now(monitor: Monitor) -> None:
    st.fragment(_firing, run_every=REFRESH_SECONDS)(monitor)


@answered
def _firing(monitor: Monitor) -> None:
    found = monitor.incidents(phase=["firing", "pending"], limit=SHOWN)
    if not found:
        st.success("No rule fires at present.", icon=":material/check_circle:")
    gravest = list(SEVERITIES)
    for incident in sorted(found, key=lambda one: gravest.index(one["severity"]))[:CARDS]:
        card(monitor, incident)
    if len(found) > CARDS:
        st.caption(f"And {len(found) - CARDS} more: they are in the history.")


def _history(monitor: Monitor) -> None:
    found: list[Answer] = monitor.incidents(limit=SHOWN)
    if not found:
        st.caption("Nothing has fired yet.")
        return
    frame = pd.DataFrame([_line(incident) for incident in found])
    shown: Any = st.dataframe(
        frame,
        hide_index=True,
        height=min(36 * (len(frame) + 1), 900),
        column_config={"message": st.column_config.TextColumn("message", width=520)},
        on_select="rerun",
        selection_mode="single-row",
        key="history",
    )
    places: list[int] = shown["selection"]["rows"]
    if places and places[0] < len(found):
        set_address({_OPEN: found[places[0]]["incident_id"]})
        st.rerun()
    st.caption(f"The newest {SHOWN}. Choose a row to see its evidence." if len(found) == SHOWN else "Choose a row.")


def _line(incident: Answer) -> dict[str, Any]:
    return {
        "began": when(incident["began"]),
        "rule": incident["rule"],
        "group": excerpt(incident["group"], 80),
        "severity": incident["severity"],
        "state": state(incident),
        "changed": when(incident["changed_at"]),
        "message": excerpt(incident["message"], 300),
    }


def _rules(monitor: Monitor) -> None:
    told, fire = monitor.rules(), {one["rule"] for one in monitor.incidents(phase="firing", limit=SHOWN)}
    for problem in told["problems"]:
        st.warning(inert(problem), title=f"In {inert(told['file'])}")
    for rule in told["rules"]:
        _rule(rule, fires=rule["name"] in fire)
    names = ", ".join(f"{one['name']} ({one['kind']}, from {one['min_severity']})" for one in told["channels"])
    st.caption(inert(f"Messages go to: {names}.") if names else "Nobody is told: the rules file names no channel.")


def _rule(rule: Answer, *, fires: bool) -> None:
    icon, colour, said = _condition(rule, fires)
    address = link("alerts", show="Replay", rule=rule["name"])
    st.markdown(
        f":{colour}[{icon}] **{inert(rule['name'])}** · {inert(rule['kind'])}, {inert(rule['severity'])} · "
        f"[replay]({address})  \n:small[:gray[{inert(said)}]]"
    )


def _condition(rule: Answer, fires: bool) -> tuple[str, str, str]:
    judged = rule["state"] or {}
    if not rule["enabled"]:
        return ":material/pause_circle:", "gray", "Switched off in the rules file."
    if judged.get("error"):
        return ":material/error:", "red", f"Cannot be judged: {judged['error']}"
    if not judged.get("judged_at"):
        return ":material/hourglass_empty:", "gray", "Not judged yet."
    took = figures.milliseconds(judged["seconds"] * 1000)
    said = judged["message"] or "No call to judge."
    icon, colour = (":material/notifications_active:", "red") if fires else (":material/check_circle:", "green")
    return icon, colour, f"{'Fires: ' if fires else ''}{said} · judged {when(judged['judged_at'])} in {took}"


def _deliveries(monitor: Monitor) -> None:
    told = monitor.rules()["channels"]
    if told and st.button("Send a test message to every channel", icon=":material/send:"):
        monitor.test_channels()
    found = monitor.deliveries()
    if not found:
        st.caption("No message was due yet." if told else "Nobody is told: the rules file names no channel.")
        return
    rows = [
        {
            "due": when(one["due_at"]),
            "channel": one["channel"],
            "message": one["status"],
            "about": excerpt(", ".join(f"{of['rule']} {of['group']}".strip() for of in one["incidents"]), 160),
            "outcome": one["state"].replace("_", " "),
            "attempts": one["attempts"],
            "last attempt": when(one["last_at"]),
            "error": excerpt(one["error"], 200),
        }
        for one in found
    ]
    st.dataframe(rows, hide_index=True, key="deliveries")


def _silences(monitor: Monitor) -> None:
    found = monitor.silences(active=True)
    if not found:
        st.caption("No silence is in force.")
    for one in found:
        matched = ", ".join(f"{name} {pattern}" for name, pattern in one["matchers"].items() if pattern)
        by = f" by {one['author']}" if one["author"] else ""
        why = f": {excerpt(one['comment'], 200)}" if one["comment"] else ""
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{inert(matched)}** · until {when(one['ends'])}{inert(by)}{inert(why)}", width="stretch")
            if st.button("End it", key=f"end-{one['silence_id']}"):
                monitor.end_silence(one["silence_id"])
                st.rerun()


_PARTS = {
    "Firing now": _now,
    "History": _history,
    "Rules": _rules,
    "Replay": replay_panel,
    "Deliveries": _deliveries,
    "Silences": _silences,
}
