"""Labels: what turned out to be true of a prediction, told later and sent in the background."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from assay.client import setup
from assay.client.model_calls import PREFIX, ROWS_A_BODY, case_text
from assay.client.row_delivery import Body, RowSender, row_sender

_PREDICTION_ID = re.compile(rf"(?:{PREFIX}|ref-)[0-9a-f]{{32}}")

log = logging.getLogger("assay")


def label(case: Any, value: Any, *, model: str = "", project: str | None = None, at: float | None = None) -> None:
    """Tell what turned out to be true: `assay.label("customer-17", "left")`, or of many cases with a value each.

    `case` is a key that was given to the model, or a prediction id (`MonitoredModel.collect_ids`). `model` and
    `project` name the model; without `model` the server takes the one that predicted this case, and refuses a label
    that comes before its prediction. `at` is when it became known, as Unix seconds; of two labels of a case the later
    holds. Missing values (None, NaN) are left out. Returns at once; labels follow in the background and wait on disk
    while the server is away. Never raises.
    """
    try:
        _label(case, value, model, project, time.time() if at is None else at)
    except Exception as error:
        log.warning("assay.label(): nothing was labelled: %s", error)


def _label(case: Any, value: Any, model: str, project: str | None, at: float) -> None:
    cases, values = ([case], [value]) if _is_one(case) else (list(case), _values(value))
    if len(cases) != len(values):
        log.warning("assay.label(): %d values for %d cases: give one value each", len(values), len(cases))
        return
    rows = [
        {_named(one): case_text(one), "label": told, "labelled_at": at}
        for one, told in zip(cases, map(_told, values), strict=True)
        if told is not None and case_text(one)
    ]
    common = {"model": model, "project": project or setup.origin().get("project", "")}
    for start in range(0, len(rows), ROWS_A_BODY):
        part = rows[start : start + ROWS_A_BODY]
        _sender().put((common, part), len(part), 100 * len(part), wait=len(rows) > ROWS_A_BODY)


def _is_one(case: Any) -> bool:
    return isinstance(case, str | int | float) or not hasattr(case, "__iter__") or getattr(case, "ndim", 1) == 0


def _values(value: Any) -> list[Any]:
    return value.tolist() if hasattr(value, "tolist") else list(value)


def _told(value: Any) -> Any:
    """A label as JSON holds it; None where none is known."""
    value = value.item() if hasattr(value, "item") else value
    if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:
        return None
    return value if isinstance(value, str | int | float) else str(value)


def _named(case: Any) -> str:
    return "prediction_id" if isinstance(case, str) and _PREDICTION_ID.fullmatch(case) else "key"


def _encode(items: Sequence[tuple[dict[str, str], list[dict[str, Any]]]]) -> Iterator[Body]:
    """One body for labels of one model."""
    by_model: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for common, rows in items:
        by_model.setdefault((common["model"], common["project"]), []).extend(rows)
    for (model, project), rows in by_model.items():
        common = {name: text for name, text in (("model", model), ("project", project)) if text}
        yield json.dumps({**common, "labels": rows}).encode(errors="replace"), len(rows)


_senders: list[RowSender] = []
_lock = threading.Lock()


def _sender() -> RowSender:
    with _lock:
        if not _senders:
            _senders.append(row_sender("/api/labels", "labels", _encode))
        return _senders[0]
