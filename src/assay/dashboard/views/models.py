"""Classical models beside LLMs: performance before and after labels come, drift, data quality, the comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from assay.dashboard import figures
from assay.dashboard.data import Answer
from assay.dashboard.inert import excerpt, inert
from assay.dashboard.model_panels import (
    comparison_panel,
    conversation_drift_panel,
    drift_panel,
    performance_panel,
    predictions_panel,
    quality_panel,
)
from assay.dashboard.visit import Visit, answered

_WRAPPING = """import assay

model = assay.MonitoredModel(forest, "churn", "1")  # any trained model, its name and version
model.log_reference(X_test, y_test)                 # what later rows are compared with
model.predict(X, keys=customers)                    # exactly as before; every row is seen
assay.label("customer-17", "leaves", model="churn") # weeks later
"""

VIEWS: dict[str, Callable[[Visit, str, dict[str, Any]], None]] = {
    "Performance": performance_panel,
    "Drift": drift_panel,
    "Data quality": quality_panel,
    "Predictions": predictions_panel,
    "Comparison": comparison_panel,
}
LLM_DRIFT = "LLM drift"


@answered
def page(visit: Visit) -> None:
    """All classical models in the range, and one of them as the reader chooses to look at it."""
    found = visit.monitor.models(project=visit.chosen.project)
    if not found:
        _nothing(visit)
    else:
        _chosen(visit, found)


def _nothing(visit: Visit) -> None:
    where = f" in {inert(visit.chosen.project)}" if visit.chosen.project else ""
    st.subheader(f"No classical model{where} yet: wrap one", anchor=False)
    st.markdown("Its predictions are seen here beside the LLM's calls, as soon as they are stored:")
    st.code(_WRAPPING, language="python")
    st.caption("`assay demo` serves a random forest whose inputs drift midway.")
    if st.toggle("Show what moved in LLM calls", key="llm-drift", bind="query-params"):
        conversation_drift_panel(visit)


def _chosen(visit: Visit, found: list[Answer]) -> None:
    names = {f"{row['project']}/{row['model']}": row for row in found}
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        name = st.selectbox(
            "Classical model",
            list(names),
            key="classical",
            bind="query-params",
            format_func=lambda one: excerpt(one, 60),
            filter_mode="contains",
            width=240,
        )
        view = st.segmented_control(
            "Show", [*VIEWS, LLM_DRIFT], default="Performance", required=True, key="view", bind="query-params"
        )
    if view == LLM_DRIFT:
        conversation_drift_panel(visit)
        return
    row = names[name or next(iter(names))]
    _headline(row)
    asked = visit.chosen.asked()
    of_model = {"project": row["project"], **{bound: asked.get(bound) for bound in ("since", "until")}}
    VIEWS[view or "Performance"](visit, row["model"], of_model)


def _headline(row: Answer) -> None:
    rate = "" if row["error_rate"] is None else f"{figures.percent(row['error_rate'])} failed"
    cost = row["cost_per_1000_usd"]
    parts = [
        f"{figures.count(row['rows'])} predictions",
        f"{figures.count(row['labels'])} labels",
        f"{figures.count(row['reference_rows'])} reference rows",
        "versions " + ", ".join(version or "(none)" for version in row["versions"][:4]),
        rate,
        f"p50 {figures.duration(row['p50_latency_ms'])}, p95 {figures.duration(row['p95_latency_ms'])}",
        "" if cost is None else f"{figures.dollars(cost)} per 1,000",
    ]
    st.caption("Of all time: " + " · ".join(inert(part) for part in parts if part))
