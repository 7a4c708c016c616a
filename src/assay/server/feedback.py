"""Scores that come in from outside: a person's thumb, an application's own check, another judge."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from assay.errors import NotFound
from assay.records import SCORE_NAME, Score, ScoreSource
from assay.store.connect import Row, Store
from assay.store.scores import insert_scores
from assay.store.spans import span_id_of_response, spans_with_ids


class NewScore(BaseModel):
    """A score of one call, named by its span id or by the response id that its provider gave."""

    model_config = ConfigDict(extra="forbid")

    span_id: str = ""
    response_id: str = ""
    name: Annotated[str, Field(pattern=f"^{SCORE_NAME.pattern}$")]
    value: float | None = None
    label: Annotated[str, Field(max_length=200)] = ""
    comment: Annotated[str, Field(max_length=10_000)] = ""
    source: ScoreSource = "human"
    author: Annotated[str, Field(max_length=200)] = ""

    @model_validator(mode="after")
    def _says_something_of_one_call(self) -> NewScore:
        if bool(self.span_id) == bool(self.response_id):
            raise ValueError("give either span_id or response_id")
        if self.value is None and not (self.label or self.comment):
            raise ValueError("give a value, a label or a comment")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError("value must be a finite number")
        return self


def store_score(store: Store, new: NewScore) -> dict[str, Any]:
    """Store the score; answers which call it went to. Raises NotFound where that call is not stored (yet)."""
    span_id = new.span_id.lower() or span_id_of_response(store, new.response_id)
    rows = spans_with_ids(store, [span_id]) if span_id else []
    if counted := [row["duplicate_of"] for row in rows if row["duplicate_of"]]:
        rows = spans_with_ids(store, counted)
    if not rows:
        wanted = f"span_id {new.span_id!r}" if new.span_id else f"response_id {new.response_id!r}"
        raise NotFound(f"no call with {wanted} is stored; if it was sent just now, try again in a few seconds")
    insert_scores(store, [_score(new, call) for call in rows])
    return {"span_id": rows[0]["span_id"], "name": new.name, "value": new.value}


def _score(new: NewScore, call: Row) -> Score:
    return Score(
        target=call["span_id"],
        name=new.name,
        value=new.value,
        label=new.label,
        comment=new.comment,
        source=new.source,
        author=new.author,
        project=call["project"],
        model=call["model"],
        session_id=call["session_id"],
        started_at=round(call["started_at"].timestamp() * 1e6),
    )
