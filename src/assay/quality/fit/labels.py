"""Where a project's labels come from: people's scores of its calls, or rows of a labelled file.

For toxicity only what was said of it counts: scores named "toxicity" (of the answer) or "prompt_toxicity" (of the
user's text), where 0.5 and more is toxic, and any score labelled "toxic", "flag:toxicity" or "flag:prompt_toxicity".
For the other metrics it is scores of that name, 0.5 and more being good, else thumbs ("thumb" or "thumbs"): a thumb
down says nothing of toxicity.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from assay.errors import AssayError
from assay.quality.calls import conversation_of
from assay.quality.rows import Row as LabelledRow
from assay.quality.scorer import Conversation
from assay.store.connect import Row, Store
from assay.store.spans import calls_with_ids

METRICS = ("prompt_toxicity", "toxicity", "relevance", "coherence", "groundedness")
"""What can be fitted."""

MOST_LABELLED = 20_000
"""Calls of a project, newest first."""

_FLAGS = {"toxic": "toxicity", "flag:toxicity": "toxicity", "flag:prompt_toxicity": "prompt_toxicity"}
_THUMBS = ("thumb", "thumbs")


class Labelled(msgspec.Struct, frozen=True):
    """A conversation and whether people say yes: toxic for a toxicity, good for another metric."""

    conversation: Conversation
    label: bool
    split: str = ""


def labelled_calls(store: Store, project: str) -> dict[str, list[Labelled]]:
    """A project's calls that people judged, by metric; several people's judgements of a call are averaged."""
    rows = store.query(
        """
        SELECT target, name, value, label, toUnixTimestamp64Micro(started_at) AS started
        FROM scores FINAL
        WHERE counted AND source = 'human' AND project = {project:String}
            AND ((value IS NOT NULL AND name IN {names:Array(String)}) OR label IN {flags:Array(String)})
        ORDER BY started_at DESC, target
        LIMIT {most:UInt32}
        """,
        {"project": project, "names": [*METRICS, *_THUMBS], "flags": list(_FLAGS), "most": MOST_LABELLED},
    )
    if not rows:
        return {}
    starts = [row["started"] for row in rows]
    ids = {row["target"] for row in rows}
    conversations = {
        call["span_id"]: conversation_of(call)
        for call in calls_with_ids(store, ids, starts)
        if call["project"] == project
    }
    said = _said(rows)
    return {
        metric: [
            Labelled(conversations[target], sum(votes) >= len(votes) / 2)
            for target, votes in sorted(said[metric].items())
            if target in conversations
        ]
        for metric in METRICS
        if metric in said
    }


def _said(rows: Sequence[Row]) -> dict[str, dict[str, list[float]]]:
    """What was said by metric and call, each 0..1."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        flagged = _FLAGS.get(row["label"])
        if flagged:
            found.setdefault(flagged, {}).setdefault(row["target"], []).append(1.0)
        elif row["value"] is not None and row["name"] in METRICS:
            found.setdefault(row["name"], {}).setdefault(row["target"], []).append(row["value"])
    thumbs = [row for row in rows if row["name"] in _THUMBS and row["value"] is not None]
    for metric in METRICS[2:]:
        own = set(found.get(metric, ()))
        for row in thumbs:
            if row["target"] not in own:
                found.setdefault(metric, {}).setdefault(row["target"], []).append(row["value"])
    return found


def labelled_rows(rows: Iterable[LabelledRow], metric: str) -> dict[str, list[Labelled]]:
    """Rows of a file by metric: "toxicity" is that of the prompt where the prompt was judged. Raises AssayError."""
    if metric not in METRICS:
        raise AssayError(f"cannot fit {metric!r}: choose one of {', '.join(METRICS)}")
    found: dict[str, list[Labelled]] = {}
    for number, row in enumerate(rows, start=1):
        if row.label not in (0, 1):
            raise AssayError(f"row {number} has label {row.label!r}: fitting needs 0 or 1 on every row")
        one = Labelled(conversation_of_row(row), bool(row.label), row.split)
        found.setdefault(metric_of(row, metric), []).append(one)
    return found


def metric_of(row: LabelledRow, metric: str) -> str:
    """The metric that a row's label is about."""
    toxicity = "prompt_toxicity" if row.target == "prompt" else "toxicity"
    return toxicity if metric in ("toxicity", "prompt_toxicity") else metric


def conversation_of_row(row: LabelledRow) -> Conversation:
    """The row as scorers see it."""
    context = (row.context,) if row.context else ()
    return Conversation(prompt=row.prompt or "", response=row.response or "", context=context)
