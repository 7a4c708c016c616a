"""The overview: is all well, what does it cost, how good is it, and what was said last."""

from __future__ import annotations

import math
import time

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from assay.dashboard import panels
from assay.dashboard.conversations import recent_conversations
from assay.dashboard.data import Answer, Filter
from assay.dashboard.headline import headline
from assay.dashboard.overview_data import Overview, overview
from assay.dashboard.visit import Visit, answered
from assay.dashboard.welcome import first_call, nothing_here

FIRST_CALL_SECONDS = 2.0
"""How often a page without any call looks for the first one."""

COMPARED_SECONDS = 60.0
"""For so long a reader's refreshes share one comparison with the period before."""

_COMPARED = "compared"
_FIRST = "first-call"
"""Whether what is drawn next is the first call that this reader sees: nothing said before a rerun is shown."""


def page(visit: Visit) -> None:
    """All of it is asked for and drawn again on its own, without the controls."""
    refresh_seconds = visit.refresh_seconds
    if not visit.names.projects:
        refresh_seconds = min(refresh_seconds or FIRST_CALL_SECONDS, FIRST_CALL_SECONDS)
    st.fragment(_figures, run_every=refresh_seconds)(visit)


@answered
def _figures(visit: Visit) -> None:
    with overview(visit.monitor, visit.chosen, _compared_lately(visit.chosen)) as found:
        if not found.usage["total_calls"]:
            _nothing(visit)
        elif not visit.names.knows(found.names):
            st.session_state[_FIRST] = not visit.names.projects
            st.session_state["names"] = visit.names.joined(found.names)
            st.rerun()
        else:
            _draw(visit, found)


def _compared_lately(chosen: Filter) -> Answer | None:
    at, of, compared = st.session_state.get(_COMPARED, (-math.inf, None, None))
    return compared if of == chosen and time.monotonic() - at < COMPARED_SECONDS else None


def _draw(visit: Visit, found: Overview) -> None:
    """Each part in its place as soon as it is answered.

    The headline waits longest, for the comparison. Who has just arrived gets it first all the same, or it would push
    down what is being read; others see the former one until then.
    """
    if st.session_state.pop(_FIRST, False):
        st.toast("The first call is here.", icon=":material/celebration:", duration="long")
    top = st.container()
    if visit.arrived:
        _top(top, visit, found)
    rows = [st.columns(widths) for widths in ([3, 2], [1, 1], [1, 1])]
    recent = st.container()
    for (row, side), panel in _PANELS.items():
        with rows[row][side]:
            panel(found)
    with recent:
        # A fragment of its own: opening a conversation asks for that one alone, not for all figures again.
        st.fragment(recent_conversations)(visit.monitor, found.calls)
    if not visit.arrived:
        _top(top, visit, found)
    if found.compared is not _compared_lately(visit.chosen):
        st.session_state[_COMPARED] = time.monotonic(), visit.chosen, found.compared


def _top(place: DeltaGenerator, visit: Visit, found: Overview) -> None:
    with place:
        panels.troubles(found)
        headline(found, visit.names.first_at)


_PANELS = {
    (0, 0): panels.quality,
    (1, 1): panels.volume,
    (2, 0): panels.latency,
    (1, 0): panels.cost,
    (2, 1): panels.distribution,
    (0, 1): panels.alerts,
}
"""What stands in which row and column, in the order of the answers."""


def _nothing(visit: Visit) -> None:
    if visit.names.projects:
        nothing_here(visit, "No conversation")
    else:
        first_call(st.secrets["assay_url"], needs_key=bool(st.secrets["assay_key"]))
