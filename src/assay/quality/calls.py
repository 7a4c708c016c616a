"""From call rows to conversations, and from verdicts to score rows."""

from __future__ import annotations

from typing import NamedTuple

from assay.ingest.dialects.fields import as_text, objects
from assay.ingest.dialects.messages import message_text
from assay.quality.scorer import Conversation, Scorer, Verdict
from assay.records import Score
from assay.store.connect import Row


class Who(NamedTuple):
    """What a score row says of its scorer."""

    name: str
    scorer: str
    version: str

    @classmethod
    def of(cls, scorer: Scorer) -> Who:
        """The same of a loaded scorer."""
        return cls(scorer.name, scorer.scorer, scorer.version)


def conversation_of(call: Row) -> Conversation:
    """A call row as scorers see it: the last exchange, with what was retrieved and said before."""
    messages = objects(call["messages_in"])
    tool_results = [
        as_text(part.get("response", part.get("result", "")))
        for message in messages
        for part in objects(message.get("parts"))
        if part.get("type") == "tool_call_response"
    ]
    documents = [as_text(item.get("content", item)) for item in objects(call["documents"])]
    return Conversation(
        prompt=call["prompt"],
        response=call["response"],
        system=call["system"],
        context=tuple(filter(None, documents + tool_results)),
        history=tuple(filter(None, (message_text(message) for message in messages[:-1]))),
        finish_reason=call["finish_reason"],
    )


def score_of(call: Row, who: Who, verdict: Verdict) -> Score:
    """A scorer's verdict on a call as a score row."""
    return Score(
        target=call["span_id"],
        name=who.name,
        value=verdict.value,
        label=verdict.label,
        comment=verdict.reason,
        scorer=who.scorer,
        scorer_version=who.version,
        confidence=verdict.confidence,
        project=call["project"],
        model=call["model"],
        session_id=call["session_id"],
        started_at=round(call["started_at"].timestamp() * 1e6),
    )
