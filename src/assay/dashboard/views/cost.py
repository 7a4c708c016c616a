"""Cost: where the money goes, what caching saved, budgets, models without a price, and other models' prices.

The dimension stands in the address (`cost_by`), the key of a tag too (`tag_key`).
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from assay.client.monitor import Monitor
from assay.dashboard import figures
from assay.dashboard.budget_panel import budgets
from assay.dashboard.clicks import draw_clickable
from assay.dashboard.cost_charts import NO_NAME, cost_bars, money_format
from assay.dashboard.data import Answer
from assay.dashboard.inert import excerpt, inert
from assay.dashboard.panels import metric
from assay.dashboard.side_by_side import side_by_side
from assay.dashboard.visit import Visit, answered, link
from assay.dashboard.what_if import what_if

TAG = "tag"
DIMENSIONS = {
    "model": "Model",
    "user_id": "User",
    "project": "Project",
    "environment": "Environment",
    "service": "Service",
    "release": "Release",
    "prompt_group": "Kind of question",
    "operation": "Operation",
    "session_id": "Session",
    TAG: "Tag",
}
_FILTERABLE = {"model", "project", "user_id", "session_id", "environment", "service", "release", "prompt_group"}
"""Dimensions that the Conversations page takes from an address."""
BUDGET_SECONDS = 60
"""For so long all visitors share one answer about budgets: it rests on weeks of calls."""

_LINK = "calls of it"
_ROWS = 100
_UNPRICED = 5


def page(visit: Visit) -> None:
    """The figures are drawn as often as wanted, the rest when the reader chooses something."""
    st.fragment(_cost, run_every=visit.refresh_seconds)(visit)
    st.fragment(what_if)(visit)


@answered
def _cost(visit: Visit) -> None:
    by = _dimension()
    if by is None:
        st.info("Name a tag: a key of the attributes that your program gives its calls, such as team.")
        return
    asked, tz = visit.chosen.asked(), st.context.timezone or "UTC"
    found = side_by_side(
        costs=partial(visit.monitor.costs, **asked, group_by=by),
        trend=partial(visit.monitor.trends, **asked, group_by=by, scores=False),
        days=partial(visit.monitor.trends, **asked, bucket="1d", tz=tz, metric=list(_DAY)),
        budgets=partial(_budgets, visit.monitor),
    )
    costs: Answer = found["costs"]
    if not costs["calls"]:
        st.info("No call in this time. Choose a longer time range, another project or another model.")
    else:
        _headline(costs)
        _over_time(found["trend"], by)
        _table(costs, visit)
        _days(found["days"])
    budgets(found["budgets"])
    _unpriced(costs["unpriced_models"])


@st.cache_data(ttl=BUDGET_SECONDS, show_spinner=False, hash_funcs={Monitor: id})
def _budgets(monitor: Monitor) -> list[Answer]:
    return monitor.budgets()


def _dimension() -> str | None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        by = st.selectbox(
            "By", list(DIMENSIONS), format_func=DIMENSIONS.__getitem__, key="cost_by", bind="query-params", width=190
        )
        if by != TAG:
            return by
        key = st.text_input("Key of the tag", key="tag_key", bind="query-params", placeholder="team", width=190)
        return f"tag:{key}" if key else None


def _headline(costs: Answer) -> None:
    saved, unpriced = costs["cache_saved_usd"], costs["unpriced"]
    with st.grid(4, gap="small", min_column_width=150):
        metric(
            "Total cost",
            figures.dollars(costs["cost_usd"]),
            f"{figures.count(unpriced)} unpriced" if unpriced else f"{figures.count(costs['priced'])} calls",
            "orange" if unpriced else "gray",
            "US dollars, of the calls whose model has a known price. Unpriced calls are not in it.",
        )
        metric("Input", figures.dollars(costs["input_cost_usd"]), _tokens(costs["input_tokens"]))
        metric("Output", figures.dollars(costs["output_cost_usd"]), _tokens(costs["output_tokens"]))
        share = costs["cache_hit_share"]
        metric(
            "Saved by caching",
            _signed(saved),
            "no call tells of a cache" if share is None else f"{figures.percent(share)} of input from a cache",
            "gray",
            "What these calls would have cost more without a cache; below 0 where writing cost more than it saved.",
        )


def _tokens(tokens: int | None) -> str:
    return "tokens unknown" if tokens is None else f"{figures.count(tokens)} tokens"


def _signed(amount: float | None) -> str:
    return f"-{figures.dollars(-amount)}" if amount is not None and amount < 0 else figures.dollars(amount)


def _over_time(trend: Answer, by: str) -> None:
    with st.container(border=True):
        st.subheader("Over time", anchor=False)
        title = DIMENSIONS.get(by, DIMENSIONS[TAG])
        drawn = cost_bars(trend["points"], trend["bucket_seconds"], by, title)
        if drawn is None:
            st.caption("No call with a known price in this time.")
        else:
            draw_clickable(drawn, "cost-over-time", f"Cost in US dollars over time, stacked by {title.lower()}")


def _table(costs: Answer, visit: Visit) -> None:
    groups = costs["groups"]
    with st.container(border=True):
        st.subheader("Where the money goes", anchor=False)
        frame = pd.DataFrame([_row(one, costs["dimension"], visit) for one in groups[:_ROWS]])
        st.dataframe(
            frame,
            hide_index=True,
            height=min(40 * (len(frame) + 1), 600),
            placeholder=figures.UNKNOWN,
            column_config=_columns(costs["cost_usd"]),
            column_order=[name for name in frame.columns if name != _LINK or costs["dimension"] in _FILTERABLE],
        )
        if len(groups) > _ROWS:
            st.caption(f"The {_ROWS} dearest of {figures.count(len(groups))}: `assay costs --group-by` tells all.")


def _row(one: Answer, dimension: str, visit: Visit) -> dict[str, Any]:
    address = None
    if dimension in _FILTERABLE and one["group"]:
        address = link("conversations", visit.chosen, **{dimension: one["group"]})
    return {
        _LINK: address,
        "group": excerpt(one["group"], 80) or NO_NAME,
        "cost": one["cost_usd"],
        "share": one["share"],
        "input": one["input_cost_usd"],
        "output": one["output_cost_usd"],
        "saved": one["cache_saved_usd"] if one["priced"] else None,
        "cached": one["cache_hit_share"],
        "calls": one["calls"],
        "unpriced": one["unpriced"],
    }


def _columns(most: float | None) -> dict[str, Any]:
    number = st.column_config.NumberColumn
    money = partial(number, format=money_format(most), width=90)
    return {
        _LINK: st.column_config.LinkColumn("", display_text="Calls", width=60),
        "group": st.column_config.TextColumn("Group", width=220),
        "cost": money("Cost"),
        "share": st.column_config.ProgressColumn("Share", format="percent", min_value=0, max_value=1, width=110),
        "input": money("Input"),
        "output": money("Output"),
        "saved": money("Saved", help="What caching saved"),
        "cached": number("Cached", format="percent", width=80, help="Input tokens that came from a cache"),
        "calls": number("Calls", format="localized", width=70),
        "unpriced": number("Unpriced", format="localized", width=75),
    }


_DAY = {
    "cost_usd": "Cost",
    "input_cost_usd": "Input",
    "output_cost_usd": "Output",
    "calls": "Calls",
    "unpriced": "Unpriced",
}


def _days(days: Answer) -> None:
    with st.expander("Day by day", icon=":material/calendar_month:"):
        rows = [{"day": point["bucket"], **{name: point[name] for name in _DAY}} for point in reversed(days["points"])]
        frame, number = pd.DataFrame(rows), st.column_config.NumberColumn
        money = money_format(max((row["cost_usd"] or 0 for row in rows), default=0))
        frame["day"] = pd.to_datetime(frame["day"], utc=True, format="ISO8601").dt.tz_convert(days["tz"])
        st.dataframe(
            frame,
            hide_index=True,
            placeholder=figures.UNKNOWN,
            column_config={
                "day": st.column_config.DatetimeColumn("Day", format="ddd D MMM YYYY", width=150),
                **{name: number(label, format=money if "usd" in name else "localized") for name, label in _DAY.items()},
            },
        )
        st.caption(inert(f"Days of {days['tz']}."))


def _unpriced(models: list[Answer]) -> None:
    if not models:
        return
    with st.container(border=True):
        st.subheader("Without a price", anchor=False)
        named = [one for one in models if one["model"]]
        for one in models[:_UNPRICED]:
            name, provider = one["model"] or "a model without a name", one["provider"]
            of = f"{name} of {provider}" if provider else name
            calls = "call" if one["calls"] == 1 else "calls"
            st.markdown(f":orange[:material/warning:] {inert(excerpt(of, 120))}: {figures.count(one['calls'])} {calls}")
        if len(models) > _UNPRICED:
            st.caption(f"And {figures.count(len(models) - _UNPRICED)} more: `assay costs` lists them.")
        if named:
            st.caption("Say in assay.toml what a million tokens cost in US dollars, start the server anew, then:")
            st.code(_toml(named[:_UNPRICED]), language="toml")
            st.code("assay reprice --since 30d", language="sh")


def _toml(models: list[Answer]) -> str:
    return "\n".join(
        f"[prices.{json.dumps(one['model'])}]\ninput = 0.50    # yours here\noutput = 1.50\n" for one in models
    )
