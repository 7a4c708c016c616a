"""The `judge` tier: a model reads a sample of the conversations and grades them by rubrics.

In: call rows, as `store.spans.calls_after` gives them. Out: score rows of source "judge". The judge's own calls are
stored as spans of kind "judge" in the trace of the call that was judged. The same content (rubric, model, parameters,
texts) is paid for once: verdicts are kept in the store. Where the judge fails, the score is null with the reason.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from assay.config import Judge, Price, load_config
from assay.errors import ConfigError, StoreError
from assay.ingest.pricing import Prices
from assay.quality.budget import DAY_MICROS, Budget, RunLedger, StoreLedger
from assay.quality.endpoint import SCOPE, BudgetUsedUp, Endpoint, JudgeError
from assay.quality.follower import conversation_of
from assay.quality.grading import Unreadable, read_verdict
from assay.quality.rubric import Question, Rubric, chosen_rubrics, is_question, load_rubrics, not_assessable, question
from assay.quality.scorer import Conversation, Verdict, unknown, version_of
from assay.quality.tally import Tally
from assay.records import Score, Span
from assay.store.connect import Row, Store
from assay.store.judgements import Judgement, insert_judgements, judgements_of

SCORER = "judge"
METHOD = "judge 1"
"""Changes with the instructions around the rubrics and with how answers are read."""

FAILED = "failed"


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


class Judging:
    """Scores a sample of calls by the judge, several at a time. Used by one follower.

    `write` stores spans anew in place of their former rows. Raises ConfigError for settings that cannot work.
    """

    def __init__(
        self,
        store: Store,
        settings: Judge,
        prices: Mapping[str, Price],
        write: Callable[[Sequence[Span]], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._settings = settings
        self._now = now
        self._rubrics = chosen_rubrics(settings.metrics, settings.rubrics)
        self._budget = Budget(settings.daily_budget_usd, StoreLedger(store, write))
        self._endpoint = Endpoint(settings, Prices(prices), self._budget)
        self._tally = Tally()

    def stop(self) -> None:
        """Begin no call any more; a batch in hand is given up, what was judged of it is kept."""
        self._endpoint.stop()

    def close(self) -> None:
        """Close the connections."""
        self._endpoint.close()

    def __call__(self, rows: Sequence[Row]) -> list[Score]:
        """The scores of those rows that are in the sample; none where the budget has no room for them.

        Raises StoreError, and JudgeError where the endpoint answers nothing at all: the same rows can come again later.
        """
        sampled = [row for row in rows if self._is_judged(row)]
        cases = [(row, case) for row in sampled for case in self._cases(row)]
        verdicts = self._verdicts([case for _, case in cases])
        scores = list[Score]()
        for row, case in cases:
            verdict = case.hindered or verdicts[case.content]
            if verdict:
                scores.append(_score(row, case, verdict))
            else:
                self._tally.skipped(row["span_id"], self._today)
        return scores

    def figures(self) -> dict[str, Any]:
        """What health tells of the judge; `notice` is "" while nothing is left unjudged for want of budget."""
        try:
            spent = self._budget.spent_on_day_of(round(self._now() * 1e6))
        except StoreError:
            spent = None
        return {
            "model": self._settings.model,
            "metrics": [rubric.metric for rubric in self._rubrics],
            "sample": self._settings.sample,
            "daily_budget_usd": self._settings.daily_budget_usd,
            "spent_today_usd": spent,
            "judged": self._tally.judged,
            "from_cache": self._tally.from_cache,
            "failed": self._tally.failed,
            "not_judged_for_budget": self._tally.count_skipped(self._today),
            "notice": self.notice,
            "last_error": self._tally.last_error,
        }

    @property
    def notice(self) -> str:
        """That today's budget is used up and for how many calls it was missing, "" while it suffices."""
        skipped = self._tally.count_skipped(self._today)
        budget = f"${self._settings.daily_budget_usd:.2f}"
        return f"judge: today's budget of {budget} is used up, {skipped:,} calls not judged" if skipped else ""

    @property
    def problem(self) -> str:
        """What keeps the endpoint from answering, "" once it answers again."""
        return f"judge: {self._tally.last_error}" if self._tally.unanswered else ""

    @property
    def _today(self) -> int:
        return int(self._now() * 1e6) // DAY_MICROS

    def _is_judged(self, row: Row) -> bool:
        return (
            row["status"] == "ok"
            and in_sample(row["span_id"], self._settings.sample)
            and not is_question(row["system"])
        )

    def _cases(self, row: Row) -> list[Case]:
        conversation = conversation_of(row)
        return [case_of(self._settings, rubric, conversation, row) for rubric in self._rubrics]

    def _verdicts(self, cases: Sequence[Case]) -> dict[str, Verdict | None]:
        """By content, of those that are not hindered: the verdict; None where the budget had no room."""
        asked = {case.content: case for case in cases if not case.hindered}
        known = judgements_of(self._store, asked)
        self._tally.from_cache += len(known)
        anew = self._answers([case for content, case in asked.items() if content not in known], bool(known))
        return {content: _verdict(judgement) for content, judgement in known.items()} | anew

    def _answers(self, cases: Sequence[Case], others_were_answered: bool) -> dict[str, Verdict | None]:
        if not cases:
            return {}
        answered = self._tally.probe()
        with ThreadPoolExecutor(self._settings.concurrency, "assay-judge") as pool:
            verdicts = list(pool.map(self._answer, cases))
        if self._endpoint.stopping:
            raise JudgeError("assay is stopping", outage=True)
        if self._tally.out_of_order and self._tally.judged == answered and not others_were_answered:
            raise JudgeError(self._tally.last_error, outage=True)
        return {case.content: verdict for case, verdict in zip(cases, verdicts, strict=True)}

    def _answer(self, case: Case) -> Verdict | None:
        """The judge's verdict, a null one where it failed, None where the budget had no room. Raises StoreError."""
        try:
            if self._tally.out_of_order:
                raise JudgeError(self._tally.last_error, outage=True)
            verdict, span = judged(self._endpoint, case)
        except BudgetUsedUp:
            return None
        except (JudgeError, Unreadable) as error:
            self._tally.failure(str(error), isinstance(error, JudgeError) and error.outage)
            return failed(error)
        self._tally.success()
        kept = {name: getattr(verdict, name) for name in ("value", "label", "reason", "confidence")}
        insert_judgements(self._store, [Judgement(content=case.content, span_id=span.span_id, **kept)])
        return verdict


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
    content = version_of(judge_version, asked.user)
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


def in_sample(span_id: str, share: float) -> bool:
    """Whether a call is among the share, 0..1, that is judged: always the same calls, and more with a larger share."""
    digest = hashlib.sha256(f"judge {span_id}".encode()).digest()
    return int.from_bytes(digest[:8]) < share * 2**64


def failed(error: Exception) -> Verdict:
    """The null verdict of a judge that gave none."""
    return unknown(f"failed: {error}", FAILED)


def _verdict(judgement: Judgement) -> Verdict:
    return Verdict(
        value=judgement.value, reason=judgement.reason, label=judgement.label, confidence=judgement.confidence
    )


def _score(row: Row, case: Case, verdict: Verdict) -> Score:
    return Score(
        target=row["span_id"],
        name=case.metric,
        value=verdict.value,
        label=verdict.label,
        comment=verdict.reason,
        scorer=SCORER,
        scorer_version=case.version,
        source="judge",
        confidence=verdict.confidence,
        project=row["project"],
        model=row["model"],
        session_id=row["session_id"],
        started_at=round(row["started_at"].timestamp() * 1e6),
    )
