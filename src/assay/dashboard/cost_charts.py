"""Charts of money: over time by any dimension, budgets and what they will be, the same calls with another model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import altair as alt

from assay.dashboard import figures
from assay.dashboard.axes import dollar_axis, finished, legend, rows_height, time_axis, time_tooltip
from assay.dashboard.charts import SHARE_OF_BUCKET
from assay.dashboard.clicks import ADDRESS, bucket, clickable
from assay.dashboard.data import Answer
from assay.dashboard.drawing import Chart, chart, marks, specified
from assay.dashboard.inert import excerpt
from assay.palette import AMBER, BLUE, GREY, MODEL_COLOURS, RED, TEAL

NO_NAME, OTHERS = "(none given)", "all others"
STATE_COLOURS = {"ok": TEAL, "at risk": AMBER, "exceeded": RED}


def cost_bars(points: Sequence[Answer], bucket_seconds: int, by: str, title: str) -> Chart | None:
    """US dollars in each bucket of time, stacked by `by`: the dearest groups apart, the others together.

    None where nothing had a price.
    """
    rows = _stacked([point for point in points if point["cost_usd"]], bucket_seconds, by)
    if not rows:
        return None
    names = sorted({row["name"] for row in rows}, key=lambda name: (name == OTHERS, name))
    return chart(_cost_bars(tuple(names), by, title), rows)


@specified
def _cost_bars(names: tuple[str, ...], by: str, title: str) -> Any:
    bars = (
        marks()
        .mark_bar(orient="vertical")
        .encode(
            x=time_axis("time"),
            x2="end:T",
            y=alt.Y("cost:Q", title="US dollars", stack="zero", axis=dollar_axis()),
            color=alt.Color(
                "name:N",
                title=None,
                scale=alt.Scale(domain=list(names), range=list(MODEL_COLOURS[: len(names)])),
                legend=legend(columns=2),
            ),
            tooltip=[
                alt.Tooltip("name:N", title=title),
                alt.Tooltip("cost:Q", title="Cost", format="$.4~f"),
                alt.Tooltip("calls:Q", title="Calls", format=","),
                time_tooltip("time"),
                alt.Tooltip("utc:N", title="UTC"),
            ],
        )
    )
    return finished(clickable(bars, "since", "until", *([by] if by in ADDRESS else [])))


def budget_bars(budgets: Sequence[Answer]) -> Chart:
    """Of each budget what is spent, and what will be by the end of its period, in parts of its amount."""
    rows = [_budget_row(one) for one in budgets]
    most = max(1.1, *(row[end] or 0 for row in rows for end in ("share", "forecast", "high")))
    return chart(_budget_bars(len(rows), min(most, 3) * 1.02), rows, amounts=[{"at": 1.0}])


@specified
def _budget_bars(budgets: int, most: float) -> Any:
    scale = alt.Scale(domain=[0, most], clamp=True)
    tooltip = [
        alt.Tooltip("budget:N", title="Budget"),
        alt.Tooltip("spent:N", title="Spent"),
        alt.Tooltip("expected:N", title="By the end"),
        alt.Tooltip("likely:N", title="95% range"),
        alt.Tooltip("chance:N", title="Chance to exceed it"),
    ]
    base = marks().encode(
        y=alt.Y("budget:N", title=None, sort=None, axis=alt.Axis(labelLimit=220, ticks=False, domain=False)),
        color=alt.Color(
            "state:N",
            title=None,
            scale=alt.Scale(domain=list(STATE_COLOURS), range=list(STATE_COLOURS.values())),
            legend=legend(columns=3),
        ),
        tooltip=tooltip,
    )
    axis = alt.Axis(format="%", tickCount=5)
    spent = base.mark_bar(size=12).encode(x=alt.X("share:Q", title="Of the budget", scale=scale, axis=axis))
    ranges = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", scale=scale), x2="high:Q")
    ends = base.mark_point(size=70, filled=False, strokeWidth=2).encode(x=alt.X("forecast:Q", scale=scale))
    amount = marks("amounts").mark_rule(color=GREY, strokeDash=[4, 3]).encode(x="at:Q")
    return finished(alt.layer(spent, ranges, ends, amount), rows_height(budgets) + 30)


def other_models(models: Sequence[Answer]) -> Chart | None:
    """What the same calls did cost and would cost, a pair of bars a model; None where no price is known."""
    rows = [
        {"model": excerpt(one["model"], 50), "which": which, "cost": one[key], "calls": one["calls"]}
        for one in models
        if one["then_usd"] is not None
        for which, key in (("as it was", "now_usd"), ("with this model", "then_usd"))
    ]
    return chart(_other_models(len(rows)), rows) if rows else None


@specified
def _other_models(bars: int) -> Any:
    pairs = (
        marks()
        .mark_bar()
        .encode(
            y=alt.Y("model:N", title=None, sort=None, axis=alt.Axis(labelLimit=220, ticks=False, domain=False)),
            yOffset=alt.YOffset("which:N"),
            x=alt.X("cost:Q", title="US dollars", axis=dollar_axis()),
            color=alt.Color(
                "which:N",
                title=None,
                scale=alt.Scale(domain=["as it was", "with this model"], range=[GREY, BLUE]),
                legend=legend(columns=2),
            ),
            tooltip=[
                alt.Tooltip("model:N", title="Model"),
                alt.Tooltip("which:N", title="Cost"),
                alt.Tooltip("cost:Q", title="US dollars", format="$,.4f"),
                alt.Tooltip("calls:Q", title="Calls compared", format=","),
            ],
        )
    )
    return finished(pairs, rows_height(bars) + 30)


def money_format(most: float | None) -> str:
    """How a table writes US dollars of which the largest is this: small ones must not look like nothing."""
    return "$%.2f" if (most or 0) >= 100 else "$%.4f" if (most or 0) >= 1 else "$%.6f"


def _stacked(points: Sequence[Answer], bucket_seconds: int, by: str) -> list[dict[str, Any]]:
    """One row a bucket and group; what is taken together is no group that a click could ask for."""
    totals: Counter[str] = Counter()
    for point in points:
        totals[point["group"]] += point["cost_usd"]
    dearest = {name for name, _ in totals.most_common(len(MODEL_COLOURS) - 1)}
    rows: dict[tuple[str, str | None], dict[str, Any]] = {}
    for point in points:
        group = point["group"] if point["group"] in dearest else None
        name = OTHERS if group is None else excerpt(group, 60) or NO_NAME
        began = bucket(point["bucket"], bucket_seconds)
        end = began["time"] + SHARE_OF_BUCKET * timedelta(seconds=bucket_seconds)
        row = rows.setdefault(
            (point["bucket"], group), {**began, "end": end, "name": name, by: group, "cost": 0.0, "calls": 0}
        )
        row["cost"] += point["cost_usd"]
        row["calls"] += point["calls"]
    return list(rows.values())


def _budget_row(one: Answer) -> dict[str, Any]:
    amount, low, high = one["amount_usd"], one["low"], one["high"]
    known = low is not None and high is not None
    return {
        "budget": excerpt(f"{one['name']} · {one['value'] or '(none)'}" if one["per"] else one["name"], 50),
        "state": one["state"],
        "share": one["share"],
        "forecast": one["forecast_usd"] / amount,
        "low": low / amount if known else None,
        "high": high / amount if known else None,
        "spent": f"{figures.dollars(one['spent_usd'])} of {figures.dollars(amount)}",
        "expected": figures.dollars(one["forecast_usd"]),
        "likely": f"{figures.dollars(low)} to {figures.dollars(high)}"
        if known
        else "unknown: less than a week of calls",
        "chance": figures.UNKNOWN if one["chance"] is None else f"{one['chance']:.0%}",
    }
