"""The `judge` tier: a model reads a conversation and grades it by a rubric.

In: a conversation and a rubric. Out: a Verdict, and the judge's own call as a span of kind "judge". Where the judge
fails the value is null with the reason. `judging.py` does this for the calls in a store, `judge_scorers` for the bench.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from assay.config import Judge, Price, load_config
from assay.errors import ConfigError
from assay.ingest.pricing import Prices
from assay.quality.judge.budget import Budget, RunLedger
from assay.quality.judge.endpoint import SCOPE, BudgetUsedUp, Endpoint, JudgeError
from assay.quality.judge.grading import Unreadable, read_verdict
from assay.quality.judge.rubric import Question, Rubric, load_rubrics, not_assessable, question
from assay.quality.scorer import Conversation, Verdict, unknown, version_of
from assay.quality.watch import FAILED
from assay.records import Span
from assay.store.connect import Row

SCORER = "judge"
METHOD = "judge 1"
"""Changes with the instructions around the rubrics and with how answers are read."""


class Case(msgspec.Struct, frozen=True):
    """One metric of one conversation to be judged.

    `hindered` is the verdict where nothing is to be asked; `content` is what the verdict is kept under; `about` says
    where the judge's call belongs.
    """

    metric: str
    version: str
    question: Question
    hindered: Verdict | None
    content: str
    about: Span


class JudgeScorer:
    """The judge as a scorer of one metric, for the bench: nothing is stored, the budget is that of the run."""

    scorer = SCORER

    def __init__(self, settings: Judge, rubric: Rubric, endpoint: Endpoint) -> None:
        self.name = rubric.metric
        self.version = version(settings, rubric)
        self._settings = settings
        self._rubric = rubric
        self._endpoint = endpoint

    def score(self, conversation: Conversation) -> Verdict:
        """Null where it is not assessable, where the judge failed, and where the budget is used up. Raises nothing."""
        case = case_of(self._settings, self._rubric, conversation)
        try:
            return case.hindered or judged(self._endpoint, case)[0]
        except BudgetUsedUp as error:
            return unknown(f"not judged: {error}", "budget")
        except (JudgeError, Unreadable) as error:
            return failed(error)

    def score_all(self, conversations: Sequence[Conversation]) -> list[Verdict]:
        """The same for many, several at a time."""
        with ThreadPoolExecutor(self._settings.concurrency, "assay-judge") as pool:
            return list(pool.map(self.score, conversations))


def judge_scorers(settings: Judge | None = None, prices: Mapping[str, Price] | None = None) -> tuple[JudgeScorer, ...]:
    """A scorer for every rubric there is, asked through one endpoint and paid from one budget.

    Without arguments the settings are read. Raises ConfigError where no judge is configured or no price is known.
    """
    config = load_config() if settings is None else None
    if config:
        settings, prices = config.quality.judge, config.prices
    if settings is None:
        raise ConfigError('no judge is configured: in assay.toml write [quality.judge] with model = "gpt-4o-mini"')
    endpoint = Endpoint(settings, Prices(prices), Budget(settings.daily_budget_usd, RunLedger()))
    rubrics = load_rubrics(settings.rubrics).values()
    return tuple(JudgeScorer(settings, rubric, endpoint) for rubric in rubrics)


def case_of(settings: Judge, rubric: Rubric, conversation: Conversation, row: Row | None = None) -> Case:
    """What is to be asked of one conversation; `row` is the call it comes from, if any."""
    asked, judge_version = question(rubric, conversation), version(settings, rubric)
    content = hashlib.sha256(f"{judge_version} {asked.user}".encode()).hexdigest()
    about = Span(
        trace_id=row["trace_id"] if row else secrets.token_hex(16),
        span_id="",
        parent_span_id=row["span_id"] if row else "",
        project=row["project"] if row else "default",
        session_id=row["session_id"] if row else "",
        service="assay",
        kind="judge",
        name=f"judge {rubric.metric}",
        operation="chat",
        temperature=settings.temperature,
        attributes={"assay.judge.metric": rubric.metric, "assay.judge.content": content},
        scope_name=SCOPE,
        started_at=0,
    )
    return Case(rubric.metric, judge_version, asked, not_assessable(rubric, conversation), content, about)


def judged(endpoint: Endpoint, case: Case) -> tuple[Verdict, Span]:
    """The judge's verdict and the call that gave it. Raises JudgeError, Unreadable, StoreError."""
    reply = endpoint.ask(case.question, case.about)
    return read_verdict(reply.choice), reply.span


def version(settings: Judge, rubric: Rubric) -> str:
    """Changes with all that could change a verdict."""
    parameters = f"{settings.temperature} {settings.max_tokens}"
    return version_of(METHOD, settings.model, rubric.metric, rubric.text, parameters)


def failed(error: Exception) -> Verdict:
    """The null verdict of a judge that gave none."""
    return unknown(f"failed: {error}", FAILED)
