"""Thumbs: what the reader thinks of an answer is stored as a score, and everybody's is shown below.

A thumb is the score "thumb", 1 up and 0 down, of source human. The same person's second thumb replaces the
first; people are told apart by the name they give, if they give one.
"""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st

from assay.client.monitor import Monitor
from assay.dashboard.charts import THUMB
from assay.dashboard.data import Answer
from assay.dashboard.inert import excerpt, inert
from assay.errors import AssayError

LONGEST_COMMENT = 2000
LONGEST_NAME = 100


def is_thumb(verdict: Answer) -> bool:
    """Whether this is a person's thumb."""
    return verdict["name"] == THUMB and verdict["source"] == "human"


def thumbs(monitor: Monitor, span_id: str, verdicts: Iterable[Answer]) -> None:
    """Thumb, comment and name of the reader, stored as soon as one is given; and what everybody gave."""
    given = {verdict["author"]: verdict for verdict in verdicts if is_thumb(verdict)}
    own = given.get(_author(), {})
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"feedback-{span_id}"):
        st.markdown("**Good answer?**", width="content")
        st.feedback(
            "thumbs",
            key=_key("thumb", span_id),
            default=None if own.get("value") not in (0, 1) else int(own["value"]),
            on_change=_store,
            args=(monitor, span_id),
        )
        st.text_input(
            "Comment",
            value=own.get("comment", "")[:LONGEST_COMMENT],
            key=_key("comment", span_id),
            max_chars=LONGEST_COMMENT,
            placeholder="What is good or bad about it?",
            label_visibility="collapsed",
            on_change=_store,
            args=(monitor, span_id),
        )
        st.text_input(
            "Your name",
            value=_author(),
            key=f"name-{span_id}",
            max_chars=LONGEST_NAME,
            placeholder="Your name, if you like",
            label_visibility="collapsed",
            width=190,
            on_change=_remember,
            args=(span_id,),
        )
    if refused := st.session_state.pop(f"refused-{span_id}", ""):
        st.warning(inert(refused), title="Your thumb is not stored", icon=":material/cloud_off:")
    for author, verdict in given.items():
        st.markdown(_line(author, verdict))


def _line(author: str, verdict: Answer) -> str:
    up = (verdict["value"] or 0) > 0.5
    sign = ":green[:material/thumb_up:]" if up else ":red[:material/thumb_down:]"
    comment = f": {inert(excerpt(verdict['comment'], 300))}" if verdict["comment"] else ""
    return f"{sign} :small[**{inert(author or 'somebody')}**{comment}]"


def _store(monitor: Monitor, span_id: str) -> None:
    """A comment waits for its thumb; a thumb that is taken back stays as it was given."""
    value = st.session_state.get(_key("thumb", span_id))
    if value is None:
        return
    comment = st.session_state.get(_key("comment", span_id), "")
    try:
        monitor.score(span_id, THUMB, float(value), comment=comment, author=_author())
    except AssayError as error:
        st.session_state[f"refused-{span_id}"] = str(error)


def _author() -> str:
    return st.session_state.get("author", "")


def _remember(span_id: str) -> None:
    st.session_state["author"] = st.session_state[f"name-{span_id}"].strip()


def _key(what: str, span_id: str) -> str:
    # Another name is another reader, with a thumb of their own.
    return f"{what}-{span_id}-{_author()}"
