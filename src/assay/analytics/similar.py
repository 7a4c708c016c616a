"""Calls whose prompts ask something alike: the nearest vectors, by brute force in the engine.

Prompts of one template make one row with a count: twenty times the same question would tell nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from assay.analytics.selection import Selection
from assay.errors import AssayError, NotFound
from assay.store.connect import Row, Store
from assay.store.prompt_groups import OTHER
from assay.store.scores import scores_of, values_by_name
from assay.store.spans import spans_with_ids

MAX_LIMIT = 100
EXCERPT_CHARS = 300
_SHOWN = ("span_id", "trace_id", "project", "started_at", "model", "status", "latency_ms", "cost_usd")


class Unread(AssayError):
    """The call is stored, and has no vector."""


def similar_to_call(store: Store, selection: Selection, span_id: str, limit: int = 20) -> dict[str, Any]:
    """`similar` as of `similar_to`, to the prompt of a call, which itself is left out; `of` tells of that call.

    Other projects are looked into where the selection names one. Raises NotFound for an unknown id, and Unread for
    a call without a prompt or one that is not read yet.
    """
    span_id = span_id.lower()
    rows = store.query(
        """
        SELECT project, vector::Array(Float32) AS vector, template, template_text, prompt_group FROM embeddings
        WHERE span_id = {id:String} ORDER BY version DESC LIMIT 1
        """,
        {"id": span_id},
    )
    if not rows:
        raise _without_vector(store, span_id)
    asked = rows[0]
    if selection.project is None:
        selection = msgspec.structs.replace(selection, project=asked["project"])
    only = None if any(asked["vector"]) else asked["template"]
    return {
        "of": {"span_id": span_id, "template": asked["template_text"], "prompt_group": asked["prompt_group"] or OTHER},
        "similar": similar_to(store, selection, asked["vector"], limit, besides=span_id, only=only),
    }


def similar_to(
    store: Store,
    selection: Selection,
    vector: Sequence[float],
    limit: int = 20,
    *,
    besides: str = "",
    only: int | None = None,
) -> list[Row]:
    """The templates nearest to a vector of length 1 among the selected calls, nearest first; `only` one of them.

    Each with its `similarity` (cosine, 1 for the same template), how many `calls` have it, its share of errors, and of
    the newest of those calls (never the one `besides`) what it is, its scores, and `prompt` and `response` cut to 300
    characters. Raises AssayError for a limit outside 1..100.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise AssayError(f"limit must be between 1 and {MAX_LIMIT}, not {limit}")
    where, parameters = selection.of_embeddings()
    one = "" if only is None else " AND template = {only:UInt64}"
    nearest = store.query(
        f"""
        SELECT template, max(dotProduct(vector, {{vector:Array(BFloat16)}})) AS similarity
        FROM embeddings FINAL WHERE {where} AND span_id != {{besides:String}}{one}
        GROUP BY template ORDER BY similarity DESC, template LIMIT {{limit:UInt32}}
        """,
        {**parameters, "vector": list(vector), "besides": besides, "limit": limit, "only": only or 0},
    )
    if not nearest:
        return []
    found = store.query(
        f"""
        SELECT embeddings.template AS template_id, any(template_text) AS template, count() AS calls,
            countIf(status = 'error') / calls AS error_rate, argMax(span_id, started_at) AS newest,
            argMax(project, started_at) AS of_project, toUnixTimestamp64Micro(max(started_at)) AS started,
            argMax(prompt_group, started_at) AS in_group
        FROM embeddings FINAL
        WHERE {where} AND span_id != {{besides:String}} AND embeddings.template IN {{templates:Array(UInt64)}}
        GROUP BY template_id
        """,
        {**parameters, "besides": besides, "templates": [row["template"] for row in nearest]},
    )
    by_template, calls = {row["template_id"]: row for row in found}, _calls(store, found)
    return [
        {
            "similarity": 1.0 if only else min(max(row["similarity"], -1.0), 1.0),
            **{name: group[name] for name in ("calls", "error_rate", "template")},
            "prompt_group": group["in_group"] or OTHER,
            **calls[group["of_project"], group["newest"]],
        }
        for row in nearest
        for group in [by_template.get(row["template"])]
        if group and (group["of_project"], group["newest"]) in calls
    ]


def _calls(store: Store, found: Sequence[Row]) -> dict[tuple[str, str], Row]:
    within = min(row["started"] for row in found), max(row["started"] for row in found)
    ids = [row["newest"] for row in found]
    scores = scores_of(store, ids, within)
    return {
        (row["project"], row["span_id"]): {
            **{name: row[name] for name in _SHOWN},
            "prompt": row["prompt"][:EXCERPT_CHARS],
            "response": row["response"][:EXCERPT_CHARS],
            "scores": values_by_name(scores.get((row["project"], row["span_id"]), [])),
        }
        for row in spans_with_ids(store, ids, within)
    }


def _without_vector(store: Store, span_id: str) -> AssayError:
    rows = spans_with_ids(store, [span_id])
    if not rows:
        return NotFound(f"no span {span_id!r} is stored; it may still be on its way")
    if rows[0]["kind"] != "llm" or not rows[0]["prompt"].strip():
        return Unread(f"call {span_id} has no prompt to compare: only conversations with a text are compared")
    return Unread(
        f"the prompt of call {span_id} is not read yet: a running server does that within seconds, "
        "`assay groups refit` does it for a store without one"
    )
