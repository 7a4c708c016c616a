"""A click on a mark leads to the calls behind it: what a chart must bring along, and what was clicked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import altair as alt
import streamlit as st

from assay.dashboard.data import FILTERS
from assay.dashboard.drawing import Chart, draw
from assay.dashboard.visit import go

_MARK = "mark"

ADDRESS = (
    *("since", "until", *FILTERS, "service", "session_id", "prompt_group", "status"),
    *("min_latency_ms", "max_latency_ms", "incident"),
)
"""What a mark can be about, named as in the address of the page that shows it."""


def bucket(begin: str, seconds: int | None) -> dict[str, Any]:
    """The time that a mark stands for, which began at an RFC 3339 moment: `time` to draw, the others to ask and tell.

    Without a length it is open at its end.
    """
    start = datetime.fromisoformat(begin)
    until = {"until": _written(start + timedelta(seconds=seconds))} if seconds else {}
    return {"time": start, "since": _written(start), **until, "utc": f"{start.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"}


def clickable(marks: Any, *fields: str, nearest: bool = False) -> Any:
    """The marks of a chart, which now tell these fields of theirs when they are clicked."""
    return marks.add_params(
        alt.selection_point(name=_MARK, fields=list(fields), on="click", nearest=nearest, toggle=False)
    )


def draw_clickable(drawn: Chart, key: str, alt_text: str, place: str = "conversations") -> None:
    """Draw a chart whose marks are `clickable`; a click shows `place` next."""
    event = draw(drawn, key, alt_text, selection=_MARK)
    marked: list[Mapping[str, Any]] = event["selection"].get(_MARK) or []
    if marked:
        address = {name: str(value) for name, value in marked[0].items() if name in ADDRESS and value is not None}
        go("alerts" if "incident" in address else place, **address)
        st.rerun()


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
