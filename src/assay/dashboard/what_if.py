"""What if another model had taken the same calls: a reader names models, and sees what they would have cost."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
import streamlit as st

from assay.dashboard import figures
from assay.dashboard.cost_charts import money_format, other_models
from assay.dashboard.data import Answer
from assay.dashboard.drawing import draw
from assay.dashboard.inert import excerpt, inert
from assay.dashboard.visit import Visit, answered

MOST = 12
_OFFERED = 5


@answered
def what_if(visit: Visit) -> None:
    """Its models stand in the address (`as_model`)."""
    with st.container(border=True):
        st.subheader("What if another model had taken these calls?", anchor=False)
        offered = [name for name in visit.names.models if name]
        linked = [name for name in st.query_params.get_all("as_model") if name not in offered]
        chosen = st.multiselect(
            "Models to price for",
            [*offered, *linked],
            default=_in_use(offered)[:_OFFERED],
            accept_new_options=True,
            max_selections=MOST,
            key="as_model",
            bind="query-params",
            placeholder="Any model with a price, such as gpt-4o-mini",
        )
        if not chosen:
            st.caption("Name a model: any that has a public price, or one of your own in assay.toml.")
            return
        _answer(visit.monitor.what_if(*chosen, **visit.chosen.asked()))


def _in_use(models: list[str]) -> list[str]:
    """Without the names that calls ask for by an alias, where the dated model that answers is there too."""
    return [name for name in models if not any(re.fullmatch(re.escape(name) + r"-[\d-]+", one) for one in models)]


def _answer(found: Answer) -> None:
    if not found["calls"]:
        st.caption("No conversation in this time.")
        return
    models = sorted(found["models"], key=lambda one: (one["then_usd"] is None, one["then_usd"] or 0))
    drawn = other_models(models)
    if drawn is not None:
        draw(drawn, "what-if", "Cost of the same calls as they were, and with each model")
    money = money_format(max((one["now_usd"] or 0 for one in models), default=0))
    number = st.column_config.NumberColumn
    st.dataframe(
        pd.DataFrame([_row(one) for one in models]),
        hide_index=True,
        placeholder=figures.UNKNOWN,
        column_config={
            "model": st.column_config.TextColumn("Model", width=220),
            "calls": number("Calls compared", format="localized"),
            "now": number("As it was", format=money),
            "then": number("With this model", format=money),
            "difference": number("Difference ($)", format=money.replace("$%", "%+")),
            "factor": number("Factor", format="%.2f"),
            "left out": number(
                "Left out", format="localized", help="Calls without a price on one side, or without known tokens."
            ),
        },
    )
    for one in models:
        if one["problem"]:
            st.caption(f":orange[:material/warning:] {inert(one['problem'])}")
    if uncompared := [one for one in models if one["only_then"]]:
        would = ", ".join(f"{figures.dollars(one['only_then_usd'])} with {one['model']}" for one in uncompared)
        st.caption(inert(f"Calls whose own cost is unknown are not compared; they would cost {would}."))
    st.caption(inert("Assumed: " + " ".join(found["assumes"])))


def _row(one: Answer) -> dict[str, Any]:
    return {
        "model": excerpt(one["model"], 80),
        "calls": one["calls"],
        "now": one["now_usd"],
        "then": one["then_usd"],
        "difference": one["difference_usd"],
        "factor": one["ratio"],
        "left out": one["only_then"] + one["only_now"] + one["unknown"],
    }
