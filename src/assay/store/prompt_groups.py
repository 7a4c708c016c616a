"""Reads and writes of the `prompt_groups` table: the kinds of question that each project gets."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime

import msgspec
import pyarrow as pa

from assay.store.connect import Store

OTHER = "other"
"""Stands for prompts that are in no group; in rows it is the empty string."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of question. `name` is its most typical template, `words` are those that set it apart.

    `centroid` has length 1; a prompt whose likeness to it (dot product) is below `least` is in no group.
    `embedding` is the version of the embedding that all this holds for, `fit_calls` how many calls its fit saw.
    """

    project: str
    id: str
    name: str
    words: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    centroid: tuple[float, ...]
    least: float
    embedding: str
    gone: bool = False
    born_at: datetime
    fit_at: datetime
    fit_calls: int


def insert_groups(store: Store, groups: Sequence[Group]) -> None:
    """Store groups in place of their former versions."""
    if not groups:
        return
    now = time.time_ns() // 1000
    rows = [
        {
            **{name: getattr(group, name) for name in _SCHEMA.names if name not in ("prompt_group", "version")},
            "prompt_group": group.id,
            "version": now,
        }
        for group in groups
    ]
    store.insert("prompt_groups", pa.Table.from_pylist(rows, schema=_SCHEMA))


def groups_of(store: Store, project: str | None = None) -> list[Group]:
    """All groups of a project, or of all, also those that are gone, by project and id."""
    rows = store.query(
        """
        SELECT * EXCEPT version FROM prompt_groups FINAL
        WHERE {every:Bool} OR project = {project:String} ORDER BY project, prompt_group
        """,
        {"every": project is None, "project": project or ""},
    )
    return [msgspec.convert({**row, "id": row["prompt_group"]}, Group) for row in rows]


def groups_changed_at(store: Store) -> int:
    """Grows with every fit; 0 before the first."""
    [row] = store.query("SELECT max(version) AS newest FROM prompt_groups")
    return int(row["newest"])


_MOMENT = pa.timestamp("us", "UTC")
_SCHEMA = pa.schema(
    [
        ("project", pa.string()),
        ("prompt_group", pa.string()),
        ("name", pa.string()),
        ("words", pa.list_(pa.string())),
        ("examples", pa.list_(pa.string())),
        ("centroid", pa.list_(pa.float32())),
        ("least", pa.float64()),
        ("embedding", pa.string()),
        ("gone", pa.bool_()),
        ("born_at", _MOMENT),
        ("fit_at", _MOMENT),
        ("fit_calls", pa.uint64()),
        ("version", pa.uint64()),
    ]
)
