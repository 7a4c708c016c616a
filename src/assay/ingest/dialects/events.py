"""GenAI events: what was said around a call, told in span events or in log records, as a span's own attributes.

Source: semantic conventions for GenAI events, the current `gen_ai.client.inference.operation.details` and
`gen_ai.evaluation.result`, and the per-message events of 1.27 to 1.36 with their relatives (Azure, Semantic
Kernel, Strands). The role of a per-message event is in its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from assay.ingest.dialects.fields import number, structured, text
from assay.records import Event

DETAILS = "gen_ai.client.inference.operation.details"
EVALUATION = "gen_ai.evaluation.result"
CHOICE = "gen_ai.choice"
EXCEPTIONS = ("exception", "gen_ai.client.operation.exception")
ROLES = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
WHOLE = {
    "gen_ai.content.prompt": ("gen_ai.prompt", "gen_ai.input.messages"),
    "gen_ai.content.completion": ("gen_ai.completion", "gen_ai.output.messages"),
}


class Said(NamedTuple):
    """One event: its name, its body (None where attributes tell all) and its attributes."""

    name: str
    body: Any
    attributes: Mapping[str, Any]


class Evaluation(NamedTuple):
    """A verdict on the call with this response id, or else on this span."""

    response_id: str
    span_id: str
    name: str
    value: float | None
    label: str
    comment: str


def as_attributes(events: Iterable[Said]) -> dict[str, Any]:
    """What these events tell, under the names of the current conventions for span attributes; in their order."""
    asked, answers = list[Any](), list[Any]()
    attributes: dict[str, Any] = {}
    for event in events:
        if role := ROLES.get(event.name):
            asked.append({"role": role, **_message(event)})
        elif event.name == CHOICE:
            answers.append(_choice(event))
        elif event.name == DETAILS:
            attributes |= event.attributes
        elif event.name in WHOLE and (told := _whole(event)):
            attributes[WHOLE[event.name][1]] = told
        elif event.name in EXCEPTIONS:
            attributes |= {name: event.attributes[name] for name in _EXCEPTION if name in event.attributes}
    return {
        **({"gen_ai.input.messages": asked} if asked else {}),
        **({"gen_ai.output.messages": answers} if answers else {}),
        **attributes,
    }


def said(records: Iterable[Event]) -> list[Said]:
    """Stored log records as events, in the order of their times."""
    ordered = sorted(records, key=lambda record: (record.at, record.position))
    return [Said(record.name, structured(record.body), _attributes(record)) for record in ordered]


def evaluations(records: Sequence[Event]) -> list[Evaluation]:
    """The verdicts among log records."""
    told = ((record, _attributes(record)) for record in records if record.name == EVALUATION)
    return [
        Evaluation(
            response_id=text(attributes, "gen_ai.response.id"),
            span_id=record.span_id,
            name=text(attributes, "gen_ai.evaluation.name"),
            value=number(attributes, "gen_ai.evaluation.score.value"),
            label=text(attributes, "gen_ai.evaluation.score.label"),
            comment=text(attributes, "gen_ai.evaluation.explanation"),
        )
        for record, attributes in told
        if text(attributes, "gen_ai.evaluation.name")
    ]


_EXCEPTION = ("exception.type", "exception.message")


def _attributes(record: Event) -> dict[str, Any]:
    attributes = structured(record.attributes)
    return attributes if isinstance(attributes, dict) else {}


def _message(event: Said) -> dict[str, Any]:
    body = structured(event.attributes.get("gen_ai.event.content")) or event.body or event.attributes
    if not isinstance(body, dict):
        return {"content": body}
    message = {name: value for name, value in body.items() if name not in ("role", "name")}
    if event.name == "gen_ai.tool.message" and "id" in message:
        message["tool_call_id"] = message.pop("id")
    return message


def _choice(event: Said) -> dict[str, Any]:
    body = _message(event)
    inner = structured(body.get("message"))
    message = inner if isinstance(inner, dict) else {"content": inner if inner is not None else body.get("content")}
    calls = message.get("tool_calls") or body.get("tool_calls")
    reason = {"finish_reason": body["finish_reason"]} if body.get("finish_reason") else {}
    return {"role": "assistant", **message, **reason, **({"tool_calls": calls} if calls else {})}


def _whole(event: Said) -> Any:
    return structured(event.attributes.get(WHOLE[event.name][0]) or event.attributes.get("gen_ai.event.content"))
