"""Writes and reads of `predictions` and `labels`: rows of Arrow in, and what is known of those that came before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assay.records import Label, Prediction
from assay.store.connect import Row, Store
from assay.store.rows import arrow_schema, stamped

_RECORD = arrow_schema(Prediction)
PREDICTION_SCHEMA = _RECORD.set(_RECORD.get_field_index("input_hash"), pa.field("input_hash", pa.uint64()))
LABEL_SCHEMA = arrow_schema(Label)

_IDS_A_QUERY = 5_000


def insert_predictions(store: Store, rows: pa.Table, at: int) -> None:
    """Store predictions (PREDICTION_SCHEMA); raises StoreUnavailable.

    One of the same id and time is replaced. A row without a time has that of the stored one with its id, else `at`
    (Unix microseconds): sent again, it replaces itself too.
    """
    times = rows["predicted_at"]
    if times.null_count:
        place = rows.schema.get_field_index("predicted_at")
        rows = rows.set_column(place, rows.field(place), _times(store, rows, at))
    store.insert("predictions", stamped(rows, at))


def insert_labels(store: Store, rows: pa.Table, at: int) -> None:
    """Store labels (LABEL_SCHEMA); of one case the label that was given last (`labelled_at`) replaces the others."""
    version = rows["labelled_at"].cast(pa.int64()).cast(pa.uint64())
    moment = pa.repeat(pa.scalar(at, pa.timestamp("us", "UTC")), rows.num_rows)
    store.insert("labels", rows.append_column("ingested_at", moment).append_column("version", version))


def models_with(store: Store, cases: Iterable[str], by: str) -> dict[tuple[str, str], list[str]]:
    """The models that have predictions with these ids (`by` "prediction_id") or keys ("key"), by project and case."""
    found: dict[tuple[str, str], list[str]] = {}
    for some in _parts(sorted(set(cases))):
        for row in store.query(
            f"SELECT project, {by} AS case, groupUniqArray(model) AS models FROM predictions"
            f" WHERE {by} IN {{cases:Array(String)}} GROUP BY project, case",
            {"cases": list(some)},
        ):
            found[row["project"], row["case"]] = sorted(row["models"])
    return found


def labels_of(store: Store, rows: Sequence[Row]) -> dict[tuple[str, str, str], Row]:
    """The label of each prediction that has one, by project, model and prediction id: its id's before its key's."""
    if not rows:
        return {}
    found = store.query(
        """
        SELECT project, model, prediction_id, key, label, label_value, labelled_at
        FROM labels FINAL
        WHERE project IN {projects:Array(String)} AND model IN {models:Array(String)}
            AND (prediction_id IN {ids:Array(String)} OR key IN {keys:Array(String)})
        """,
        {
            "projects": sorted({row["project"] for row in rows}),
            "models": sorted({row["model"] for row in rows}),
            "ids": [row["prediction_id"] for row in rows],
            "keys": [row["key"] for row in rows],
        },
    )
    by_id = {(row["project"], row["model"], row["prediction_id"]): row for row in found if row["prediction_id"]}
    by_key = {(row["project"], row["model"], row["key"]): row for row in found if row["key"]}
    told: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        place = (row["project"], row["model"], row["prediction_id"])
        label = by_id.get(place) or by_key.get((row["project"], row["model"], row["key"]))
        if label:
            told[place] = label
    return told


def _times(store: Store, rows: pa.Table, at: int) -> pa.Array[Any]:
    times = rows["predicted_at"].combine_chunks()
    missing = np.flatnonzero(pc.is_null(times).to_numpy(zero_copy_only=False))
    told = rows.take(missing).select(["project", "model", "reference", "prediction_id"]).to_pylist()
    known = _known_times(store, told)
    filled = times.cast(pa.int64()).fill_null(at).to_numpy(zero_copy_only=False).copy()
    filled[missing] = [known.get(tuple(row.values()), at) for row in told]
    return pa.array(filled, pa.int64()).cast(pa.timestamp("us", "UTC"))


def _known_times(store: Store, rows: list[Row]) -> dict[tuple[Any, ...], int]:
    """Unix microseconds by project, model, reference and prediction id, of those that are stored."""
    known: dict[tuple[Any, ...], int] = {}
    for some in _parts(rows):
        found = store.query(
            """
            SELECT project, model, reference, prediction_id, toUnixTimestamp64Micro(max(predicted_at)) AS at
            FROM predictions
            WHERE project IN {projects:Array(String)} AND model IN {models:Array(String)}
                AND prediction_id IN {ids:Array(String)}
            GROUP BY project, model, reference, prediction_id
            """,
            {
                "projects": sorted({row["project"] for row in some}),
                "models": sorted({row["model"] for row in some}),
                "ids": sorted({row["prediction_id"] for row in some}),
            },
        )
        for row in found:
            known[row["project"], row["model"], row["reference"], row["prediction_id"]] = row["at"]
    return known


def _parts(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[start : start + _IDS_A_QUERY] for start in range(0, len(items), _IDS_A_QUERY))
