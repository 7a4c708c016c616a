"""Reports: a document on the chosen calls, the calls themselves as a file, and reports that are sent by themselves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any

import streamlit as st

from assay.client.monitor import Monitor
from assay.dashboard.data import Answer
from assay.dashboard.export_panel import export
from assay.dashboard.inert import inert
from assay.dashboard.visit import Visit, answered

PREVIEW_HEIGHT = 900
_LENGTHS = {"m": "minutes", "h": "hours", "d": "days"}
_KINDS = {
    "html": ("HTML", "text/html", ":material/html:"),
    "pdf": ("PDF", "application/pdf", ":material/picture_as_pdf:"),
    "md": ("Markdown", "text/markdown", ":material/markdown:"),
}


@answered
def page(visit: Visit) -> None:
    """Drawn when the reader chooses something, and not again by itself: a report is of one moment.

    All else stands there before the report, which takes longest; what is chosen for an export makes no other one.
    """
    told, asked = visit.monitor.reports(), _asked(visit)
    _downloads(visit.monitor, asked, told["no_pdf"])
    place = st.container()
    st.fragment(export)(visit)
    st.fragment(_scheduled)(visit.monitor, told["reports"])
    with place, st.spinner("Making the report …"):
        _preview(visit.monitor.report("html", **asked))


def _asked(visit: Visit) -> dict[str, Any]:
    """The filters with both ends of the range said, so that what is taken along is what was looked at."""
    chosen, until = visit.chosen, datetime.now(UTC).replace(microsecond=0)
    asked = {**chosen.asked(), "until": until.isoformat()}
    if chosen.range != "all":
        length = timedelta(**{_LENGTHS[chosen.range[-1]]: int(chosen.range[:-1])})
        asked["since"] = (until - length).isoformat()
    return asked


def _downloads(monitor: Monitor, asked: dict[str, Any], no_pdf: str) -> None:
    day = asked["until"][:10]
    with st.container(horizontal=True, vertical_alignment="center"):
        for format, (label, media_type, icon) in _KINDS.items():
            st.download_button(
                label,
                lambda format=format: monitor.report(format, **asked),
                f"assay-report-{day}.{format}",
                media_type,
                icon=icon,
                key=f"download-{format}",
                on_click="ignore",
                disabled=format == "pdf" and bool(no_pdf),
                help=inert(no_pdf) if format == "pdf" and no_pdf else None,
            )


def _preview(page: str) -> None:
    """The page in a frame that runs nothing and belongs to no site; the frame around it is Streamlit's."""
    frame = f'<iframe sandbox title="Report" srcdoc="{escape(page)}" style="{_FRAME}"></iframe>'
    st.iframe(f"<style>body {{ margin: 0 }}</style>{frame}", height=PREVIEW_HEIGHT, alt="The report")


_FRAME = f"border: 1px solid #e3e8ed; border-radius: 8px; width: calc(100% - 2px); height: {PREVIEW_HEIGHT - 6}px"


@answered
def _scheduled(monitor: Monitor, reports: list[Answer]) -> None:
    st.subheader("Sent by themselves", anchor=False)
    if not reports:
        st.caption(
            "None: add a table \\[\\[report\\]\\] to assay.toml, with a timetable and channels of your alert rules."
        )
    for one in reports:
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            due = f"{one['every']} {one['zone']}, next {one['next_due'][:16].replace('T', ' ')} UTC"
            to = f"{one['format']} to {', '.join(one['channels'])}"
            st.markdown(f"**{inert(one['name'])}** · {inert(due)} · {inert(to)}")
            if st.button("Send now", key=f"send-{one['name']}"):
                monitor.send_report(one["name"])
                st.toast("It is on its way; the delivery log tells what becomes of it.")
