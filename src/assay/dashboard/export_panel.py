"""Take the chosen calls along as a file: a link that the API answers, and the command that writes the same.

The link holds filters and no key. Where keys are set the browser sends the cookie that it got when its reader signed
in (server/auth.py), so the file streams to whoever sees this page, and the address is worth nothing to others.
"""

from __future__ import annotations

import shlex
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from assay.client.api.connection import given
from assay.dashboard import figures
from assay.dashboard.visit import Visit, answered

FORMATS = {
    "csv": "CSV, for spreadsheets",
    "jsonl": "JSON Lines, for programs",
    "parquet": "Parquet, for data frames and imports",
}
COLUMNS = {
    "calls": "The usual ones: a row a call, its scores as columns",
    "all": "Everything as stored, with all verdicts: what an import needs",
    "lab": "Those of the lab",
    "named": "Named ones",
}
_OPTIONS = {"user_id": "--user", "session_id": "--session"}
_USUAL = "started_at,model,prompt,response,cost_usd,relevance"


@answered
def export(visit: Visit) -> None:
    """The choice of format and columns (in the address), the link, and the command."""
    with st.container(border=True):
        st.subheader("Export the calls", anchor=False)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            format = st.selectbox(
                "Format", list(FORMATS), format_func=FORMATS.__getitem__, key="format", bind="query-params", width=270
            )
            columns = st.selectbox(
                "Columns", list(COLUMNS), format_func=COLUMNS.__getitem__, key="columns", bind="query-params", width=420
            )
            if columns == "named":
                columns = st.text_input(
                    "Names", _USUAL, key="column_names", bind="query-params", help="With commas between; scores too."
                )
        asked = given(visit.chosen.asked())
        calls = visit.monitor.usage(**asked)["total_calls"]
        with st.container(horizontal=True, vertical_alignment="center"):
            st.link_button(
                f"Download {figures.count(calls)} {'call' if calls == 1 else 'calls'}",
                address(asked, format, columns or _USUAL),
                icon=":material/download:",
                type="primary",
                disabled=not calls,
            )
            st.caption("It streams from the store, however many there are; the same in a terminal:")
        st.code(command(asked, format, columns or _USUAL), language="sh", wrap_lines=True)


def address(asked: dict[str, Any], format: str, columns: str) -> str:
    """Where the API answers with the file."""
    return f"/api/export?{urlencode({**asked, 'format': format, 'columns': columns})}"


def command(asked: dict[str, Any], format: str, columns: str) -> str:
    """What a shell reads as the same question."""
    filters = [f"{_OPTIONS.get(name, f'--{name}')}={value}" for name, value in asked.items()]
    return shlex.join(["assay", "export", "-o", f"calls.{format}", "--columns", columns, *filters])
