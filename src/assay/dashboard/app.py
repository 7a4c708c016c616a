"""The dashboard: its pages, the navigation between them, and the controls that they share.

Streamlit runs this file for every visitor and every change of a control. The server gives the address and
key of its own API as secrets; a page is a client like any other and shows only what the API answers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import streamlit as st

from assay.client.monitor import Monitor, connect
from assay.dashboard import data
from assay.dashboard.controls import SHARED, controls, set_controls
from assay.dashboard.views import (
    alerts,
    conversations,
    cost,
    groups,
    health,
    models,
    overview,
    quality,
    reports,
    sessions,
    sql,
)
from assay.dashboard.visit import GOING, Visit
from assay.errors import AssayError

NAMES_SECONDS = 60
"""For so long all visitors share one answer about which projects and models there are."""

ICON = Path(__file__).with_name("icon.svg")


class Place(NamedTuple):
    """A page in the navigation; `url` is the last part of its address. Only some take the shared controls."""

    title: str
    icon: str
    url: str
    page: Callable[[Visit], None]
    controls: bool = True


PLACES = (
    Place("Overview", ":material/monitoring:", "", overview.page),
    Place("Conversations", ":material/forum:", "conversations", conversations.page),
    Place("Sessions", ":material/linear_scale:", "sessions", sessions.page),
    Place("Questions", ":material/category:", "questions", groups.page),
    Place("Quality", ":material/grade:", "quality", quality.page),
    Place("Cost", ":material/payments:", "cost", cost.page),
    Place("Alerts", ":material/notifications:", "alerts", alerts.page, controls=False),
    Place("Models", ":material/model_training:", "models", models.page),
    Place("Reports", ":material/description:", "reports", reports.page),
    Place("SQL", ":material/database_search:", "sql", sql.page, controls=False),
    Place("Health", ":material/vital_signs:", "health", health.page, controls=False),
)

_PLACE = "place"
"""The page that was shown last."""


def dashboard() -> None:
    """The page that the address names, below the navigation and, where it takes them, the shared controls."""

    def in_navigation(place: Place) -> Any:
        return st.Page(
            lambda: place.page(visit),
            title=place.title,
            icon=place.icon,
            url_path=place.url or None,
            default=place is PLACES[0],
        )

    st.set_page_config(page_title="Assay", page_icon=ICON, layout="wide")
    st.logo(ICON, size="small")
    pages = {place.url: in_navigation(place) for place in PLACES}
    current = st.navigation(list(pages.values()), position="top")
    if going := st.session_state.pop(GOING, None):
        _switch(pages[going[0]], going[1])
    # What is drawn in this file outlives a change of pages: so the controls keep what was chosen.
    visit = _visit(next(place for place in PLACES if place.url == current.url_path))
    current.run()


def _switch(page: Any, address: dict[str, str]) -> None:
    # The controls outlive the page: Streamlit lets their part of an address be set through them only.
    set_controls({name: value for name, value in address.items() if name in SHARED})
    st.switch_page(page, query_params={name: value for name, value in address.items() if name not in SHARED})


def _visit(place: Place) -> Visit:
    url, key = st.secrets["assay_url"], st.secrets["assay_key"]
    monitor, names = _monitor(url, key), _known_names(url, key)
    chosen, refresh_seconds = controls(place.title, names) if place.controls else (data.Filter(), None)
    arrived = st.session_state.get(_PLACE) != place.url
    st.session_state[_PLACE] = place.url
    return Visit(monitor, chosen, names, refresh_seconds, arrived)


@st.cache_resource
def _monitor(url: str, key: str) -> Monitor:
    return connect(url, api_key=key or None)


@st.cache_data(ttl=NAMES_SECONDS, show_spinner=False)
def _asked_names(url: str, key: str) -> data.Names:
    return data.names(_monitor(url, key))


def _known_names(url: str, key: str) -> data.Names:
    known: data.Names = st.session_state.get("names", data.Names())
    try:
        asked = _asked_names(url, key)
    except AssayError:
        return known
    if not asked.projects:
        _asked_names.clear()
    # Names only ever join: so a page that met one the list leaves out does not run again and again.
    return known.joined(asked)


if __name__ == "__main__":
    dashboard()
