"""Reads and writes of the `fits` table: every version of what was learnt for a project, and which is in use."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec
import pyarrow as pa

from assay.store.connect import Store

SHIPPED = "shipped"
"""The version that stands for what ships with Assay."""


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """What was learnt for one metric of one project.

    `version` is a hash of all that decides a verdict; `weights` an .npz of plain arrays, empty where only the
    threshold was learnt; `threshold` the value from which on (toxicity), or below which (the others), people object;
    `report` is JSON of the figures before and after.
    """

    project: str
    metric: str
    version: str
    threshold: float | None
    weights: bytes = b""
    report: str = "{}"
    author: str = ""


Fits = Mapping[str, Sequence[Fit]]
"""The fits in use by project."""


class Kept(msgspec.Struct, frozen=True):
    """A stored version as it is listed."""

    project: str
    metric: str
    version: str
    created_at: datetime
    active: bool
    threshold: float | None
    has_weights: bool
    report: str
    author: str


def insert_fit(store: Store, fit: Fit, *, use: bool) -> None:
    """Keep a version, and with `use` put it to work at once."""
    now = time.time_ns() // 1000
    row = {
        "project": fit.project,
        "metric": fit.metric,
        "fit": fit.version,
        "created_at": now,
        "used_at": now if use else 0,
        "threshold": fit.threshold,
        "weights": base64.b64encode(fit.weights).decode(),
        "report": fit.report,
        "author": fit.author,
        "version": now,
    }
    store.insert("fits", pa.Table.from_pylist([row], schema=_SCHEMA))


def use_fit(store: Store, project: str, metric: str, version: str) -> None:
    """Put a kept version to work, or with SHIPPED go back to what ships."""
    if version == SHIPPED:
        insert_fit(store, Fit(project=project, metric=metric, version=SHIPPED, threshold=None), use=True)
        return
    store.command(
        """
        INSERT INTO fits
        SELECT project, metric, fit, created_at, fromUnixTimestamp64Micro({now:Int64}), threshold, weights, report,
            author, {now:UInt64}
        FROM fits FINAL
        WHERE project = {project:String} AND metric = {metric:String} AND fit = {fit:String}
        """,
        {"project": project, "metric": metric, "fit": version, "now": time.time_ns() // 1000},
    )


def kept_fits(store: Store, project: str = "") -> list[Kept]:
    """All versions of a project, or of all, newest first within each metric; SHIPPED is among them once it was used."""
    rows = store.query(
        """
        SELECT project, metric, fit, created_at, threshold, weights != '' AS has_weights, report, author,
            used_at > toDateTime64(0, 6, 'UTC')
                AND used_at = max(used_at) OVER (PARTITION BY project, metric) AS active
        FROM fits FINAL
        WHERE {project:String} = '' OR project = {project:String}
        ORDER BY project, metric, created_at DESC
        """,
        {"project": project},
    )
    return [
        Kept(
            row["project"],
            row["metric"],
            row["fit"],
            row["created_at"],
            bool(row["active"]),
            row["threshold"],
            bool(row["has_weights"]),
            row["report"],
            row["author"],
        )
        for row in rows
    ]


def fits_changed_at(store: Store) -> int:
    """Grows with every fit that is kept or put to work; 0 without any. Cheap enough to ask before every batch."""
    [row] = store.query("SELECT max(version) AS newest FROM fits")
    return int(row["newest"])


def active_fits(store: Store) -> Fits:
    """The versions in use by project, with their weights. A metric that went back to SHIPPED is left out."""
    rows = store.query(
        """
        SELECT project, metric, argMax(fit, used_at) AS fit, argMax(tuple(threshold), used_at).1 AS threshold,
            argMax(weights, used_at) AS weights, argMax(report, used_at) AS report, argMax(author, used_at) AS author
        FROM fits FINAL
        GROUP BY project, metric
        HAVING max(used_at) > toDateTime64(0, 6, 'UTC') AND fit != {shipped:String}
        ORDER BY project, metric
        """,
        {"shipped": SHIPPED},
    )
    return by_project(
        Fit(
            project=row["project"],
            metric=row["metric"],
            version=row["fit"],
            threshold=row["threshold"],
            weights=base64.b64decode(row["weights"]),
            report=row["report"],
            author=row["author"],
        )
        for row in rows
    )


class ActiveFits:
    """`active_fits`, read anew where something changed: until then every call answers the same object."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: tuple[int, Fits] = (0, {})

    def __call__(self) -> Fits:
        """The fits in use now. Raises StoreError."""
        changed_at = fits_changed_at(self._store)
        if changed_at != self._known[0]:
            self._known = changed_at, active_fits(self._store)
        return self._known[1]


def by_project(fits: Iterable[Fit]) -> dict[str, tuple[Fit, ...]]:
    """The fits of each project."""
    found: dict[str, tuple[Fit, ...]] = {}
    for fit in fits:
        found[fit.project] = (*found.get(fit.project, ()), fit)
    return found


_MOMENT = pa.timestamp("us", "UTC")
_SCHEMA = pa.schema(
    [
        ("project", pa.string()),
        ("metric", pa.string()),
        ("fit", pa.string()),
        ("created_at", _MOMENT),
        ("used_at", _MOMENT),
        ("threshold", pa.float64()),
        ("weights", pa.string()),
        ("report", pa.string()),
        ("author", pa.string()),
        ("version", pa.uint64()),
    ]
)
