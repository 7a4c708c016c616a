"""What a rule would have done over the last days: a rule in force, or one that is typed in to try it."""

from __future__ import annotations

from typing import Any

import altair as alt
import streamlit as st

from assay.client.monitor import Monitor
from assay.dashboard import figures
from assay.dashboard.axes import finished, time_axis
from assay.dashboard.clicks import bucket
from assay.dashboard.data import Answer
from assay.dashboard.drawing import Chart, chart, draw, marks, specified
from assay.dashboard.incidents import when
from assay.dashboard.inert import excerpt, inert
from assay.palette import BLUE, GREY, RED

REPLAYED = ("1d", "7d", "30d")
POINTS = 300
TRY = "A rule of your own"
EXAMPLE = """[[rule]]
name = "slow-answers"
metric = "latency"
aggregate = "p95"
above = 4000
window = "15m"
for = "5m"
"""

_HEIGHT = 240
_SHOWN = 20


def replay_panel(monitor: Monitor) -> None:
    """A rule to choose (`rule` in the address) and what it would have done over the time that is chosen (`over`)."""
    rules = {rule["name"]: rule for rule in monitor.rules()["rules"]}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox("Rule", [*rules, TRY], key="rule", bind="query-params", width=260)
        over = st.segmented_control(
            "Over the last", REPLAYED, default="7d", required=True, key="over", bind="query-params", width="content"
        )
    if name != TRY:
        _replayed(monitor.replay(only=[name], since=over or "7d", points=POINTS), _figure(rules[name]))
        return
    with st.form("replay", border=False):
        text = st.text_area("As in alerts.toml", placeholder=EXAMPLE, height=200, key="try")
        asked: Any = st.form_submit_button("Replay")
    if asked:
        _replayed(monitor.replay(f"defaults = false\n{text or EXAMPLE}", since=over or "7d", points=POINTS))


def _figure(rule: Answer) -> str:
    return f"{rule['aggregate']} of {rule['metric']}" if rule.get("aggregate") else rule["metric"]


def _replayed(found: Answer, figure: str = "Figure") -> None:
    for problem in found["problems"]:
        st.warning(inert(problem))
    for rule in found["rules"]:
        _rule(rule, found["until"], figure)


def _rule(rule: Answer, until: str, figure: str) -> None:
    if rule["error"]:
        st.warning(inert(rule["error"]), title=inert(rule["rule"]))
        return
    st.markdown(f"**{inert(rule['rule'])}** · {inert(_sentence(rule))}")
    drawn = course(rule, until, figure)
    if drawn is None:
        st.caption("Too few calls in this time for the rule to say anything.")
    else:
        group = f" Drawn for {rule['group']}." if rule["group"] else ""
        draw(drawn, f"course-{rule['rule']}", "The rule's figure over time, and when it would fire")
        st.caption(inert(f"{_drawn(rule)}. Red: it would have fired.{group}"))
    rows = [
        {
            "fired": when(one["fired_at"]),
            "resolved": when(one["resolved_at"]),
            "group": excerpt(one["group"], 80),
            "message": excerpt(one["message"], 300),
        }
        for one in rule["episodes"][-_SHOWN:][::-1]
    ]
    if rows:
        st.dataframe(rows, hide_index=True, key=f"episodes-{rule['rule']}")


def _sentence(rule: Answer) -> str:
    times = "never" if not rule["fired"] else f"{rule['fired']} {'times' if rule['fired'] > 1 else 'time'}"
    told = f"would have fired {times}" + (f", {rule['a_week']:g} a week" if rule["fired"] else "")
    if rule["suggested"] is not None:
        told += f"; with {rule['setting']} = {rule['suggested']:g} at most once a week (now {rule['limit']:g})"
    return f"{told}. {figures.count(rule['calls'])} calls in {figures.count(rule['groups'])} groups."


def _drawn(rule: Answer) -> str:
    if rule["kind"] == "threshold":
        return "Line and band: the figure and its interval. Dashed: the limit"
    if rule["kind"] == "baseline":
        return "Line: the figure. Band: what is expected at that time. Dashed: what is usual"
    return "Line and band: the figure and its interval. Dashed: what it is compared to"


def course(rule: Answer, until: str, figure: str) -> Chart | None:
    """The figure, its band and what it is compared to over time, episodes shaded; None where nothing is known."""
    rows = [{**bucket(point["at"], None), **point} for point in rule["course"] if point["value"] is not None]
    fired = [
        {"from": bucket(one["fired_at"], None)["time"], "to": bucket(one["resolved_at"] or until, None)["time"]}
        for one in rule["episodes"]
        if one["group"] == rule["group"]
    ]
    return chart(_course(figure, bool(fired)), rows, fired=fired) if rows else None


@specified
def _course(figure: str, fired: bool) -> Any:
    base = marks().encode(x=time_axis("time"))
    scale = alt.Scale(zero=False, nice=True)
    band = base.mark_area(opacity=0.16, color=BLUE).encode(y=alt.Y("low:Q", scale=scale, title=figure), y2="high:Q")
    limit = base.mark_line(strokeDash=[5, 3], color=GREY, strokeWidth=2).encode(y=alt.Y("usual:Q", scale=scale))
    line = base.mark_line(color=BLUE, strokeWidth=2, point=alt.OverlayMarkDef(size=10, color=BLUE)).encode(
        y=alt.Y("value:Q", scale=scale, title=figure),
        tooltip=[
            alt.Tooltip("value:Q", title="Figure", format=",.4~g"),
            alt.Tooltip("low:Q", title="from", format=",.4~g"),
            alt.Tooltip("high:Q", title="to", format=",.4~g"),
            alt.Tooltip("usual:Q", title="Compared to", format=",.4~g"),
            alt.Tooltip("n:Q", title="Calls", format=","),
            alt.Tooltip("time:T", title="At", format="%d %b %H:%M:%S"),
            alt.Tooltip("utc:N", title="UTC"),
        ],
    )
    shades = [marks("fired").mark_rect(color=RED, opacity=0.2).encode(x="from:T", x2="to:T")] if fired else []
    return finished(alt.layer(*shades, band, limit, line), _HEIGHT)
