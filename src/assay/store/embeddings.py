"""Reads and writes of the `embeddings` table: the template, vector and group of each conversation's prompt."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from assay.store.connect import Row, Store
from assay.store.cursors import Cursor
from assay.store.prompt_groups import Group

_FACTS = ("project", "started_at", "span_id", "counted", "model", "session_id", "status", "latency_ms", "cost_usd")


class Templates(NamedTuple):
    """Distinct templates of a project, all parallel: how many calls each stands for, its group so far ("" for none)."""

    ids: list[int]
    texts: list[str]
    calls: NDArray[np.float32]
    vectors: NDArray[np.float32]
    groups: list[str]


def prompts_after(store: Store, cursor: Cursor, until: int, limit: int) -> list[Row]:
    """Conversations, also failed and uncounted ones, ingested after a cursor and up to `until`.

    Oldest first. Where the first part ends is found by times alone, so that the texts of all that waits are not read
    for each part of it.
    """
    parameters = {"after": cursor[0], "span_id": cursor[1], "until": until, "limit": limit}
    after = """kind = 'llm' AND ingested_at >= fromUnixTimestamp64Micro({after:Int64})
            AND ingested_at <= fromUnixTimestamp64Micro({until:Int64})
            AND (ingested_at, span_id) > (fromUnixTimestamp64Micro({after:Int64}), {span_id:String})"""
    [found] = store.query(
        f"""
        SELECT count() AS calls, toUnixTimestamp64Micro(max(ingested_at)) AS last FROM
            (SELECT ingested_at FROM spans FINAL WHERE {after} ORDER BY ingested_at LIMIT {{limit:UInt32}})
        """,
        parameters,
    )
    if not found["calls"]:
        return []
    last = found["last"] if found["calls"] == limit else until
    return store.query(
        f"""
        SELECT {", ".join(_FACTS)}, prompt, toUnixTimestamp64Micro(ingested_at) AS ingested
        FROM spans FINAL WHERE {after} ORDER BY ingested_at, span_id LIMIT {{limit:UInt32}}
        """,
        {**parameters, "until": last},
    )


def insert_embeddings(
    store: Store,
    calls: Sequence[Row],
    templates: Sequence[tuple[int, str]],
    vectors: NDArray[np.float32],
    groups: Sequence[str],
) -> None:
    """Store what the prompts of these calls (of `prompts_after`) are, in place of what was known before."""
    columns = [
        pa.array([call[name] for call in calls], field.type) for name, field in zip(_FACTS, _SCHEMA, strict=False)
    ]
    columns += [
        pa.array([one for one, _ in templates], pa.uint64()),
        pa.array([text for _, text in templates], pa.string()),
        pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]).cast(pa.list_(pa.float32())),
        pa.array(groups, pa.string()),
        pa.array([time.time_ns()] * len(calls), pa.uint64()),
    ]
    store.insert("embeddings", pa.table(columns, schema=_SCHEMA))


def embedded_calls(store: Store, since: int) -> dict[str, int]:
    """By project how many embedded calls started since then (Unix microseconds)."""
    rows = store.query(
        "SELECT project, count() AS calls FROM embeddings FINAL"
        " WHERE counted AND started_at >= fromUnixTimestamp64Micro({since:Int64}) GROUP BY project ORDER BY project",
        {"since": since},
    )
    return {row["project"]: int(row["calls"]) for row in rows}


def templates_of(store: Store, project: str, since: int, most: int) -> Templates:
    """The templates of a project's calls since then (Unix microseconds), at most `most`.

    Where there are more, two thirds are the most frequent ones; the rest is a sample by hash, in which each
    stands for its share of all calls that are left.
    """
    frequent = most * 2 // 3
    parameters = {"project": project, "since": since, "frequent": frequent, "most": most}
    of_project = "counted AND project = {project:String} AND started_at >= fromUnixTimestamp64Micro({since:Int64})"
    chosen = store.query(
        f"""
        SELECT template, calls, sum(calls) OVER () AS all_calls,
            row_number() OVER (ORDER BY calls DESC, template) AS place
        FROM (SELECT template, count() AS calls FROM embeddings FINAL WHERE {of_project} GROUP BY template)
        ORDER BY if(place <= {{frequent:UInt32}}, place, {{frequent:UInt32}} + intHash32(template)), template
        LIMIT {{most:UInt32}}
        """,
        parameters,
    )
    if not chosen:
        return Templates([], [], np.zeros(0, np.float32), np.zeros((0, 0), np.float32), [])
    found = store.query(
        f"""
        SELECT template, any(template_text) AS text, any(vector)::Array(Float32) AS vector, any(prompt_group) AS now_in
        FROM embeddings FINAL WHERE {of_project} AND template IN {{ids:Array(UInt64)}} GROUP BY template
        """,
        {**parameters, "ids": [row["template"] for row in chosen]},
    )
    by_id = {row["template"]: row for row in found}
    ids = [row["template"] for row in chosen if row["template"] in by_id]
    calls = np.array([row["calls"] for row in chosen if row["template"] in by_id], np.float32)
    rest = float(chosen[0]["all_calls"]) - float(calls.sum())
    if rest > 0 and calls[frequent:].any():
        calls[frequent:] *= 1 + rest / calls[frequent:].sum()
    rows = [by_id[one] for one in ids]
    vectors = np.array([row["vector"] for row in rows], np.float32)
    return Templates(ids, [row["text"] for row in rows], calls, vectors, [row["now_in"] for row in rows])


def reassign(store: Store, project: str, groups: Sequence[Group]) -> None:
    """Put all calls of a project into the nearest of these groups; only rows that this changes are written anew."""
    nearest = "''"
    parameters: dict[str, object] = {"project": project, "version": time.time_ns()}
    if groups:
        alike = [f"dotProduct(vector, {{c{place}:Array(BFloat16)}})" for place in range(len(groups))]
        parameters |= {f"c{place}": list(group.centroid) for place, group in enumerate(groups)}
        parameters |= {"ids": [group.id for group in groups], "least": [group.least for group in groups]}
        nearest = f"""
            (arrayMap(x -> toFloat64(x), [{", ".join(alike)}]) AS alike,
             indexOf(alike, arrayMax(alike)) AS place,
             if(alike[place] >= {{least:Array(Float64)}}[place], {{ids:Array(String)}}[place], '')).3"""
    names = ", ".join(name for name in _SCHEMA.names if name not in ("prompt_group", "version"))
    store.command(
        f"""
        INSERT INTO embeddings ({names}, prompt_group, version)
        SELECT {names}, chosen, {{version:UInt64}} FROM
            (SELECT {names}, prompt_group, {nearest} AS chosen FROM embeddings FINAL WHERE project = {{project:String}})
        WHERE chosen != prompt_group
        """,
        parameters,
    )


_SCHEMA = pa.schema(
    [
        ("project", pa.string()),
        ("started_at", pa.timestamp("us", "UTC")),
        ("span_id", pa.string()),
        ("counted", pa.bool_()),
        ("model", pa.string()),
        ("session_id", pa.string()),
        ("status", pa.string()),
        ("latency_ms", pa.float64()),
        ("cost_usd", pa.float64()),
        ("template", pa.uint64()),
        ("template_text", pa.string()),
        ("vector", pa.list_(pa.float32())),
        ("prompt_group", pa.string()),
        ("version", pa.uint64()),
    ]
)
