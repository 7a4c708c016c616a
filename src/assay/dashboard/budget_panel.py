"""Budgets: what is spent, what will be by the end of the period, and how sure that is."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from assay.dashboard import figures
from assay.dashboard.cost_charts import budget_bars
from assay.dashboard.data import Answer
from assay.dashboard.drawing import draw
from assay.dashboard.inert import inert

MOST = 12
_SIGNS = {
    "exceeded": ":red[:material/error:]",
    "at risk": ":orange[:material/warning:]",
    "ok": ":green[:material/check_circle:]",
}

EXAMPLE = """[[budget]]
name = "production"
amount_usd = 500
period = "month"               # or week, day
filter = { environment = "production" }
"""


def budgets(found: list[Answer]) -> None:
    """All budgets of the server, whatever is filtered; those in trouble first."""
    with st.container(border=True):
        st.subheader("Budgets", anchor=False)
        if not found:
            st.caption("None is set. Add one to assay.toml and start the server anew:")
            st.code(EXAMPLE, language="toml")
            return
        ordered = sorted(found, key=lambda one: (list(_SIGNS).index(one["state"]), -one["share"]))
        shown = ordered[:MOST]
        draw(budget_bars(shown), "budgets", "Spent, and expected by the end of the period, of each budget")
        for one in shown[:5]:
            st.markdown(f"{_SIGNS[one['state']]} {inert(one['sentence'])}  \n:small[:gray[{inert(_more(one))}]]")
        if len(ordered) > len(shown):
            st.caption(f"And {figures.count(len(ordered) - len(shown))} more: `assay budgets` tells all.")
        st.caption(
            "Bars are what is spent, rings what is expected by the end of the period, lines its 95% range. "
            "Budgets are their own selection of calls: the filters above do not touch them."
        )


def _more(one: Answer) -> str:
    now, zone = datetime.now(UTC), st.context.timezone
    parts = [f"until {figures.clock(one['until'], zone, now)}"]
    if one["low"] is None:
        parts.append("no range with less than a week of calls")
    else:
        parts.append(f"95% range {figures.dollars(one['low'])} to {figures.dollars(one['high'])}")
    if one["unpriced"]:
        parts.append(f"calls without a price that are not in it: {figures.count(one['unpriced'])}")
    return " · ".join(parts)
