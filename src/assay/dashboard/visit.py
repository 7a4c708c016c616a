"""What every page gets: the server to ask, and what the reader has chosen."""

from __future__ import annotations

from typing import NamedTuple

import streamlit as st

from assay.client.monitor import Monitor
from assay.dashboard.data import Filter, Names
from assay.dashboard.inert import inert
from assay.errors import AssayError


class Visit(NamedTuple):
    """One run of a page for one reader. `refresh_seconds` is None where the reader wants no refreshes."""

    monitor: Monitor
    chosen: Filter
    names: Names
    refresh_seconds: float | None


def unanswered(error: AssayError) -> None:
    """Say that the API gave no answer, and why."""
    st.error(inert(str(error)), title="Assay's API does not answer as it should", icon=":material/cloud_off:")
