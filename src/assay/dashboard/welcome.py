"""What pages show where there is nothing to show: how to send the first call, or which filter to widen."""

from __future__ import annotations

import streamlit as st

from assay.dashboard.inert import inert
from assay.dashboard.visit import Visit

DEFAULT_URL = "http://127.0.0.1:4318"


def nothing_here(visit: Visit, what: str) -> None:
    """`what` ("No call") is in the store at all, or only not among what was chosen."""
    if not visit.names.projects:
        st.info(
            f"{what} is stored yet. [The overview](/) has the lines that send the first one.",
            icon=":material/hourglass_empty:",
        )
    else:
        st.info(
            f"{what} {inert(visit.chosen.time)} is what was asked for. Choose a longer time range or fewer filters.",
            icon=":material/search_off:",
        )


def first_call(url: str, *, needs_key: bool) -> None:
    """The lines that send a first call to this server; the page shows the call as soon as it is stored."""
    st.subheader("No calls yet: send the first one", anchor=False)
    st.markdown("Set Assay up in the program that talks to a language model, then use the client as before:")
    st.code(_lines(url, needs_key), language="python")
    st.markdown("This page looks for it every few seconds and shows it as soon as it is stored.")
    st.caption("No API key of a model at hand? `assay demo` sends realistic calls from a simulated provider.")


def _lines(url: str, needs_key: bool) -> str:
    arguments = [f'"{url}"'] * (url != DEFAULT_URL) + ['api_key="…"'] * needs_key
    return f"""import assay, openai

assay.init({", ".join(arguments)})
client = openai.OpenAI()
with assay.session("user_001"):
    client.chat.completions.create(
        model="gpt-4o-mini", messages=[{{"role": "user", "content": "What is machine learning?"}}]
    )
"""
