"""What the Models page shows of one model, one panel a view; texts of users only as data of tables, or made inert."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from assay.dashboard import figures
from assay.dashboard.data import Answer
from assay.dashboard.drawing import draw
from assay.dashboard.inert import excerpt, inert
from assay.dashboard.model_charts import (
    cost_bars,
    latency_dots,
    performance_lines,
    reliability,
    shape,
    shares,
)
from assay.dashboard.visit import Visit

NAMES = {
    "accuracy": "Accuracy",
    "f1": "F1",
    "precision": "Precision",
    "recall": "Recall",
    "auroc": "AUROC",
    "log_loss": "Log loss",
    "brier": "Brier score",
    "ece": "Calibration error",
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R²",
}
OVER_TIME = ("accuracy", "f1", "precision", "recall", "auroc", "mae", "rmse", "r2")
SHAPES = 6
PREDICTIONS = 50
_SHAPE_WIDTH = 330


def performance_panel(visit: Visit, model: str, asked: dict[str, Any]) -> None:
    """Figures now and over time, measured and estimated; how late labels come; calibration."""
    measured = visit.monitor.model_performance(model, **asked)
    estimated = visit.monitor.model_estimate(model, **asked)
    if not measured["rows"]:
        st.info("No prediction in this time: choose a longer range.")
        return
    _labels(measured)
    known = [name for name in NAMES if name in measured["figures"] or name in estimated["figures"]]
    wide, narrow = st.columns([3, 2])
    with wide, st.container(border=True):
        over_time = [name for name in OVER_TIME if name in known]
        if over_time:
            metric = st.segmented_control(
                "Over time",
                over_time,
                default=over_time[0],
                required=True,
                format_func=NAMES.__getitem__,
                key="metric",
                bind="query-params",
            )
            drawn = performance_lines(measured["points"], estimated["points"], metric or over_time[0])
            if drawn is not None:
                draw(drawn, "over-time", "Performance over time with 95% bands")
        else:
            st.caption("Neither enough labels to measure, nor what is needed to estimate.")
    with narrow, st.container(border=True):
        _figures(known, measured, estimated)
    if estimated["problem"]:
        st.caption(inert(f"No estimate: {estimated['problem']}."))
    elif estimated["figures"]:
        learned = f"{estimated['learned_from']['n']:,} {estimated['learned_from']['what']}"
        st.caption(inert(f"The estimate was learned from {learned}; it {estimated['assumption']}."))
    if curve := measured["figures"].get("reliability"):
        with st.container(border=True):
            st.markdown("**Is it as sure as it is right?**")
            draw(reliability(curve), "reliability", "Share right by confidence")


def drift_panel(visit: Visit, model: str, asked: dict[str, Any]) -> None:
    """Every feature, the prediction and the confidence against the reference, with the shapes of the most drifted."""
    found = visit.monitor.model_drift(model, **asked)
    against = f"{found['reference']['what']} ({figures.count(found['reference']['n'])})"
    judged = sum(one["corrected"] is not None for one in found["features"])
    if not judged:
        st.info(inert(f"Too few predictions here, or in {against}, to tell."))
        return
    said = f"{found['drifted']} of {judged} drifted against {against}"
    (st.warning if found["drifted"] else st.success)(inert(said), icon=":material/query_stats:")
    if found["joint"]:
        by = ", ".join(f"{one['feature']} {one['share']:.0%}" for one in found["joint"]["by"][:4])
        st.caption(inert(f"Jointly: {_apart(found['joint']['auroc'])}, mostly by {by}."))
    _feature_table(found["features"], "features")
    with st.container(horizontal=True):
        for place, feature in enumerate([one for one in found["features"] if one["shape"]][:SHAPES]):
            with st.container(border=True, width=_SHAPE_WIDTH):
                st.markdown(f"**{inert(excerpt(feature['feature'], 40))}**")
                draw(shape(feature), f"shape-{place}", "Histogram of reference and now")
    st.caption(_HOW)


def quality_panel(visit: Visit, model: str, asked: dict[str, Any]) -> None:
    """What is wrong with the inputs, and what failed."""
    found = visit.monitor.model_data_quality(model, **asked)
    wrong = sum(bool(one["problems"]) for one in found["features"])
    said = f"{wrong} of {len(found['features'])} features have problems, against {found['reference']['what']}"
    (st.warning if wrong else st.success)(inert(said), icon=":material/fact_check:")
    rows = [
        {
            "Feature": excerpt(one["feature"], 80),
            "Kind": one["kind"],
            "Missing": one["missing"],
            "In the reference": one["missing_before"],
            "Not sent": one["absent"],
            "Out of range": one["out_of_range"],
            "New categories": excerpt(", ".join(one["new_categories"]), 80),
            "What is wrong": excerpt("; ".join(one["problems"]), 300),
        }
        for one in found["features"]
    ]
    shares_shown = ("Missing", "In the reference", "Not sent", "Out of range")
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        placeholder=figures.UNKNOWN,
        column_config={
            **{name: st.column_config.NumberColumn(name, format="percent", width=95) for name in shares_shown},
            "What is wrong": st.column_config.TextColumn("What is wrong", width=420),
        },
        key="quality",
    )
    if found["errors"]:
        st.markdown(f"**Errors: {figures.percent(found['error_rate'])} of the predictions**")
        rows = [
            {"Type": one["error_type"], "Errors": one["errors"], "Last": one["last_at"], "Message": one["message"]}
            for one in found["errors"]
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True, key="errors")


def predictions_panel(visit: Visit, model: str, asked: dict[str, Any]) -> None:
    """The newest predictions with what was true, where it is known."""
    rows = visit.monitor.predictions(model=model, **asked, limit=PREDICTIONS)["predictions"]
    if not rows:
        st.info("No prediction in this time: choose a longer range.")
        return
    shown = [
        {
            "When": one["predicted_at"],
            "Prediction": excerpt(one["prediction"], 60),
            "Label": None if one["label"] is None else excerpt(one["label"], 60),
            "Confidence": one["confidence"],
            "Latency": figures.duration(one["latency_ms"]),
            "Version": one["model_version"],
            "Status": one["error_type"] or one["status"],
            "Features": excerpt(", ".join(f"{name}={_feature(value)}" for name, value in one["features"].items()), 200),
            "Key": excerpt(one["key"], 60),
        }
        for one in rows
    ]
    frame = pd.DataFrame(shown)
    frame["When"] = pd.to_datetime(frame["When"], utc=True, format="ISO8601")
    st.dataframe(
        frame,
        hide_index=True,
        placeholder=figures.UNKNOWN,
        column_config={
            "Confidence": st.column_config.NumberColumn(format="%.3f"),
            "Features": st.column_config.TextColumn(width=380),
        },
        key="predictions",
    )


def comparison_panel(visit: Visit, model: str, asked: dict[str, Any]) -> None:
    """The lab's table and its figures as charts: this model beside the LLM calls that the page is about."""
    chosen = visit.chosen.asked()
    if not chosen.get("since"):
        chosen["since"] = "30d"
    found = visit.monitor.comparison(model, classical_project=asked["project"], **chosen)
    calls = f"{figures.count(found['calls'])} conversations of {found['llm']}"
    st.caption(inert(f"{figures.count(found['predictions'])} predictions of {model} beside {calls}."))
    rows = [
        {"Aspect": aspect["name"], "Classical": _said(aspect, "classical"), "LLM": _said(aspect, "llm")}
        for aspect in found["aspects"]
    ]
    st.table(pd.DataFrame([{name: inert(text) for name, text in row.items()} for row in rows]).set_index("Aspect"))
    by_key = {aspect["key"]: aspect for aspect in found["aspects"]}
    charts = {
        "Latency": latency_dots(found["latencies"]),
        "Cost per 1,000": cost_bars(by_key["cost"]),
        "Error rate": shares(by_key["errors"]),
        "Same input, different output": shares(by_key["determinism"]),
    }
    columns = st.columns(2)
    for place, (title, drawn) in enumerate(charts.items()):
        with columns[place % 2], st.container(border=True):
            st.markdown(f"**{title}**")
            if drawn is None:
                st.caption("Not known of either.")
            else:
                draw(drawn, f"compared-{place}", f"{title} of both")


def conversation_drift_panel(visit: Visit) -> None:
    """What moved in the LLM calls of the range against the period before."""
    asked = visit.chosen.asked()
    if not asked.get("since"):
        st.info("Choose a time range: it is held against the period before.")
        return
    found = visit.monitor.drift(**asked)
    before, after = found["before"]["calls"], found["after"]["calls"]
    st.caption(f"{figures.count(after)} conversations against {figures.count(before)} of the period before.")
    for name, column in zip(("prompts", "responses"), st.columns(2), strict=True):
        with column:
            _told_apart(name, found[name])
    moved = [group for group in found["groups"] if group["moved"]]
    if moved:
        st.markdown("**Kinds of question that grew or shrank**")
        rows = [
            {
                "Question": excerpt(group["name"], 120),
                "Before": group["before"],
                "After": group["after"],
                "Difference": f"{group['difference']:+.1%} ({group['low']:+.1%} to {group['high']:+.1%})",
            }
            for group in moved
        ]
        share = st.column_config.NumberColumn(format="percent")
        st.dataframe(pd.DataFrame(rows), hide_index=True, column_config={"Before": share, "After": share}, key="moved")
    elif found["groups"]:
        st.caption("No kind of question clearly grew or shrank.")
    _feature_table(found["features"], "llm-features")
    with st.container(horizontal=True):
        for place, feature in enumerate([one for one in found["features"] if one["drifted"] and one["shape"]][:SHAPES]):
            with st.container(border=True, width=_SHAPE_WIDTH):
                st.markdown(f"**{inert(excerpt(feature['feature'], 40))}**")
                draw(shape(feature), f"llm-shape-{place}", "Histogram before and now")
    st.caption(_HOW)


_HOW = (
    "Drifted: unlikely by chance (p below 0.05 after Holm's correction for all that are looked at) and large enough to "
    "matter (PSI of 0.1 or more). Wasserstein is in standard deviations of the reference."
)


def _labels(measured: Answer) -> None:
    delay = measured["delay"]
    parts = [f"{figures.count(measured['rows'])} predictions", f"{figures.count(measured['labelled'])} with a label"]
    if delay:
        late, latest = (figures.milliseconds(delay[name] * 1000) for name in ("median_seconds", "p95_seconds"))
        late, latest = _length(delay["median_seconds"], late), _length(delay["p95_seconds"], latest)
        parts.append(f"labels come {late} later in the median, 95% within {latest}")
    if measured["read"] < measured["rows"]:
        parts.append(f"a sample of {figures.count(measured['read'])} was read")
    if measured["positive"]:
        parts.append(f"positive class {measured['positive']} ({measured['positive_why']})")
    st.caption(inert(" · ".join(parts)))


def _length(seconds: float, short: str) -> str:
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return short


def _figures(known: list[str], measured: Answer, estimated: Answer) -> None:
    rows = [
        {
            "Figure": NAMES[name],
            "Measured": _with_interval(measured["figures"].get(name)),
            "Estimated": _with_interval(estimated["figures"].get(name)),
        }
        for name in known
    ]
    st.dataframe(pd.DataFrame(rows, columns=["Figure", "Measured", "Estimated"]), hide_index=True, key="figures")


def _with_interval(one: Answer | None) -> str:
    if not one or one["value"] is None:
        return figures.UNKNOWN
    sure = "" if one["low"] is None else f"  ({_number(one['low'])} to {_number(one['high'])})"
    return _number(one["value"]) + sure


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:,.4g}"


def _feature_table(features: list[Answer], key: str) -> None:
    rows = [
        {
            "Feature": excerpt(one["feature"], 80),
            "Drifted": "drifted" if one["drifted"] else "",
            "PSI": one["psi"],
            "Size": one["size"],
            "p (Holm)": figures.UNKNOWN if one["corrected"] is None else f"{one['corrected']:.2g}",
            "Jensen-Shannon": one["jensen_shannon"],
            "KS": one["ks"],
            "Wasserstein": one["wasserstein"],
            "Chi-squared": one["chi_squared"],
            "n": one["n"],
        }
        for one in features
    ]
    number = st.column_config.NumberColumn
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        placeholder=figures.UNKNOWN,
        column_config={
            **{name: number(name, format="%.3f", width=90) for name in ("PSI", "Jensen-Shannon", "KS", "Wasserstein")},
            "Chi-squared": number("Chi-squared", format="%.1f", width=90),
            "n": number("n", format="localized", width=70),
        },
        key=key,
    )


def _told_apart(name: str, told: Answer | None) -> None:
    if told is None:
        st.metric(f"{name.capitalize()} told apart", figures.UNKNOWN, "too few to tell", delta_arrow="off", border=True)
        return
    area = told["auroc"]
    surely = area["low"] is not None and area["low"] > 0.5
    st.metric(
        f"{name.capitalize()} told apart (AUROC)",
        f"{area['value']:.3f}",
        inert(f"{_number(area['low'])} to {_number(area['high'])}; 0.5: not at all"),
        delta_color="orange" if surely else "gray",
        delta_arrow="off",
        border=True,
        help="How well a classifier tells calls of the range from those before, by what they say.",
    )


def _said(aspect: Answer, side: str) -> str:
    one = aspect[side]
    return figures.with_interval(one["says"], one["low"], one["high"], aspect["unit"])


def _apart(area: Answer) -> str:
    sure = f"{_number(area['low'])} to {_number(area['high'])}"
    return f"a classifier tells the two apart with AUROC {area['value']:.2f} ({sure})"


def _feature(value: Any) -> str:
    return "missing" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
