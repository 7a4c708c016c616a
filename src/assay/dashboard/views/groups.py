"""Kinds of question: what each costs, how good its answers are, and which got worse; one of them in full below."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from assay.dashboard import figures
from assay.dashboard.charts import in_order
from assay.dashboard.data import Answer
from assay.dashboard.inert import excerpt, inert
from assay.dashboard.visit import Visit, answered


@answered
def page(visit: Visit) -> None:
    """All kinds of question in the range, and the chosen one."""
    found = visit.monitor.groups(**visit.chosen.asked())
    if found["problem"]:
        st.info(inert(found["problem"]), icon=":material/hourglass_empty:")
    rows: list[Answer] = [*found["groups"], *found["other"]]
    if not rows:
        return
    worse = [row for row in rows if row["worse"]]
    if worse:
        names = ", ".join(f"“{inert(excerpt(row['name'], 60))}”" for row in worse[:5])
        st.warning(f"Worse than in the period before: {names}", icon=":material/trending_down:")
    chosen = _table(rows)
    if found["scores_sampled"] < 1:
        st.caption(f"Scores are those of {figures.percent(found['scores_sampled'])} of the calls, taken by chance.")
    if chosen is None:
        st.caption("Choose a row to see its templates and what changed.")
    else:
        _one(visit, chosen)


def _table(rows: list[Answer]) -> Answer | None:
    scores = in_order({name for row in rows for name in row["scores"]})
    several = len({row["project"] for row in rows}) > 1
    frame = pd.DataFrame([_row(row, scores) for row in rows])
    hidden = {*([] if several else ["project"]), *([] if any(frame["worse"]) else ["worse"])}
    number = st.column_config.NumberColumn
    shown = st.dataframe(
        frame,
        hide_index=True,
        height=min(36 * (len(frame) + 1), 1000),
        column_order=[name for name in frame.columns if name not in hidden],
        column_config={
            "project": st.column_config.TextColumn("Project", width=90),
            "question": st.column_config.TextColumn("Question", width=280),
            "calls": number("Calls", format="localized", width=70),
            "share": number("Share", format="percent", width=70),
            "cost": number("Cost", format="$%.4f", width=85),
            "p50": number("p50", format="%.0f ms", width=80),
            "p95": number("p95", format="%.0f ms", width=80),
            "errors": number("Errors", format="percent", width=70),
            **{name: number(figures.name(name), format="%.2f", width=90) for name in scores},
            "worse": st.column_config.TextColumn("Worse", width=130),
        },
        on_select="rerun",
        selection_mode="single-row",
        placeholder=figures.UNKNOWN,
        key="groups",
    )
    places: list[int] = shown["selection"]["rows"]
    return rows[places[0]] if places and places[0] < len(rows) else None


def _row(row: Answer, scores: list[str]) -> dict[str, Any]:
    return {
        "project": row["project"],
        "question": excerpt(row["name"], 160),
        "worse": ", ".join(figures.name(name) for name, change in row["changes"].items() if change["worse"]),
        "calls": row["calls"],
        "share": row["share"],
        "cost": row["cost_usd"],
        "p50": row["p50_latency_ms"],
        "p95": row["p95_latency_ms"],
        "errors": row["error_rate"],
        **{name: row["scores"].get(name, {}).get("mean") for name in scores},
    }


def _one(visit: Visit, row: Answer) -> None:
    asked = visit.chosen.asked() | {"project": row["project"]}
    told = visit.monitor.group(row["id"], **asked)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(inert(excerpt(told["name"], 120)), anchor=False)
        address = {"prompt_group": row["id"], "project": row["project"], "range": visit.chosen.range}
        st.link_button("Its conversations", f"/conversations?{urlencode(address)}", icon=":material/forum:")
    if told["words"]:
        st.caption(inert("Words that set it apart: " + ", ".join(told["words"])))
    templates, changes = st.columns(2)
    with templates:
        st.markdown("**Templates**")
        columns = ["template", "calls", "error_rate", "avg_cost_usd", "avg_latency_ms"]
        st.dataframe(_renamed(told["templates"], columns), hide_index=True, placeholder=figures.UNKNOWN)
    with changes:
        st.markdown("**Against the period before**")
        if told["changes"]:
            columns = ["before", "after", "difference", "low", "high", "worse"]
            listed = [{"figure": figures.name(name), **change} for name, change in told["changes"].items()]
            st.dataframe(_renamed(listed, ["figure", *columns]), hide_index=True, placeholder=figures.UNKNOWN)
        else:
            st.caption("No calls of this kind in the period before.")


def _renamed(rows: list[Answer], columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=columns).rename(columns=figures.name)
