"""What rules about classical models read of each row: SQL that answers like that of calls (series.py).

Errors, latency and missing features count when the prediction was made; accuracy when its label came, since labels come
late. What is held against the reference (`_drop`, `_rise`) has no value where the reference tells none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from assay.ml.window import FROM_LABELS, OF_LABEL

OF_LABELS = ("model_accuracy", "model_accuracy_drop")

GROUPS = {
    "model": "concat(project, '/', model)",
    "project": "project",
    "environment": "environment",
    "service": "service",
}
"""What model rules can be grouped by. Models of one name in two projects are two."""

_MISSING = "arrayCount(x -> isNaN(x), mapValues(numbers)) / greatest(length(numbers) + length(categories), 1)"

_VALUES = {
    "model_error_rate": "toFloat64(status = 'error')",
    "model_latency_ms": "latency_ms",
    "model_missing": f"if(status = 'ok', toFloat64({_MISSING}), NULL)",
    "model_missing_rise": f"if(status = 'ok', toFloat64({_MISSING}) - usual, NULL)",
    "model_accuracy": "toFloat64(prediction = label)",
    "model_accuracy_drop": "usual - toFloat64(prediction = label)",
}

_WITHIN = "{0} >= toDateTime64({{since:Int64}}, 6) AND {0} < toDateTime64({{until:Int64}}, 6)"
_RIGHT = "task = 'classification' AND status = 'ok'"


def model_rows(
    metric: str,
    filters: Sequence[tuple[str, str]],
    group_by: str | None,
    values: Callable[[str], str],
) -> tuple[str, dict[str, Any]]:
    """Each row with its time (at, seconds), group, id, model and values; `values` makes x0, x1 ... of SQL."""
    parameters: dict[str, Any] = {}
    conditions = ["NOT reference"]
    for number, (name, value) in enumerate(filters):
        conditions.append(f"{name} = {{value{number}:String}}")
        parameters[f"value{number}"] = value
    group = GROUPS[group_by] if group_by else "''"
    where = " AND ".join(conditions)
    rows = _labelled(where) if metric in OF_LABELS else _predicted(where)
    usual = (
        f"INNER JOIN ({_usual(metric)}) AS reference USING (project, model)"
        if metric.endswith(("_drop", "_rise"))
        else ""
    )
    return (
        f"SELECT at, toString({group}) AS grouped, prediction_id AS span_id, model, {values(_VALUES[metric])}"
        f" FROM ({rows}) AS rows {usual}",
        parameters,
    )


def _predicted(where: str) -> str:
    return f"""
        SELECT *, toUnixTimestamp(predicted_at) AS at FROM predictions FINAL
        WHERE {where} AND {_WITHIN.format("predicted_at")}"""


def _labelled(where: str) -> str:
    """Predictions of classes whose label came in this time."""
    told = f"FROM labels WHERE {_WITHIN.format('labelled_at')}"
    by_id, by_key = f"SELECT prediction_id {told} AND prediction_id != ''", f"SELECT key {told} AND key != ''"
    own = f"{where} AND {_RIGHT} AND (prediction_id IN ({by_id}) OR if(key = '', prediction_id, key) IN ({by_key}))"
    return f"""
        SELECT *, toUInt32(labelled_micros / 1000000) AS at FROM ({_joined(own)})
        WHERE labelled_micros > 0 AND at >= {{since:Int64}} AND at < {{until:Int64}}"""


def _joined(where: str) -> str:
    """Predictions with their labels: labels before the time that is asked about belong to it too."""
    return f"""
        SELECT p.project AS project, p.model AS model, p.environment AS environment, p.service AS service,
            p.prediction_id AS prediction_id, p.prediction AS prediction, {OF_LABEL}
        FROM (SELECT *, if(key = '', prediction_id, key) AS known_as FROM predictions FINAL WHERE {where}) AS p
        {FROM_LABELS.format(where=where)}"""


def _usual(metric: str) -> str:
    """The mean over a model's reference rows."""
    if metric == "model_missing_rise":
        return (
            f"SELECT project, model, avg({_MISSING}) AS usual FROM predictions FINAL"
            " WHERE reference AND status = 'ok' GROUP BY project, model"
        )
    return (
        f"SELECT project, model, avg(prediction = label) AS usual FROM ({_joined(f'reference AND {_RIGHT}')})"
        " WHERE labelled_micros > 0 GROUP BY project, model"
    )
