"""The parts of the overview that are aggregates: charts, what fires and what the newest calls have beyond limits."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from assay.dashboard import figures
from assay.dashboard.charts import quality_lines
from assay.dashboard.clicks import draw_clickable
from assay.dashboard.cost_charts import cost_bars
from assay.dashboard.data import Answer
from assay.dashboard.incidents import SEVERITIES
from assay.dashboard.inert import excerpt, inert
from assay.dashboard.overview_data import RECENT, Overview
from assay.dashboard.traffic_charts import latency_bars, latency_lines, volume_bars
from assay.dashboard.visit import link

_PANEL_HEIGHT = 352
_LONGEST_TROUBLE, _MOST_TROUBLES = 300, 4
_MOST_INCIDENTS = 3


def troubles(overview: Overview) -> None:
    """What does not work in Assay itself; nothing where all does."""
    if overview.troubles:
        st.warning(
            "\n\n".join(inert(excerpt(trouble, _LONGEST_TROUBLE)) for trouble in overview.troubles[:_MOST_TROUBLES]),
            title="Not everything in Assay works",
            icon=":material/build:",
        )


def quality(overview: Overview) -> None:
    """Mean scores over time, with incidents marked."""
    with _panel("Quality over time"):
        drawn = quality_lines(overview.points, overview.bucket_seconds, overview.incidents)
        if drawn is None:
            st.caption("No scores yet: a conversation is scored within seconds after it is stored.")
        else:
            draw_clickable(
                drawn, "quality", "Mean scores over time, from 0 to 1; a dashed line where an incident began"
            )


def cost(overview: Overview) -> None:
    """Dollars over time by model."""
    with _panel("Cost by model"):
        drawn = cost_bars(overview.by_model, overview.model_bucket_seconds, "model", "Model")
        if drawn is None:
            st.caption("No call with a known price in this time.")
        else:
            draw_clickable(drawn, "cost", "Cost in US dollars over time, stacked by model")


def volume(overview: Overview) -> None:
    """Calls over time, and which of them failed."""
    with _panel("Calls and errors"):
        drawn = volume_bars(overview.points, overview.bucket_seconds)
        if drawn is None:
            st.caption("No call in this time.")
        else:
            draw_clickable(drawn, "volume", "Calls over time, failed ones apart")


def latency(overview: Overview) -> None:
    """Percentiles of latency over time."""
    with _panel("Latency over time"):
        drawn = latency_lines(overview.points, overview.bucket_seconds)
        if drawn is None:
            st.caption("No conversation in this time.")
        else:
            draw_clickable(drawn, "latency", "Percentiles of latency over time, on a logarithmic scale")


def distribution(overview: Overview) -> None:
    """How latencies are spread."""
    with _panel("Latency distribution"):
        if not overview.latencies:
            st.caption("No conversation in this time.")
            return
        marks = {name: overview.usage[f"{name}_latency_ms"] for name in ("p50", "p95", "p99")}
        draw_clickable(
            latency_bars(overview.latencies, marks), "distribution", "Conversations by latency, on a logarithmic scale"
        )


def alerts(overview: Overview) -> None:
    """What fires at present, and what the newest calls have beyond the thresholds, gravest first."""
    with _panel("Alerts"):
        gravest = list(SEVERITIES)
        firing = [one for one in overview.incidents if one["phase"] == "firing"]
        firing.sort(key=lambda one: gravest.index(one["severity"]))
        for incident in firing[:_MOST_INCIDENTS]:
            _incident(incident)
        if len(firing) > _MOST_INCIDENTS:
            st.markdown(f"[All {len(firing)} incidents that fire]({link('alerts')})")
        if not overview.alerts:
            st.success(f"All within limits in the last {RECENT} calls.", icon=":material/check_circle:")
        for severity, colour in SEVERITIES.items():
            of_severity = [alert for alert in overview.alerts if alert["severity"] == severity]
            if of_severity:
                st.badge(f"{severity} · {len(of_severity)}", color=colour)
            for alert in of_severity:
                _alert(alert)


def _incident(incident: Answer) -> None:
    group = f" · {inert(excerpt(incident['group'], 60))}" if incident["group"] else ""
    colour = SEVERITIES[incident["severity"]]
    st.markdown(
        f":{colour}[:material/notifications_active:] **{inert(incident['rule'])}**{group} "
        f"[open]({link('alerts', incident=incident['incident_id'])})  \n"
        f":small[:gray[{inert(excerpt(incident['message'], 160))}]]"
    )


def _alert(alert: Answer) -> None:
    when = figures.clock(alert["started_at"], st.context.timezone, datetime.now(UTC))
    prompt = excerpt(alert["prompt"]) or "(no prompt)"
    st.markdown(f"**{inert(alert['message'])}**  \n:small[:gray[{inert(f'{when} · {prompt}')}]]")


def _panel(title: str, height: int | Literal["stretch"] = _PANEL_HEIGHT) -> DeltaGenerator:
    panel = st.container(border=True, height=height)
    panel.subheader(title, anchor=False)
    return panel


def metric(
    label: str,
    value: str,
    qualifier: str,
    colour: Literal["red", "orange", "green", "gray"] = "gray",
    meaning: str | None = None,
    *,
    course: list[float] | None = None,
    more: str = "",
) -> None:
    """A figure in its frame, with what qualifies it below, and its `course` as a small line where it has one."""
    st.metric(
        label,
        inert(value),
        inert(qualifier) or None,
        delta_color=colour,
        delta_arrow="off",
        delta_description=inert(more) or None,
        help=meaning,
        border=True,
        height="stretch",
        chart_data=course if course and len(course) > 1 else None,
    )
