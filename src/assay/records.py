"""The vocabulary: what every part of Assay means by a span, a message and a score.

Imports nothing of ours. A Span is one row of the `spans` table, field for column; a Score one row of
`scores`. None means "not reported", which is never the same as zero.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

import msgspec

UnixMicros = Annotated[int, "microseconds since 1970-01-01T00:00:00Z"]

Kind = Literal["llm", "embedding", "tool", "retriever", "agent", "chain", "judge", "span"]
"""What a span stands for; `llm` and `embedding` spans are calls to a model, the rest is their surroundings.

`judge` spans are Assay's own calls to the model that judges: never the application's, so no summary counts them.
"""

CALL_KINDS: tuple[Kind, ...] = ("llm", "embedding")

FILTERS = (
    "project",
    "environment",
    "service",
    "release",
    "model",
    "provider",
    "operation",
    "session_id",
    "user_id",
    "status",
    "error_type",
)
"""What calls can be filtered by, each an exact match, beside tags. `model` is the response's, else the request's."""

ScoreSource = Literal["scorer", "judge", "human", "otel"]
SCORE_SOURCES: tuple[ScoreSource, ...] = get_args(ScoreSource)

SCORE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
"""What a score may be called."""


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One span as stored. Times are Unix microseconds (UTC), costs US dollars, JSON columns hold text.

    `prompt` is the last user text, `response` the assistant's text, `system` the system prompt;
    `messages_in` and `messages_out` hold the whole conversation in the message format of the
    OpenTelemetry GenAI conventions, and are empty where the texts say all of it. `input_tokens`
    includes cached tokens and `output_tokens` includes reasoning tokens; where one was not reported it
    is None, and an estimate from the texts stands beside it.

    Of the spans that report one call exactly one is `counted`; the others name it in `duplicate_of`.
    `as_sent` is JSON of the fields that settling changed, with what the sender said. `call_key` is what
    spans of one call share where they have no response id in common.
    """

    trace_id: str
    span_id: str
    parent_span_id: str = ""
    project: str = "default"
    environment: str = ""
    service: str = ""
    kind: Kind = "span"
    name: str = ""
    operation: str = ""
    provider: str = ""
    request_model: str = ""
    response_model: str = ""
    response_id: str = ""
    session_id: str = ""
    user_id: str = ""
    started_at: UnixMicros
    latency_ms: float = 0.0
    time_to_first_token_ms: float | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    system: str = ""
    prompt: str = ""
    response: str = ""
    messages_in: str = ""
    messages_out: str = ""
    tool_definitions: str = ""
    tool_calls: str = ""
    documents: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    tokens_estimated: bool = False
    estimated_input_tokens: int | None = None
    estimated_output_tokens: int | None = None
    input_cost_usd: float | None = None
    output_cost_usd: float | None = None
    cost_usd: float | None = None
    status: Literal["ok", "error"] = "ok"
    error_type: str = ""
    error_message: str = ""
    finish_reason: str = ""
    attributes: dict[str, str] = {}
    counted: bool = False
    duplicate_of: str = ""
    as_sent: str = ""
    call_key: str = ""
    scope_name: str = ""
    scope_version: str = ""


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """One judgement of one call. `value` is None where the score cannot be known; `comment` then says why.

    `project`, `model`, `session_id` and `started_at` are those of the call, so that charts need no join.
    """

    target: str
    name: str
    value: float | None
    label: str = ""
    comment: str = ""
    scorer: str = ""
    scorer_version: str = ""
    source: ScoreSource = "scorer"
    author: str = ""
    confidence: float | None = None
    counted: bool = True
    project: str = "default"
    model: str = ""
    session_id: str = ""
    started_at: UnixMicros


Task = Literal["classification", "regression"]
"""What a classical model predicts: one of some classes, or a number."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """One prediction of a classical model: a row of `predictions`.

    `numbers` and `categories` are its features by name; a missing value is NaN in `numbers`, whatever the feature
    otherwise is. `prediction` is the class, or the number as text; `prediction_value` the number of a regression.
    `probabilities` are those of the classes, 0..1, and `confidence` that of the predicted one. `key` is what the
    application knows the case by, else the same as `prediction_id`. A `reference` row is no traffic: it is what
    later rows are compared with, such as the training set. `latency_ms` is this row's share of its batch.
    """

    prediction_id: str
    key: str = ""
    project: str = "default"
    environment: str = ""
    service: str = ""
    model: str
    model_version: str = ""
    task: Task = "classification"
    reference: bool = False
    predicted_at: UnixMicros
    numbers: dict[str, float] = {}
    categories: dict[str, str] = {}
    prediction: str = ""
    prediction_value: float | None = None
    probabilities: dict[str, float] = {}
    confidence: float | None = None
    latency_ms: float | None = None
    cost_usd: float | None = None
    input_hash: int = 0
    status: Literal["ok", "error"] = "ok"
    error_type: str = ""
    error_message: str = ""


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """What turned out to be true: a row of `labels`, of a prediction's id or of its key, the other being empty."""

    project: str = "default"
    model: str
    prediction_id: str = ""
    key: str = ""
    label: str
    label_value: float | None = None
    labelled_at: UnixMicros


SDK_SCOPES = ("com.anthropic.sdk",)
"""Scopes of spans that a provider's own SDK writes: the best witnesses of usage and time."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One GenAI event that came as a log record: a row of `events`. `body` and `attributes` are JSON.

    `position` is its place in the request, which orders events of the same time; `digest` tells different
    records apart and is the same when one is sent again.
    """

    trace_id: str
    span_id: str
    name: str
    at: UnixMicros
    position: int = 0
    body: str = ""
    attributes: str = "{}"
    digest: str = ""
    scope_name: str = ""
