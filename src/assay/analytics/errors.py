"""What goes wrong: how often calls fail, with which errors, where and since when."""

from __future__ import annotations

from typing import Any

from assay.analytics.means import FIGURES, GROUP, with_interval
from assay.analytics.selection import Selection, dimension
from assay.analytics.sums import Aggregates, ask
from assay.store.connect import Row, Store

MAX_TYPES = 200
MAX_GROUPS = 1000

_MODELS = 5
"""Of each error the models that met it most often."""

_FAILED = "toFloat64(status = 'error')"
_SUMS = f"count() AS c, sum({_FAILED}) AS t, min({_FAILED}) AS lowest, max({_FAILED}) AS highest"


def errors(store: Store, selection: Selection, group_by: str | None = None) -> dict[str, Any]:
    """`calls`, `errors` and `error_rate` with its 95% interval (`low`, `high`), and `types`: each error type.

    Of a type: `errors` and their `share` of all errors, `models` (the five that met it most, with provider and count),
    `first_at` and `last_at`, and the newest one as example: its `message` and `span_id`. The type of an error whose
    sender named none is "". With `group_by` there are also `groups`, worst first by number of errors, each with the
    figures of the whole. The interval allows for calls of one session failing together; it is None where there are
    fewer than two sessions, and the rate is None where there are no calls. Raises AssayError.
    """
    groups = {"groups": _rates(store, selection, group_by)} if group_by else {}
    [whole] = _rates(store, selection, None) or [_NOTHING]
    return whole | {"types": _types(store, selection, whole["errors"])} | groups


_NOTHING: Row = {"calls": 0, "errors": 0, "error_rate": None, "low": None, "high": None}


def _rates(store: Store, selection: Selection, group_by: str | None) -> list[Row]:
    by = dimension(group_by) if group_by else None
    keys = {"group": by.sql if by else "''", "sample": GROUP}
    rows = ask(
        store,
        selection,
        Aggregates(_SUMS, keys, parameters=by.parameters if by else {}),
        lambda sums: (
            f"SELECT group, {FIGURES} FROM ({sums}) GROUP BY group"
            f" ORDER BY sum(t) DESC, n DESC, group LIMIT {MAX_GROUPS}"
        ),
    )
    return [({"group": row["group"]} if by else {}) | _rate(with_interval(row)) for row in rows]


def _rate(row: Row) -> Row:
    failed = round(row["mean"] * row["n"])
    return {
        "calls": row["n"],
        "errors": failed,
        "error_rate": failed / row["n"],
        "low": row["low"],
        "high": row["high"],
    }


def _types(store: Store, selection: Selection, errors: int) -> list[Row]:
    where, parameters = selection.of_calls()
    rows = store.query(
        f"""
        SELECT error_type, sum(own) AS errors, min(first) AS first_at, max(last) AS last_at,
            argMax(example, last) AS newest,
            arraySlice(arraySort(one -> (-one.3, one.1, one.2), groupArray((provider, model, own))), 1, {_MODELS})
                AS models
        FROM (
            SELECT error_type, provider, model, count() AS own, min(started_at) AS first, max(started_at) AS last,
                argMax((substringUTF8(error_message, 1, 2000), span_id), (started_at, span_id)) AS example
            FROM spans FINAL WHERE {where} AND status = 'error' GROUP BY error_type, provider, model
        )
        GROUP BY error_type ORDER BY errors DESC, last_at DESC, error_type LIMIT {MAX_TYPES}
        """,
        parameters,
    )
    return [_type(row, errors) for row in rows]


def _type(row: Row, errors: int) -> Row:
    message, span_id = row.pop("newest")
    models = [dict(zip(("provider", "model", "errors"), one, strict=True)) for one in row.pop("models")]
    return {**row, "share": row["errors"] / errors, "models": models, "message": message, "span_id": span_id}
