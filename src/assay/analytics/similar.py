"""Calls whose prompts ask something alike: the nearest vectors, by brute force in the engine.

Prompts of one template make one row with a count: twenty times the same question would tell nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from assay.analytics.selection import Selection
from assay.analytics.together import both
from assay.errors import AssayError, NotFound
from assay.store.connect import Row, Store
from assay.store.prompt_groups import OTHER
from assay.store.scores import SHOWN_FIRST
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
        SELECT template, count() AS calls, countIf(status = 'error') / calls AS error_rate,
            argMax((project, span_id), started_at) AS newest, toUnixTimestamp64Micro(max(started_at)) AS started
        FROM embeddings FINAL PREWHERE template IN {{templates:Array(UInt64)}}
        WHERE {where} AND span_id != {{besides:String}} GROUP BY template
        """,
        {**parameters, "besides": besides, "templates": [row["template"] for row in nearest]},
    )
    by_template, calls = {row["template"]: row for row in found}, _calls(store, found)
    return [
        {
            "similarity": 1.0 if only else min(max(row["similarity"], -1.0), 1.0),
            "calls": same["calls"],
            "error_rate": same["error_rate"],
            **calls[same["newest"]],
        }
        for row in nearest
        for same in [by_template.get(row["template"])]
        if same and same["newest"] in calls
    ]


def _calls(store: Store, found: Sequence[Row]) -> dict[tuple[str, str], Row]:
    """What is told of the newest call of each template, by project and id; found by their starts, so little is read."""
    parameters = {
        "projects": [row["newest"][0] for row in found],
        "ids": [row["newest"][1] for row in found],
        "starts": [row["started"] for row in found],
    }
    keys = """project IN {projects:Array(String)}
        AND started_at IN (SELECT fromUnixTimestamp64Micro(arrayJoin({starts:Array(Int64)}), 'UTC'))"""
    of_spans = f"""
        SELECT {", ".join(_SHOWN)}, substringUTF8(prompt, 1, {EXCERPT_CHARS}) AS prompt_,
            substringUTF8(response, 1, {EXCERPT_CHARS}) AS response_
        FROM spans FINAL WHERE {keys} AND kind = 'llm' AND span_id IN {{ids:Array(String)}}
        """
    of_embeddings = f"""
        SELECT project, span_id, template_text AS template, if(prompt_group = '', '{OTHER}', prompt_group) AS in_group
        FROM embeddings FINAL WHERE {keys} AND span_id IN {{ids:Array(String)}}
        """
    spans, embedded = both(lambda: store.query(of_spans, parameters), lambda: store.query(of_embeddings, parameters))
    scores = store.query(
        f"""
        SELECT project, target, name, value FROM scores FINAL
        WHERE counted AND {keys} AND target IN {{ids:Array(String)}} ORDER BY name, {SHOWN_FIRST}
        """,
        parameters,
    )
    told: dict[tuple[str, str], Row] = {}
    for row in spans:
        excerpts = {"prompt": row.pop("prompt_"), "response": row.pop("response_")}
        told[row["project"], row["span_id"]] = {**row, **excerpts, "scores": {}}
    for row in embedded:
        if (key := (row["project"], row["span_id"])) in told:
            told[key] |= {"template": row["template"], "prompt_group": row["in_group"]}
    for row in scores:
        if (key := (row["project"], row["target"])) in told:
            told[key]["scores"][row["name"]] = row["value"]
    return told


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
