"""What the reader chooses: time range, project, model and how often the page asks again.

Every choice is kept in the page's address, so that a link shows others the same.
"""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st

from assay.dashboard.data import RANGES, Filter, Names

REFRESH_SECONDS: dict[str, float | None] = {"off": None, "5 s": 5, "15 s": 15, "60 s": 60}

_NONE_GIVEN = "(none given)"


def controls(title: str, names: Names) -> tuple[Filter, float | None]:
    """Draw the title and the controls; answers what is chosen, and the seconds between refreshes if it refreshes."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.title(title, anchor=False, width="content")
        span = st.segmented_control(
            "Time range", RANGES, default="24h", required=True, key="range", bind="query-params"
        )
        project = _choice("Project", "project", "All projects", names.projects)
        model = _choice("Model", "model", "All models", names.models)
        every = st.selectbox(
            "Refresh",
            list(REFRESH_SECONDS),
            index=list(REFRESH_SECONDS).index("15 s"),
            key="refresh",
            bind="query-params",
            filter_mode=None,
            width=96,
        )
    return Filter(span or "24h", project, model), REFRESH_SECONDS[every]


def _choice(label: str, key: str, everything: str, names: Iterable[str]) -> str | None:
    # A link may name what this store has no call of: then the page says so, instead of showing everything.
    linked = st.query_params.get(key)
    options = {*names, *([linked] if linked and linked not in (everything, _NONE_GIVEN) else [])}
    chosen = st.selectbox(
        label,
        [everything, *sorted(options)],
        key=key,
        bind="query-params",
        format_func=lambda name: name or _NONE_GIVEN,
        filter_mode="contains",
        width=190,
    )
    return None if chosen == everything else chosen
