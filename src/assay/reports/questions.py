"""What only reports ask: when the calls began, what broke, and which incidents fell into a range of time."""

from __future__ import annotations

from datetime import datetime

from assay.analytics.selection import Selection
from assay.store.connect import Row, Store
from assay.store.incidents import as_micros, incidents

MOST_INCIDENTS = 1000


def first_call(store: Store, selection: Selection) -> datetime | None:
    """When the first selected call started, or None."""
    where, parameters = selection.of_calls()
    [row] = store.query(f"SELECT count() AS calls, min(started_at) AS first FROM spans WHERE {where}", parameters)
    return row["first"] if row["calls"] else None


def errors_by_type(store: Store, selection: Selection) -> list[Row]:
    """Failed calls by `error_type` ("" where none was given), the most frequent first, with the newest's `message`."""
    where, parameters = selection.of_calls()
    return store.query(
        f"""
        SELECT error_type, count() AS calls, argMax(error_message, started_at) AS message, max(started_at) AS last_at
        FROM spans FINAL WHERE {where} AND status = 'error'
        GROUP BY error_type ORDER BY calls DESC, error_type LIMIT 100
        """,
        parameters,
    )


def incidents_between(store: Store, since: datetime, until: datetime) -> list[Row]:
    """Incidents that fired and were not over before `since`, nor began after `until`; newest first."""
    rows = incidents(store, phases=("firing", "resolved"), since=0, limit=MOST_INCIDENTS)
    first, last = as_micros(since), as_micros(until)
    shown = ("incident_id", "rule", "group", "severity", "phase", "began", "changed_at", "message")
    return [
        {name: row[name] for name in shown}
        for row in rows
        if as_micros(row["began"]) < last and (row["phase"] == "firing" or as_micros(row["changed_at"]) >= first)
    ]
