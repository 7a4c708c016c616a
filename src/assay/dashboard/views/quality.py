"""Quality: all scores at a glance, and one of them in full: how it moves, where it is low, and why to believe it.

The score and the dimension that are looked at stand in the address (`score`, `score_by`).
"""

from __future__ import annotations

from functools import partial

import pandas as pd
import streamlit as st

from assay.dashboard import figures
from assay.dashboard.charts import THUMB, in_order
from assay.dashboard.data import Answer
from assay.dashboard.drawing import Chart, draw
from assay.dashboard.inert import excerpt, inert
from assay.dashboard.score_charts import MOST_GROUPS, by_group, histogram, likely, title, trend
from assay.dashboard.score_health import scorer_health
from assay.dashboard.score_repeats import repeats
from assay.dashboard.side_by_side import side_by_side
from assay.dashboard.trust import agreement
from assay.dashboard.visit import Visit, answered, go

DIMENSIONS = {
    "model": "Model",
    "prompt_group": "Kind of question",
    "project": "Project",
    "environment": "Environment",
    "release": "Release",
    "service": "Service",
    "user_id": "User",
    "operation": "Operation",
}
_WORST = 10
_FEWEST_SHOWN = 5
"""A group with fewer scored calls says nothing yet."""


def page(visit: Visit) -> None:
    """Drawn when the reader chooses something, or as often as wanted."""
    st.fragment(_quality, run_every=visit.refresh_seconds)(visit)


@answered
def _quality(visit: Visit) -> None:
    asked = visit.chosen.asked()
    found = side_by_side(
        scores=partial(visit.monitor.quality, **asked),
        spread=partial(visit.monitor.distribution, **asked),
    )
    spread = {one["name"]: one for one in found["spread"]}
    names = in_order(spread.keys() - {THUMB})
    if not names:
        st.info(
            "No call of this time has a score. Calls are scored within seconds after they are stored; "
            "Health tells if that does not work.",
            icon=":material/hourglass_empty:",
        )
        return
    scores: dict[str, Answer] = found["scores"]["scores"]
    _all(names, scores, spread)
    score, by = _choice(names, spread)
    labelled = any("human" in one["by_source"] for one in scores.values())
    _one(visit, by, spread[score], scores.get(score, {}), labelled=labelled)


def _all(names: list[str], scores: dict[str, Answer], spread: dict[str, Answer]) -> None:
    """A small picture of each score."""
    with st.grid(4, gap="small", min_column_width=210):
        for name in names:
            with st.container(border=True):
                told = scores.get(name, {})
                st.markdown(f"**{inert(title(spread[name]))}**  \n{_mean(told)}")
                drawn = histogram(spread[name], small=True)
                if drawn is None:
                    st.caption("No call could be assessed.")
                else:
                    draw(
                        drawn, f"small-{name}", f"{figures.name(name)}: calls by value, from the lowest to the highest"
                    )
                st.caption(inert(_counts(spread[name])))


def _mean(told: Answer) -> str:
    interval = "" if told.get("low") is None else f" :small[:gray[{inert(likely(told['low'], told['high']))}]]"
    return f"{inert(figures.score(told.get('mean')))}{interval}"


def _counts(spread: Answer) -> str:
    missing = spread["not_assessable"]
    return f"{figures.count(spread['n'])} scored" + (f", {figures.count(missing)} not assessable" if missing else "")


def _choice(names: list[str], spread: dict[str, Answer]) -> tuple[str, str]:
    """The score and the dimension that the reader, or the address, names."""
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        score = st.pills(
            "Score",
            names,
            format_func=lambda name: title(spread[name]),
            default=names[0],
            required=True,
            key="score",
            bind="query-params",
            label_visibility="collapsed",
            width="content",
        )
        by = st.selectbox(
            "By", list(DIMENSIONS), format_func=DIMENSIONS.__getitem__, key="score_by", bind="query-params", width=190
        )
    return score or names[0], by


def _one(visit: Visit, by: str, spread: Answer, told: Answer, *, labelled: bool) -> None:
    score, asked = spread["name"], visit.chosen.asked()
    found = side_by_side(
        points=partial(visit.monitor.trends, **asked, metric=f"score:{score}"),
        groups=partial(_groups, visit, by, score),
        worst=partial(visit.monitor.worst, score, **asked, limit=_WORST, source=spread["source"]),
        health=visit.monitor.health,
        agreement=partial(visit.monitor.agreement, **asked) if labelled else lambda: None,
    )
    left, right = st.columns([3, 2])
    with left, st.container(border=True):
        st.subheader("Over time", anchor=False)
        _draw(trend(found["points"]["points"], score), "trend", f"Mean {figures.name(score)} over time")
    with right, st.container(border=True):
        st.subheader("Values", anchor=False)
        _draw(histogram(spread), "values", f"Calls by their {figures.name(score)}")
        st.caption(inert(_spread(told)))
    with st.container(border=True):
        _by(found["groups"], score, DIMENSIONS[by].lower())
    _worst(found["worst"])
    if found["agreement"]:
        agreement(found["agreement"])
    else:
        _without_labels()
    scorer_health(found["health"].get("quality") or {}, spread)
    repeats(visit)


def _draw(drawn: Chart | None, key: str, alt_text: str) -> None:
    if drawn is None:
        st.caption("Nothing is known of this score in this time.")
    else:
        draw(drawn, key, alt_text)


def _spread(told: Answer) -> str:
    if told.get("p50") is None:
        return "No value is known."
    return f"Half are below {told['p50']:.3f}, 5% below {told['p05']:.3f}, 5% above {told['p95']:.3f}."


def _groups(visit: Visit, by: str, score: str) -> list[Answer]:
    """Of each value of the dimension its name, and the score's mean with its interval; the lowest mean first."""
    asked = visit.chosen.asked()
    if by == "prompt_group":
        kinds = visit.monitor.groups(**asked)
        rows = [(kind["name"], kind["scores"].get(score)) for kind in (*kinds["groups"], *kinds["other"])]
    else:
        groups = visit.monitor.quality(**asked, group_by=by, score=score)["groups"]
        rows = [(name, scores.get(score)) for name, scores in groups.items()]
    known = [{"group": name, **row} for name, row in rows if row and row["mean"] is not None]
    return sorted(known, key=lambda one: (one["mean"], one["group"]))


def _by(groups: list[Answer], score: str, dimension: str) -> None:
    st.subheader(f"By {dimension}", anchor=False)
    told = [one for one in groups if one["n"] >= _FEWEST_SHOWN]
    shown = told if len(told) <= MOST_GROUPS else [*told[: MOST_GROUPS - 5], *told[-5:]]
    _draw(by_group(shown, score), "groups", f"Mean {figures.name(score)} of each group with its 95% interval")
    left_out = [
        (len(told) - len(shown), "between those shown"),
        (len(groups) - len(told), f"with fewer than {_FEWEST_SHOWN} scored calls"),
    ]
    for many, why in left_out:
        if many:
            st.caption(f"{figures.count(many)} {'group is' if many == 1 else 'groups are'} left out: {why}.")


def _worst(calls: list[Answer]) -> None:
    with st.container(border=True):
        st.subheader("Worst conversations", anchor=False)
        if not calls:
            st.caption("None: no call of this time could have a better value.")
            return
        rows = [
            {
                "value": call["value"],
                "prompt": excerpt(call["prompt"], 160),
                "response": excerpt(call["response"], 160),
                "reason": excerpt(call["reason"], 160),
                "model": call["model"],
            }
            for call in calls
        ]
        shown = st.dataframe(
            pd.DataFrame(rows),
            hide_index=True,
            on_select="rerun",
            selection_mode="single-row",
            key="worst",
            column_config={
                "value": st.column_config.NumberColumn("Value", format="%.3f", width=70),
                "prompt": st.column_config.TextColumn("Prompt", width=300),
                "response": st.column_config.TextColumn("Response", width=300),
                "reason": st.column_config.TextColumn("Reason", width=260),
                "model": st.column_config.TextColumn("Model", width=150),
            },
        )
        chosen: list[int] = shown["selection"]["rows"]
        if chosen and chosen[0] < len(calls):
            go("conversations", call=calls[chosen[0]]["span_id"])
            st.rerun()


def _without_labels() -> None:
    with st.container(border=True):
        st.subheader("Agreement with people", anchor=False)
        st.caption(
            "Nobody has judged a call of this time yet. Thumbs on a conversation, or `assay.score(...)` in your "
            "program, tell how far the scores can be trusted here."
        )
