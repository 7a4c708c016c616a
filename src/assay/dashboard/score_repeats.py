"""Consistency: whether models give the same prompt the same answer. Asked for only when a reader opens it."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from assay.dashboard import figures
from assay.dashboard.data import Answer
from assay.dashboard.inert import excerpt
from assay.dashboard.visit import Visit, answered, link


def repeats(visit: Visit) -> None:
    """A closed panel: comparing answers takes longer than all else on the page."""
    opened = st.expander(
        "Consistency: does the same prompt get the same answer?",
        key="consistency",
        icon=":material/repeat:",
        on_change="rerun",
    )
    with opened:
        if opened.open:
            _repeats(visit)


@answered
def _repeats(visit: Visit) -> None:
    with st.spinner("Comparing answers"):
        found = visit.monitor.consistency(**visit.chosen.asked())
    if not found["by_model"]:
        st.caption("No prompt was asked more than once in this time.")
        return
    st.dataframe(pd.DataFrame([_of_model(one) for one in found["by_model"]]), hide_index=True)
    st.caption(
        "Prompts that were asked again, word for word, of the same model with the same parameters. "
        "Apart: 0 the same words, 1 nothing in common. With 95% intervals."
        + (" Only the newest 20,000 conversations were compared." if found["cut"] else "")
    )
    if found["prompts"]:
        st.markdown("**Least consistent prompts**")
        st.dataframe(
            pd.DataFrame([_of_prompt(one) for one in found["prompts"]]),
            hide_index=True,
            column_config={
                "one": st.column_config.LinkColumn("One", display_text="Open", width=60),
                "other": st.column_config.LinkColumn("Other", display_text="Open", width=60),
                "prompt": st.column_config.TextColumn("Prompt", width=260),
                "an answer": st.column_config.TextColumn("An answer", width=260),
                "another": st.column_config.TextColumn("Another", width=260),
            },
        )


def _of_model(one: Answer) -> dict[str, Any]:
    return {
        "Model": one["model"] or "(none given)",
        "Temperature": figures.UNKNOWN if one["temperature"] is None else f"{one['temperature']:g}",
        "Repeated prompts": one["prompts"],
        "Calls": one["calls"],
        "Answered differently": _likely(one["inconsistent"], percent=True),
        "Two answers differ": _likely(one["differing"], percent=True),
        "Apart": _likely(one["spread"], percent=False),
    }


def _of_prompt(one: Answer) -> dict[str, Any]:
    first, second = one["examples"]
    return {
        "prompt": excerpt(one["prompt"], 160),
        "an answer": excerpt(first["response"], 160),
        "another": excerpt(second["response"], 160),
        "one": link("conversations", call=first["span_id"]),
        "other": link("conversations", call=second["span_id"]),
    }


def _likely(figure: Answer | None, *, percent: bool) -> str:
    if figure is None:
        return figures.UNKNOWN
    ends = [figure[end] for end in ("value", "low", "high")]
    value, low, high = (None if end is None else f"{end:.0%}" if percent else f"{end:.2f}" for end in ends)
    return f"{value}" if low is None else f"{value} ({low} to {high})"
