"""Pages of a list that is read from cursor to cursor: the one shown stands in the address, the way back is kept."""

from __future__ import annotations

from typing import Any

import streamlit as st

CURSOR = "cursor"


def cursor(of: str, asked: dict[str, Any]) -> str:
    """The cursor of the page to show of the list `of`.

    Another question starts at its first page, unless a link names a page of it.
    """
    known, before = f"{of}-asked", _before(of)
    if st.session_state.get(known) != asked:
        if known in st.session_state:
            st.query_params.pop(CURSOR, None)
        st.session_state[known], st.session_state[before] = asked, []
    return st.query_params.get(CURSOR, "")


def paging(of: str, next_cursor: str | None) -> None:
    """Buttons to the page before and the one after, where there are any."""
    before: list[str] = st.session_state.setdefault(_before(of), [])
    here = st.query_params.get(CURSOR, "")
    with st.container(horizontal=True, horizontal_alignment="right"):
        if here:
            earlier = before[-1] if before else ""
            st.button("Back", icon=":material/chevron_left:", on_click=_turn, args=(of, earlier, before[:-1]))
        if next_cursor:
            further = (of, next_cursor, [*before, here])
            st.button("Further", icon=":material/chevron_right:", on_click=_turn, args=further)


def set_address(changes: dict[str, str | None]) -> None:
    """Change parts of the page's address that are no control's; None takes one away."""
    for name, value in changes.items():
        if value is None:
            st.query_params.pop(name, None)
        else:
            st.query_params[name] = value


def _turn(of: str, cursor: str, before: list[str]) -> None:
    st.session_state[_before(of)] = before
    set_address({CURSOR: cursor or None})


def _before(of: str) -> str:
    return f"{of}-cursors-before"
