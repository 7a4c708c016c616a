"""What the reader chooses: time, project, model and more, and how often the page asks again.

Every choice is kept in the page's address, so that a link shows others the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import streamlit as st

from assay.dashboard import figures
from assay.dashboard.data import FILTERS, RANGES, Filter, Names
from assay.dashboard.inert import excerpt, inert

REFRESH_SECONDS: dict[str, float | None] = {"off": None, "5 s": 5, "15 s": 15, "60 s": 60}

SHARED = frozenset({"range", "since", "until", "refresh", *FILTERS})
"""The parts of an address that are these controls'."""

_NONE_GIVEN = "(none given)"
_ALL_RELEASES = "All releases"


def controls(title: str, names: Names) -> tuple[Filter, float | None]:
    """Draw the title and the controls; answers what is chosen, and the seconds between refreshes if it refreshes."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.title(title, anchor=False, width="content")
        time = st.container(width="content")
        project = _choice("Project", "project", "All projects", names.projects)
        model = _choice("Model", "model", "All models", names.models)
        more = _more(names)
        every = st.selectbox(
            "Refresh",
            list(REFRESH_SECONDS),
            index=list(REFRESH_SECONDS).index("15 s"),
            key="refresh",
            bind="query-params",
            filter_mode=None,
            width=92,
        )
    with time:
        span = _time(more["since"], more["until"])
    return Filter(range=span, project=project, model=model, **more), REFRESH_SECONDS[every]


def set_controls(wanted: Mapping[str, Any]) -> None:
    """Choose for the reader, before the controls are drawn: as if they stood in the address. Others stay as they are.

    Another time takes the place of the whole time that was chosen.
    """
    if wanted.keys() & {"range", "since", "until"}:
        _forget_times()
    for name, value in wanted.items():
        st.session_state[name] = value


def _time(since: str, until: str) -> str:
    if since or until:
        st.button(
            inert(f"{_clock(since) or '…'} – {_clock(until) or 'now'}"),
            icon=":material/close:",
            help=inert(f"From {since or 'the first call'} until {until or 'now'}. Click for the ranges up to now."),
            on_click=_forget_times,
            key="between",
        )
        return "24h"
    # Its label is left to screen readers: above it, that stands lower than those of its taller neighbours.
    span = st.segmented_control(
        "Time range",
        RANGES,
        default="24h",
        required=True,
        key="range",
        bind="query-params",
        label_visibility="collapsed",
        width="content",
    )
    return span or "24h"


def _more(names: Names) -> dict[str, Any]:
    """What is chosen less often. The environment has its place in the row where there are any."""
    row = {}
    if any(names.environments) or _linked("environment"):
        row["environment"] = _choice("Environment", "environment", "All", names.environments, width=120)
    used = sum(_linked(name) not in (None, "", _ALL_RELEASES) for name in ("release", "user_id"))
    with st.popover(f"More{f' · {used}' if used else ''}", icon=":material/tune:", help="From, until, release, user"):
        since = st.text_input("From", key="since", bind="query-params", placeholder="2026-11-25T10:00Z or 3h")
        until = st.text_input("Until", key="until", bind="query-params", placeholder="2026-11-25T11:00Z or 1h")
        release = _choice("Release", "release", _ALL_RELEASES, names.releases, width="stretch")
        user = st.text_input("User", key="user_id", bind="query-params", placeholder="a user's id")
    return {**row, "since": since.strip(), "until": until.strip(), "release": release, "user_id": user or None}


def _choice(label: str, key: str, everything: str, names: Iterable[str], width: int | Any = 160) -> str | None:
    # A link may name what this store has no call of: then the page says so, instead of showing everything.
    linked = _linked(key)
    options = {*names, *([linked] if linked not in (None, everything, _NONE_GIVEN) else [])}
    chosen = st.selectbox(
        label,
        [everything, *sorted(options)],
        key=key,
        bind="query-params",
        format_func=lambda name: name or _NONE_GIVEN,
        filter_mode="contains",
        width=width,
    )
    return None if chosen == everything else chosen


def _linked(key: str) -> str | None:
    return st.session_state.get(key, st.query_params.get(key))


def _forget_times() -> None:
    st.session_state["since"] = st.session_state["until"] = ""


def _clock(text: str) -> str:
    """The reader's time of a moment in ISO 8601; anything else as it is."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return excerpt(text, 20)
    known = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return figures.clock(known.isoformat(), st.context.timezone, datetime.now(UTC))
