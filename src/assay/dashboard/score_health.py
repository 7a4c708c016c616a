"""Whether a score can be relied on to be there: who gives it in which version, how far behind, what fails."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from assay.dashboard import figures
from assay.dashboard.data import Answer
from assay.dashboard.inert import excerpt, inert


def scorer_health(quality: Answer, spread: Answer) -> None:
    """The scorers behind one score (`judges` of its distribution), and its lane as /api/health tells it."""
    score = spread["name"]
    with st.container(border=True):
        st.subheader("Who gives it", anchor=False)
        _judges(spread["judges"])
        lanes: list[Answer] = list((quality.get("lanes") or {}).values())
        lane = next((one for one in lanes if score in one["scores"]), None)
        if lane is None and any(not one["scores"] for one in lanes):
            st.caption("The server's scorers have judged nothing since it was started.")
            return
        if lane is None:
            st.caption("This server does not give this score itself: it is told by another program, or by people.")
            return
        behind = f"{figures.milliseconds(lane['lag_seconds'] * 1000)} behind" if lane["lag_seconds"] else "up to date"
        failures = lane["failures"].get(score, 0)
        failed = f"{figures.count(failures)} failures since the start" if failures else "no failure since the start"
        st.caption(inert(f"Its scorer is {behind}; {failed}."))
        if why := quality.get("resting", {}).get(score):
            st.warning(
                inert(excerpt(why, 300)), title="Not scored for now: it failed again and again", icon=":material/pause:"
            )


def _judges(judges: list[Answer]) -> None:
    now, zone = datetime.now(UTC), st.context.timezone
    rows = [
        {
            "scorer": excerpt(one["scorer"], 60) or figures.UNKNOWN,
            "version": excerpt(one["version"], 40) or figures.UNKNOWN,
            "verdicts": one["calls"],
            "last": figures.clock(one["judged_at"], zone, now),
        }
        for one in judges
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config={
            "scorer": st.column_config.TextColumn("Scorer"),
            "version": st.column_config.TextColumn("Version"),
            "verdicts": st.column_config.NumberColumn("Verdicts in this time", format="localized"),
            "last": st.column_config.TextColumn("Last verdict"),
        },
    )
    if len(judges) > 1:
        st.caption("Several versions in this time: a change of the mean may be one of the scorer.")
