"""Ask the judge's endpoint until it answers: within the budget, in a form it takes, again where that may help.

In: a Question with a span that says whose call is judged. Out: the Reply, with every attempt recorded as a span of kind
"judge" with its cost. Each attempt has its worst case set aside before it is made (budget.py).
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from assay.config import OPENAI_URL, Judge
from assay.errors import AssayError, ConfigError
from assay.ingest.dialects.usage import usage_of
from assay.ingest.pricing import Prices, Tokens
from assay.quality.judge.budget import Budget, worst_case
from assay.quality.judge.form import first_form
from assay.quality.judge.grading import text_of
from assay.quality.judge.rubric import Question
from assay.quality.judge.wire import Line, Outcome
from assay.records import Span

MOST_RETRIES = 4
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 20.0
DEADLINE_TIMEOUTS = 3.0
"""All attempts at one question together get so many times the time of one request."""

SCOPE = "assay.judge"
UNFINISHED = "unfinished"
"""Error type of a call that is under way, or whose process died before an answer was recorded."""

_SHOWN_CHARS = 300


class JudgeError(AssayError):
    """The judge gave no answer; the message says why. `outage`: every other question would fare the same."""

    def __init__(self, message: str, *, outage: bool = False) -> None:
        super().__init__(message)
        self.outage = outage


class BudgetUsedUp(JudgeError):
    """There is no room left in the budget for this question."""


class Reply(msgspec.Struct, frozen=True):
    """The first choice of an answer, and the span of the call that gave it."""

    choice: dict[str, Any]
    span: Span


class Endpoint:
    """A model behind an OpenAI-compatible endpoint. Safe to use from several threads.

    Raises ConfigError where no price of the model is known: no budget could be kept.
    """

    def __init__(self, settings: Judge, prices: Prices, budget: Budget) -> None:
        self._settings = settings
        self._prices = prices
        self._budget = budget
        self._provider = "openai" if settings.base_url == OPENAI_URL else ""
        self._form = first_form(settings)
        self._line = Line(settings)
        self._stopping = threading.Event()
        self._overrun = 1.0
        self._worst_case("")

    def close(self) -> None:
        """Break off the attempts under way, each counted at its worst case, and begin none any more."""
        self._stopping.set()
        self._line.close()

    @property
    def stopping(self) -> bool:
        """Whether `close` was called."""
        return self._stopping.is_set()

    def ask(self, question: Question, about: Span) -> Reply:
        """The answer. `about` is the span to record, without what differs between attempts.

        Raises JudgeError, BudgetUsedUp before an attempt for which there is no room, and StoreError.
        """
        deadline = time.monotonic() + DEADLINE_TIMEOUTS * self._settings.timeout_seconds
        form = known = self._form
        retries = 0
        while not self.stopping:
            body = form.body(self._settings, question)
            span, outcome = self._attempt(body, about, question, deadline)
            if outcome.status and 200 <= outcome.status < 300:
                if form != known:
                    self._form = form
                return self._reply(span, outcome)
            looser = form.without(_told(outcome)) if outcome.status in (400, 422) else None
            if looser:
                form = looser
                continue
            pause = _pause(retries, outcome)
            if not outcome.passing or retries == MOST_RETRIES or time.monotonic() + pause >= deadline:
                raise self._failure(outcome)
            retries += 1
            self._stopping.wait(pause)
        raise JudgeError("assay is stopping", outage=True)

    def _attempt(self, body: str, about: Span, question: Question, deadline: float) -> tuple[Span, Outcome]:
        """One request, set aside before and settled after."""
        span = msgspec.structs.replace(
            about,
            span_id=secrets.token_hex(8),
            started_at=time.time_ns() // 1000,
            provider=self._provider,
            request_model=self._settings.model,
            system=question.system,
            prompt=question.user,
            max_tokens=self._settings.max_tokens,
            cost_usd=self._worst_case(body),
            status="error",
            error_type=UNFINISHED,
            error_message="no answer was recorded: counted at what the call can cost at most",
        )
        if not self._budget.reserve(span):
            raise BudgetUsedUp(f"the budget of ${self._budget.daily_usd:.2f} has no room for this question")
        left = max(min(self._settings.timeout_seconds, deadline - time.monotonic()), 0.001)
        outcome = self._line.post(body, left)
        settled = self._settled(span, outcome)
        self._overrun = max(self._overrun, self._overrun * (settled.cost_usd or 0) / (span.cost_usd or 1))
        self._budget.settle(settled)
        return settled, outcome

    def _worst_case(self, body: str) -> float:
        settings = self._settings
        worst = worst_case(self._prices, self._provider, settings.model, time.time(), body, settings.max_tokens)
        if worst is None:
            raise ConfigError(
                f"the judge cannot run: no price is known for {settings.model!r}, so its daily budget could not be "
                f'kept. Set one in assay.toml: [prices."{settings.model}"] input = 0.15, output = 0.60 (US dollars '
                "per million tokens; 0 for a model of your own)"
            )
        return worst * self._overrun

    def _settled(self, span: Span, outcome: Outcome) -> Span:
        """The span after its attempt: with the true cost where it is known, else still with the worst case."""
        span = msgspec.structs.replace(span, latency_ms=outcome.latency_ms)
        if outcome.status is None or not 200 <= outcome.status < 300:
            kind = "timeout" if outcome.status is None else str(outcome.status)
            cost = 0.0 if outcome.free else span.cost_usd
            return msgspec.structs.replace(span, error_type=kind, error_message=self._shown(outcome), cost_usd=cost)
        answer = _decoded(outcome)
        choice = _first_choice(answer)
        usage = usage_of(answer.get("usage"))
        return msgspec.structs.replace(
            span,
            **usage,
            cost_usd=self._cost(usage, span),
            response=text_of(_mapping(choice.get("message")).get("content")),
            response_model=_text(answer.get("model")),
            finish_reason=_text(choice.get("finish_reason")),
            status="ok" if choice else "error",
            error_type="" if choice else "malformed",
            error_message="" if choice else self._shown(outcome),
        )

    def _cost(self, usage: Mapping[str, int | None], span: Span) -> float | None:
        """What the endpoint's count comes to; the worst case where it tells none."""
        input, output = usage.get("input_tokens"), usage.get("output_tokens")
        if input is None or output is None:
            return span.cost_usd
        tokens = Tokens(input, output, usage.get("cache_read_tokens") or 0, usage.get("cache_write_tokens") or 0)
        cost = self._prices.cost(self._provider, self._settings.model, span.started_at / 1e6, tokens)
        return cost.total if cost else span.cost_usd

    def _reply(self, span: Span, outcome: Outcome) -> Reply:
        if choice := _first_choice(_decoded(outcome)):
            return Reply(choice, span)
        raise JudgeError(f"{self._settings.base_url} answered with what is no chat completion: {self._shown(outcome)}")

    def _failure(self, outcome: Outcome) -> JudgeError:
        advice = _ADVICE.get(outcome.status or 0, "")
        status = f" ({outcome.status})" if outcome.status else ""
        outage = outcome.passing or outcome.status in _ADVICE
        return JudgeError(f"{self._settings.base_url}{status}: {self._shown(outcome)}{advice}", outage=outage)

    def _shown(self, outcome: Outcome) -> str:
        """What went wrong in one line, without the key, should the endpoint repeat it."""
        text = outcome.problem or _told(outcome)
        if key := self._settings.key:
            text = text.replace(key, "***")
        return " ".join(text.split())[:_SHOWN_CHARS]


_ADVICE = {
    401: ". Set ASSAY_QUALITY__JUDGE__API_KEY",
    403: ". Check ASSAY_QUALITY__JUDGE__API_KEY and what it may do",
    404: ". Check quality.judge.base_url (it ends before /chat/completions) and quality.judge.model",
}


def _pause(retries: int, outcome: Outcome) -> float:
    """Seconds until the next attempt: what the endpoint asks for, else doubling; with jitter upwards."""
    own = min(FIRST_PAUSE_SECONDS * 2**retries, LONGEST_PAUSE_SECONDS)
    asked = own if outcome.retry_after is None else outcome.retry_after
    return asked + own * random.random() / 2  # noqa: S311 spreads retries, guards nothing


def _told(outcome: Outcome) -> str:
    """The error text in a body: {"error": {"message", "code", "param"}} or whatever it is."""
    error = _decoded(outcome).get("error")
    if isinstance(error, dict):
        parts = (error.get(name) for name in ("message", "code", "param"))
        return " ".join(str(part) for part in parts if part)
    return str(error) if error else outcome.body[:2000].decode(errors="replace")


def _decoded(outcome: Outcome) -> dict[str, Any]:
    try:
        return _mapping(msgspec.json.decode(outcome.body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def _first_choice(answer: Mapping[str, Any]) -> dict[str, Any]:
    choices = answer.get("choices")
    return _mapping(choices[0]) if isinstance(choices, list) and choices else {}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
