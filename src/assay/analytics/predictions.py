"""Single predictions of classical models, a page at a time and newest first, with what turned out to be true."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from assay.errors import AssayError
from assay.store.connect import Row, Store
from assay.store.predictions import labels_of

MAX_LIMIT = 1000

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
    parameters: dict[str, Any] = {**filters, "reference": reference, "limit": limit + 1}
    for bound, comparison in (("since", ">="), ("until", "<")):
        if (moment := {"since": since, "until": until}[bound]) is not None:
            conditions.append(f"predicted_at {comparison} fromUnixTimestamp64Micro({{{bound}:Int64}})")
            parameters[bound] = round(moment.timestamp() * 1e6)
    if cursor:
        conditions.append(
            "(predicted_at, prediction_id) < (fromUnixTimestamp64Micro({after:Int64}), {after_id:String})"
        )
        parameters["after"], parameters["after_id"] = _decoded(cursor)
    rows = store.query(
        f"SELECT {_COLUMNS} FROM predictions FINAL WHERE {' AND '.join(conditions)}"
        " ORDER BY predicted_at DESC, prediction_id DESC LIMIT {limit:UInt32}",
        parameters,
    )
    page, more = rows[:limit], len(rows) > limit
    known = labels_of(store, page)
    next_cursor = _encoded(page[-1]) if more else None
    return Page(
        [_told(row, known.get((row["project"], row["model"], row["prediction_id"]))) for row in page], next_cursor
    )


def labels(store: Store, project: str | None = None, model: str | None = None) -> list[Row]:
    """Each model's count of labels, and of those that are `unmet`: no prediction with their id or key is stored."""
    asked = {name: value for name, value in (("project", project), ("model", model)) if value is not None}
    where = " AND ".join(["1", *(f"{name} = {{{name}:String}}" for name in asked)])
    return store.query(
        f"""
        SELECT project, model, count() AS labels, countIf(
            (project, model, if(prediction_id != '', prediction_id, key), prediction_id != '') NOT IN (
                SELECT project, model, case.1, case.2 FROM predictions
                ARRAY JOIN [(prediction_id, true), (key, false)] AS case WHERE {where}
            )
        ) AS unmet
        FROM labels FINAL WHERE {where} GROUP BY project, model ORDER BY project, model
        """,
        asked,
    )


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
