"""How far the scores can be trusted here: their agreement with what people said of the same calls."""

from __future__ import annotations

from typing import Any

import altair as alt
import streamlit as st

from assay.dashboard import figures
from assay.dashboard.data import Answer
from assay.dashboard.drawing import chart, draw, marks, specified
from assay.dashboard.inert import inert
from assay.palette import BLUE, GREY

_ROW_HEIGHT = 30
_SHOWN = 10


def agreement(found: Answer) -> None:
    """A row for each scorer with its interval, and how well people agree with each other."""
    ranked = [one for one in found["scorers"] if one["scale"] == "binary" and one["auroc"]]
    with st.container(border=True):
        st.subheader("Agreement with people", anchor=False)
        if ranked:
            rows = [_row(one) for one in ranked[:_SHOWN]]
            drawn = chart(_agreement(len(rows)), rows, chance=[{"at": 0.5}])
            draw(drawn, "agreement", "Agreement of each score with people's labels")
        for line in [*_spearman(found["scorers"]), *_raters(found["raters"]), _footing(found, ranked)]:
            st.caption(inert(line))


@specified
def _agreement(scores: int) -> Any:
    base = marks().encode(
        y=alt.Y("score:N", title=None, sort=None, axis=alt.Axis(labelLimit=260, ticks=False, domain=False)),
        tooltip=[
            alt.Tooltip("score:N", title="Score"),
            alt.Tooltip("told:N", title="AUROC"),
            alt.Tooltip("n:Q", title="Labelled calls"),
            alt.Tooltip("kappa:N", title="Kappa at 0.5"),
            alt.Tooltip("best:N", title="Best threshold"),
        ],
    )
    scale = alt.Scale(domain=[0, 1])
    axis = alt.Axis(values=[0, 0.25, 0.5, 0.75, 1], labelExpr="datum.value == 0.5 ? '0.5 chance' : datum.label")
    chance = marks("chance").mark_rule(color=GREY, strokeDash=[4, 3]).encode(x="at:Q")
    ranges = base.mark_rule(color=BLUE, strokeWidth=3, opacity=0.45).encode(
        x=alt.X("low:Q", title=None, scale=scale, axis=axis), x2="high:Q"
    )
    points = base.mark_point(color=BLUE, filled=True, size=90, opacity=1).encode(x=alt.X("auroc:Q", scale=scale))
    layered: Any = alt.layer(chance, ranges, points)
    return layered.properties(height=_ROW_HEIGHT * scores + 20)


def _row(one: Answer) -> Answer:
    best = one["suggestion"]
    return {
        "score": _title(one),
        "auroc": one["auroc"]["value"],
        "low": one["auroc"]["low"],
        "high": one["auroc"]["high"],
        "told": _figure(one["auroc"]),
        "n": one["n"],
        "kappa": _figure(one["kappa"]),
        "best": f"{best['threshold']:.2f}, kappa {_figure(best['kappa'])}" if best else one["reason"],
    }


def _title(one: Answer) -> str:
    by = one["scorer"] or one["source"]
    against = {"lower is better": " against thumbs down", "higher is better": " against thumbs up"}
    return f"{figures.name(one['name'])} ({by}){against.get(one['direction'], '')}"


def _spearman(scorers: list[Answer]) -> list[str]:
    graded = [one for one in scorers if one["scale"] == "graded" and one["spearman"]]
    return [
        f"{_title(one)}: rank correlation {_figure(one['spearman'])} with grades of {figures.count(one['n'])} calls."
        for one in graded[:_SHOWN]
    ]


def _raters(raters: list[Answer]) -> list[str]:
    return [
        f"People among themselves ({figures.name(one['name'])}): {measure} {_figure(one[measure])} "
        f"on {figures.count(one['calls'])} calls that several judged."
        for one in raters
        for measure in ("kappa" if one["scale"] == "binary" else "spearman",)
    ]


def _footing(found: Answer, ranked: list[Answer]) -> str:
    newest = "the newest " if found["cut"] else ""
    labels = f"From {newest}{figures.count(found['labels'])} labels, with 95% intervals."
    if not ranked:
        return f"{labels} Both thumbs up and thumbs down are needed before a score can be compared with them."
    return f"{labels} AUROC: how often a score tells a good answer from a bad one; 0.5 is chance, 1 always."


def _figure(found: Answer | None) -> str:
    if found is None:
        return figures.UNKNOWN
    spread = "" if found["low"] is None else f" ({found['low']:.2f} to {found['high']:.2f})"
    return f"{found['value']:.2f}{spread}"
