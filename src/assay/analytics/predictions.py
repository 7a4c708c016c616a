"""Single predictions of classical models, a page at a time and newest first, with what turned out to be true."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from assay.errors import AssayError
from assay.store.connect import Row, Store
from assay.store.predictions import labels_of

MAX_LIMIT = 1000

_WINDOWS_DAYS = (1, 7)
"""Newest predictions are looked for in the last day, then in the week before it, then in all that is older."""

_DAY_US = 86_400_000_000

_COLUMNS = """
    prediction_id, key, project, environment, service, model, model_version, task, reference, predicted_at,
    numbers, categories, prediction, prediction_value, probabilities, confidence, latency_ms, cost_usd, input_hash,
    status, error_type, error_message, toUnixTimestamp64Micro(predicted_at) AS place"""


class Page(NamedTuple):
    """Some predictions, and the cursor that continues after them (None at the end)."""

    predictions: list[Row]
    next_cursor: str | None


def predictions(
    store: Store,
    filters: Mapping[str, str],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    reference: bool = False,
    limit: int = 50,
    cursor: str = "",
) -> Page:
    """A page of predictions that match `filters` (columns of the table) and were made in [since, until).

    Each has its `features` by name (null where missing), `label`, `label_value` and `labelled_at` (null where none is
    known), and `input_hash` as 16 hexadecimal digits. A key's newest label holds where the prediction's id has none of
    its own. `reference` asks for the rows that others are compared with. Raises AssayError for a limit outside 1..1000
    or a cursor that no page gave.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise AssayError(f"limit must be between 1 and {MAX_LIMIT}, not {limit}")
    conditions = ["reference = {reference:Bool}", *(f"{name} = {{{name}:String}}" for name in filters)]
    parameters: dict[str, Any] = {**filters, "reference": reference}
    for bound, comparison in (("since", ">="), ("until", "<")):
        if (moment := {"since": since, "until": until}[bound]) is not None:
            conditions.append(f"predicted_at {comparison} fromUnixTimestamp64Micro({{{bound}:Int64}})")
            parameters[bound] = round(moment.timestamp() * 1e6)
    if cursor:
        conditions.append(
            "(predicted_at, prediction_id) < (fromUnixTimestamp64Micro({after:Int64}), {after_id:String})"
        )
        parameters["after"], parameters["after_id"] = _decoded(cursor)
    page = _newest(store, conditions, parameters, limit + 1)
    more = len(page) > limit
    rows = _rows(store, page[:limit])
    known = labels_of(store, rows)
    next_cursor = _encoded(page[limit - 1]) if more else None
    return Page([_told(row, known.get(_identity(row))) for row in rows], next_cursor)


def _newest(store: Store, conditions: list[str], parameters: dict[str, Any], limit: int) -> list[Row]:
    """The ids and times of a page, a window of time after another: what is older is mostly not read."""
    top, found, above = time.time_ns() // 1000, list[Row](), list[str]()
    for days in (*_WINDOWS_DAYS, None):
        part = {**parameters, "limit": limit - len(found), "above": top}
        within = [*conditions, *above]
        if days is not None:
            part["from"] = top = top - days * _DAY_US
            within.append("predicted_at >= fromUnixTimestamp64Micro({from:Int64})")
        found += store.query(
            "SELECT project, model, prediction_id, toUnixTimestamp64Micro(predicted_at) AS place"
            f" FROM predictions FINAL WHERE {' AND '.join(within)}"
            " ORDER BY predicted_at DESC, prediction_id DESC LIMIT {limit:UInt32}",
            part,
        )
        if len(found) >= limit:
            break
        above = ["predicted_at < fromUnixTimestamp64Micro({above:Int64})"]
    return found


def _rows(store: Store, keys: list[Row]) -> list[Row]:
    """These predictions in full. Without FINAL, which reads every column of all rows around them."""
    if not keys:
        return []
    rows = store.query(
        f"""
        SELECT {_COLUMNS} FROM predictions
        WHERE project IN {{projects:Array(String)}} AND model IN {{models:Array(String)}}
            AND predicted_at >= fromUnixTimestamp64Micro({{first:Int64}})
            AND predicted_at <= fromUnixTimestamp64Micro({{last:Int64}})
            AND prediction_id IN {{ids:Array(String)}}
        ORDER BY version DESC LIMIT 1 BY project, model, prediction_id, predicted_at, reference
        """,
        {
            "projects": sorted({key["project"] for key in keys}),
            "models": sorted({key["model"] for key in keys}),
            "first": min(key["place"] for key in keys),
            "last": max(key["place"] for key in keys),
            "ids": [key["prediction_id"] for key in keys],
        },
    )
    by_key = {(_identity(row), row["place"]): row for row in rows}
    return [by_key[_identity(key), key["place"]] for key in keys if (_identity(key), key["place"]) in by_key]


def labels(store: Store, project: str | None = None, model: str | None = None) -> list[Row]:
    """Each model's count of labels, and of those that are `unmet`: no prediction with their id or key is stored."""
    asked = {name: value for name, value in (("project", project), ("model", model)) if value is not None}
    where = " AND ".join(["1", *(f"{name} = {{{name}:String}}" for name in asked)])
    met = {
        by: f"""(project, model, {by}) IN (
            SELECT project, model, {by} FROM predictions
            WHERE (project, model, {by}) IN (SELECT project, model, {by} FROM labels WHERE {by} != '' AND {where}))"""
        for by in ("prediction_id", "key")
    }
    return store.query(
        f"""
        SELECT project, model, count() AS labels,
            countIf(NOT if(prediction_id != '', {met["prediction_id"]}, {met["key"]})) AS unmet
        FROM labels FINAL WHERE {where} GROUP BY project, model ORDER BY project, model
        """,
        asked,
    )


def _identity(row: Row) -> tuple[str, str, str]:
    return row["project"], row["model"], row["prediction_id"]


def _told(row: Row, label: Row | None) -> Row:
    features = {name: _number(value) for name, value in row.pop("numbers").items()} | row.pop("categories")
    row.pop("place")
    said = label or {}
    return {
        **row,
        "features": features,
        "probabilities": {name: _short(value) for name, value in row["probabilities"].items()},
        "confidence": _short(row["confidence"]),
        "input_hash": f"{row['input_hash']:016x}",
        **{name: said.get(name) for name in ("label", "label_value", "labelled_at")},
    }


def _number(value: float) -> float | str | None:
    """JSON has neither NaN, a missing value, nor the infinite, which are told as text."""
    if value != value:
        return None
    return str(value) if abs(value) == float("inf") else value


def _short(value: float | None) -> float | None:
    """Without the digits that a 32-bit number does not have."""
    return None if value is None else float(f"{value:.7g}")


def _encoded(row: Row) -> str:
    return base64.urlsafe_b64encode(json.dumps([row["place"], row["prediction_id"]]).encode()).decode()


def _decoded(cursor: str) -> tuple[int, str]:
    try:
        place, prediction_id = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        if isinstance(place, int) and isinstance(prediction_id, str) and abs(place) < 1 << 62:
            return place, prediction_id
    except (ValueError, TypeError, RecursionError):
        pass
    raise AssayError(f"cursor {cursor[:80]!r} was not given by this API: start again without one")
