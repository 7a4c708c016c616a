"""Calls as a table: one row each, its scores as columns; clicking a row chooses it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pandas as pd
import streamlit as st

from assay.dashboard import figures
from assay.dashboard.charts import in_order
from assay.dashboard.data import Answer
from assay.dashboard.inert import excerpt

_LEAD = 25
"""Characters before the first word that was found."""

_HIDDEN_AT_FIRST = ("provider", "project", "user", "session", "first token", "kind", "span")


def calls_table(calls: list[Answer], key: str = "calls") -> Answer | None:
    """Draw the table; answers the call that the reader has just chosen. Columns can be shown, hidden and moved."""
    scores = in_order({name for call in calls for name in call["scores"]})
    frame = pd.DataFrame([_found(call) | _row(call, scores) for call in calls])
    shown = st.dataframe(
        frame,
        hide_index=True,
        height=min(38 * (len(frame) + 1), 1400),
        column_order=[name for name in frame.columns if name not in _HIDDEN_AT_FIRST],
        column_config=_columns(scores),
        on_select="rerun",
        selection_mode="single-row",
        placeholder=figures.UNKNOWN,
        key=key,
    )
    chosen: list[int] = shown["selection"]["rows"]
    return calls[chosen[0]] if chosen and chosen[0] < len(calls) else None


def _row(call: Answer, scores: list[str]) -> dict[str, Any]:
    return {
        "time": datetime.fromisoformat(call["started_at"]),
        "model": call["model"],
        "prompt": excerpt(call["prompt"], 160),
        "response": excerpt(call["response"], 160) if call["status"] == "ok" else excerpt(_reason(call), 160),
        "status": call["status"],
        "cost": call["cost_usd"],
        "latency": call["latency_ms"],
        "first token": call["time_to_first_token_ms"],
        "tokens": call["total_tokens"],
        **{name: call["scores"].get(name) for name in scores},
        "provider": call["provider"],
        "project": call["project"],
        "user": call["user_id"],
        "session": call["session_id"],
        "kind": call["kind"],
        "span": call["span_id"],
    }


def _found(call: Answer) -> dict[str, str]:
    """Where a search found its words, which stand in guillemets; nothing without a search."""
    if "highlights" not in call:
        return {}
    pieces = [piece for one in call["highlights"][:1] for piece in one["pieces"]]
    marked = [f"«{one['text']}»" if one["hit"] else one["text"] for one in pieces]
    if pieces and not pieces[0]["hit"] and len(marked[0]) > _LEAD:
        marked[0] = f"…{marked[0][-_LEAD:]}"
    return {"found": excerpt("".join(marked), 200)}


def _reason(call: Answer) -> str:
    return f"{call['error_type']}: {call['error_message']}".strip(": ")


def _columns(scores: list[str]) -> dict[str, Any]:
    number = st.column_config.NumberColumn
    return {
        "time": st.column_config.DatetimeColumn(
            "Time", format="D MMM HH:mm:ss", timezone=figures.zone(st.context.timezone), width=125
        ),
        "model": st.column_config.TextColumn("Model", width=150),
        "prompt": st.column_config.TextColumn("Prompt", width=190),
        "response": st.column_config.TextColumn("Response", width=190),
        "found": st.column_config.TextColumn("Found", width=320),
        "status": st.column_config.TextColumn("Status", width=60),
        "cost": number("Cost", format="$%.5f", width=75),
        "latency": number("Latency", format="%.0f ms", width=75),
        "first token": number("First token", format="%.0f ms", width=85),
        "tokens": number("Tokens", format="localized", width=70),
        **{name: number(figures.name(name), format="%.2f", width=80) for name in scores},
    }
