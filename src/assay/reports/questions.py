"""What only reports ask: when the calls began, and which incidents fell into a range of time."""

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
