"""Assay's own health: does everything work, is it keeping up, and what should be done."""

from __future__ import annotations

from typing import Literal

import streamlit as st

from assay.dashboard import figures
from assay.dashboard.data import Answer
from assay.dashboard.inert import excerpt, inert
from assay.dashboard.panels import metric
from assay.dashboard.visit import Visit, answered

_SIGNS: dict[str, tuple[str, Literal["green", "orange", "red"]]] = {
    "failure": (":material/error:", "red"),
    "warning": (":material/warning:", "orange"),
    "ok": (":material/check_circle:", "green"),
}
_LONGEST = 400
_REFRESH_SECONDS = 10.0


def page(visit: Visit) -> None:
    """Drawn again every ten seconds."""
    st.title("Health", anchor=False)
    st.fragment(_health, run_every=_REFRESH_SECONDS)(visit)


@answered
def _health(visit: Visit) -> None:
    health, found = visit.monitor.health(), visit.monitor.doctor()
    _headline(health)
    _findings(found)
    _scoring(health.get("quality") or {})
    with st.expander("Everything that the server says of itself", icon=":material/data_object:"):
        st.json(health, expanded=2)


def _headline(health: Answer) -> None:
    ingest, lag = health["ingest"], (health.get("quality") or {}).get("lag_seconds")
    refused = ingest["refused_spans"] + ingest["refused_requests"]
    with st.grid(4, gap="small", min_column_width=150):
        metric("Server", "well" if health["status"] == "ok" else "failing", f"Assay {health['version']}")
        metric("Spans stored", figures.count(ingest["stored_spans"]), "since the start")
        metric("Refused", figures.count(refused), excerpt(ingest["last_refusal"], 60) or "nothing")
        metric("Scores behind", "–" if lag is None else figures.milliseconds(lag * 1000), "oldest call not yet scored")


def _findings(found: list[Answer]) -> None:
    st.subheader("Checks", anchor=False)
    for finding in sorted(found, key=lambda one: list(_SIGNS).index(one["status"])):
        icon, colour = _SIGNS[finding["status"]]
        said = f":{colour}[{icon}] **{inert(finding['check'])}** · {inert(excerpt(finding['found'], _LONGEST))}"
        advice = f"  \n:small[:gray[{inert(excerpt(finding['fix'], _LONGEST))}]]" if finding["fix"] else ""
        st.markdown(said + advice)


def _scoring(quality: Answer) -> None:
    lanes = quality.get("lanes") or {}
    if lanes:
        st.subheader("Scoring", anchor=False)
        rows = [
            {
                "lane": name,
                "scores": ", ".join(map(figures.name, lane["scores"])),
                "calls scored": lane["scored_calls"],
                "behind": figures.milliseconds(lane["lag_seconds"] * 1000),
                "failures": sum(lane["failures"].values()),
            }
            for name, lane in lanes.items()
        ]
        st.dataframe(rows, hide_index=True)
