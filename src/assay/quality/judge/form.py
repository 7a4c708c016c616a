"""In which form an endpoint can be asked: what it refuses is left out from then on.

In: the settings, a question and what the endpoint refused so far. Out: the body of a chat completion. Endpoints that
call themselves OpenAI-compatible differ in structured output, in probabilities, and in what reasoning models take.
"""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec

from assay.config import OPENAI_URL, Judge
from assay.quality.judge.rubric import Question

TOP_LOGPROBS = 8
"""Alternatives of each token that are asked for: the five scores with some to spare; providers allow 5 to 20."""

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "score": {"type": "integer", "enum": [1, 2, 3, 4, 5]}},
    "required": ["reason", "score"],
    "additionalProperties": False,
}
_FORMATS: dict[str, Any] = {
    "json_schema": {"type": "json_schema", "json_schema": {"name": "grade", "strict": True, "schema": _SCHEMA}},
    "json_object": {"type": "json_object"},
}
_TOO_LONG = ("context_length", "context length", "too long", "too many tokens")


class Form(msgspec.Struct, frozen=True):
    """What a request says beside model and messages."""

    format: Literal["json_schema", "json_object", "text"] = "json_schema"
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: bool = True
    logprobs: bool = True

    def body(self, settings: Judge, question: Question) -> str:
        """The request as JSON, in ASCII."""
        body: dict[str, Any] = {
            "model": settings.model,
            "messages": [
                {"role": "system", "content": question.system},
                {"role": "user", "content": question.user},
            ],
            self.limit: settings.max_tokens,
        }
        if self.temperature:
            body["temperature"] = settings.temperature
        if self.format != "text":
            body["response_format"] = _FORMATS[self.format]
        if self.logprobs:
            body |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        return json.dumps(body)

    def without(self, refusal: str) -> Form | None:
        """The form to try after a refusal with this text; None where another form would not help.

        A text that does not say what it refuses costs the structured output first, then the probabilities.
        """
        told = refusal.lower()
        if any(sign in told for sign in _TOO_LONG):
            return None
        if self.logprobs and "logprobs" in told:
            return msgspec.structs.replace(self, logprobs=False)
        if self.temperature and "temperature" in told:
            return msgspec.structs.replace(self, temperature=False)
        if self.limit == "max_tokens" and "max_tokens" in told:
            return msgspec.structs.replace(self, limit="max_completion_tokens")
        if self.limit == "max_completion_tokens" and "max_completion_tokens" in told:
            return msgspec.structs.replace(self, limit="max_tokens")
        if self.format != "text":
            return msgspec.structs.replace(self, format="json_object" if self.format == "json_schema" else "text")
        return msgspec.structs.replace(self, logprobs=False) if self.logprobs else None


def first_form(settings: Judge) -> Form:
    """OpenAI takes its newer name for the limit with every model; most others know the older one only."""
    return Form(limit="max_completion_tokens") if settings.base_url == OPENAI_URL else Form()
