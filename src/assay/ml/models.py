"""Which classical models there are."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from assay.store.connect import Row, Store

MOST_MODELS = 500


def models(
    store: Store, project: str | None = None, since: datetime | None = None, until: datetime | None = None
) -> list[Row]:
    """Of each project and model: versions (newest first), rows, `labels` (told, of any time), reference_rows, when it
    was last asked, error rate, latency percentiles (ms; of a batch each row has its share) and cost per 1,000.

    The range is of traffic; reference rows and labels count whenever they came. Models with most rows first.
    """
    parameters: dict[str, Any] = {}
    within = ["1"]
    for bound, comparison, moment in (("since", ">=", since), ("until", "<", until)):
        if moment is not None:
            within.append(f"predicted_at {comparison} fromUnixTimestamp64Micro({{{bound}:Int64}})")
            parameters[bound] = round(moment.timestamp() * 1e6)
    of_project = "1"
    if project is not None:
        of_project, parameters["project"] = "project = {project:String}", project
    rows = store.query(
        f"""
        SELECT project, model, argMax(task, predicted_at) AS task, countIf(live) AS rows,
            countIf(reference) AS reference_rows, maxIf(predicted_at, live) AS last_at,
            arraySlice(arrayMap(pair -> pair.2, arrayReverseSort(arrayDistinct(groupUniqArrayIf(200)(
                (toStartOfDay(predicted_at), model_version), live)))), 1, 20) AS versions,
            if(rows = 0, NULL, countIf(live AND status = 'error') / rows) AS error_rate,
            quantilesIf(0.5, 0.95)(ifNull(latency_ms, 0), live AND latency_ms IS NOT NULL) AS latency,
            avgOrNullIf(cost_usd, live) * 1000 AS cost_per_1000_usd
        FROM (SELECT *, NOT reference AND {" AND ".join(within)} AS live FROM predictions FINAL WHERE {of_project})
        GROUP BY project, model ORDER BY rows DESC, project, model LIMIT {MOST_MODELS}
        """,
        parameters,
    )
    labels = store.query(
        f"SELECT project, model, count() AS labels FROM labels FINAL WHERE {of_project} GROUP BY project, model",
        {"project": project} if project is not None else {},
    )
    told = {(row["project"], row["model"]): row["labels"] for row in labels}
    return [_model(row, told) for row in rows]


def _model(row: Row, labels: dict[tuple[str, str], int]) -> Row:
    p50, p95 = (None if value != value else value for value in row.pop("latency"))
    versions = list(dict.fromkeys(row.pop("versions")))
    return {
        **row,
        "versions": versions,
        "last_at": row["last_at"] if row["rows"] else None,
        "labels": labels.get((row["project"], row["model"]), 0),
        "p50_latency_ms": p50,
        "p95_latency_ms": p95,
    }
