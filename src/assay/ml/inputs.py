"""Is what a model gets what it should get? Feature by feature, against the reference, and what failed."""

from __future__ import annotations

from typing import Any

import numpy as np

from assay.ml.drift import MOST_FEATURES, reference_of
from assay.ml.figures import Floats
from assay.ml.window import Rows, Window, known_model, read_rows
from assay.quality.intervals import wilson
from assay.store.connect import Row, Store

SHOWN = 10
FEWEST = 20
"""Rows of each sample below which nothing is called a problem."""


def data_quality(store: Store, window: Window, versus: Window | None = None) -> dict[str, Any]:
    """`features`, those with `problems` first, `errors` by type, and the error rate with its interval.

    Of a feature: the share `missing` (NaN or no text) here and in the reference, `infinite`, `absent` (not sent at
    all); of a number `out_of_range`, the share outside the reference's smallest and largest, which are `low` and
    `high`; of a category `new_categories` (the ten most frequent that the reference does not have) and `new`, their
    share; `constant` where all known values are the same and were not before; `type_changed` says from what to what.
    What the reference cannot tell is None. Raises NotFound.
    """
    known_model(store, window)
    rows, reference = read_rows(store, window), reference_of(store, window, versus)
    names = sorted({*rows.absent, *reference.rows.absent})[:MOST_FEATURES]
    found = [_feature(name, rows, reference.rows) for name in names]
    failed = float(rows.failed.mean()) if rows.n else None
    low, high = wilson(failed, rows.n) if failed is not None else (None, None)
    return {
        "reference": {"what": reference.what, "n": reference.rows.n, "total": reference.rows.total},
        "n": rows.n,
        "total": rows.total,
        "error_rate": failed,
        "low": low,
        "high": high,
        "errors": _errors(store, window),
        "features": sorted(found, key=lambda one: (not one["problems"], one["feature"])),
    }


def _feature(name: str, rows: Rows, reference: Rows) -> Row:
    kind, before = _kind(rows, name), _kind(reference, name)
    absent, absent_before = _absent(rows, name), _absent(reference, name)
    missing, missing_before = _missing(rows, name), _missing(reference, name)
    told: Row = {
        "feature": name,
        "kind": kind or before,
        "n": rows.n,
        "absent": absent,
        "missing": missing,
        "missing_before": missing_before,
        "infinite": _share(np.isinf(rows.numbers[name])) if name in rows.numbers else None,
        "type_changed": f"{before} to {kind}" if kind and before and kind != before else "",
        "low": None,
        "high": None,
        "out_of_range": None,
        "new": None,
        "new_categories": [],
        "constant": False,
        "problems": [],
    }
    if rows.n < FEWEST or reference.n < FEWEST:
        return told
    if kind == before == "number":
        told |= _range(rows.numbers[name], reference.numbers[name])
    elif kind == before == "category":
        told |= _new(rows, reference, name)
    told["constant"] = _constant(rows, name) and not _constant(reference, name)
    told["problems"] = list(_problems(told, absent_before))
    return told


def _problems(told: Row, absent_before: float | None) -> Any:
    """What a person should look at, in words."""
    if absent_before == 1.0:
        yield "is not in the reference"
        return
    if told["absent"] is not None and told["absent"] > (absent_before or 0.0) and told["absent"] > 0:
        yield "is not sent" if told["absent"] == 1 else f"is not sent in {told['absent']:.1%} of the rows"
    if told["type_changed"]:
        yield f"changed from {told['type_changed']}"
    if told["missing"] is not None and told["missing"] > max(2 * (told["missing_before"] or 0.0), 0.01):
        yield f"is missing in {told['missing']:.1%} ({(told['missing_before'] or 0.0):.1%} in the reference)"
    if told["infinite"]:
        yield f"is infinite in {told['infinite']:.1%}"
    if told["out_of_range"] is not None and told["out_of_range"] > 0.01:
        yield f"is outside the reference's range in {told['out_of_range']:.1%}"
    if told["new"] is not None and told["new"] > 0.001:
        yield f"has categories that the reference does not have in {told['new']:.1%}"
    if told["constant"]:
        yield "is always the same"


def _kind(rows: Rows, name: str) -> str | None:
    """By what most of its known values are; None where nothing is known."""
    texts = int((rows.categories[name] != "").sum()) if name in rows.categories else 0
    numbers = int((~np.isnan(rows.numbers[name])).sum()) if name in rows.numbers else 0
    return None if not texts + numbers else "category" if texts >= numbers else "number"


def _missing(rows: Rows, name: str) -> float | None:
    here = ~rows.absent[name] if name in rows.absent else np.zeros(rows.n, bool)
    if not here.any():
        return None
    known = np.zeros(rows.n, bool)
    if name in rows.numbers:
        known |= ~np.isnan(rows.numbers[name])
    if name in rows.categories:
        known |= rows.categories[name] != ""
    return _share(~known[here])


def _absent(rows: Rows, name: str) -> float | None:
    return (_share(rows.absent[name]) if name in rows.absent else 1.0) if rows.n else None


def _range(values: Floats, reference: Floats) -> Row:
    before, now = reference[np.isfinite(reference)], values[np.isfinite(values)]
    if not len(before) or not len(now):
        return {}
    low, high = float(before.min()), float(before.max())
    return {"low": low, "high": high, "out_of_range": _share((now < low) | (now > high))}


def _new(rows: Rows, reference: Rows, name: str) -> Row:
    known = set(reference.categories[name].tolist())
    texts = rows.categories[name]
    here = texts[texts != ""]
    new = np.array([text not in known for text in here], bool)
    names, counts = np.unique(here[new].astype(str), return_counts=True)
    most = [str(names[place]) for place in np.argsort(-counts, kind="stable")[:SHOWN]]
    return {"new": _share(new), "new_categories": most}


def _constant(rows: Rows, name: str) -> bool:
    numbers = rows.numbers.get(name, np.zeros(0))
    texts = rows.categories.get(name, np.zeros(0, object))
    known = {*numbers[~np.isnan(numbers)].tolist(), *texts[texts != ""].tolist()}
    return rows.n > 1 and len(known) == 1


def _share(which: Any) -> float | None:
    return float(np.mean(which)) if len(which) else None


def _errors(store: Store, window: Window) -> list[Row]:
    where, parameters = window.where()
    return store.query(
        f"""
        SELECT error_type, count() AS errors, argMax(substringUTF8(error_message, 1, 500), predicted_at) AS message,
            max(predicted_at) AS last_at
        FROM predictions FINAL WHERE {where} AND status = 'error'
        GROUP BY error_type ORDER BY errors DESC, error_type LIMIT 50
        """,
        parameters,
    )
