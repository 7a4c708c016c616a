"""Judge a sample of the calls in a store.

In: call rows, as `store.spans.calls_after` gives them. Out: score rows of source "judge". The judge's own calls are
stored as spans of kind "judge" in the trace of the call that was judged. The same content (rubric, model, parameters,
texts) is paid for once: verdicts are kept in the store.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from assay.config import Config, Judge, Price, Quality
from assay.errors import StoreError
from assay.ingest.pricing import Prices
from assay.ingest.writer import newest_commit
from assay.quality.calls import Who, conversation_of, score_of
from assay.quality.follower import Follower, cursor_name, first_cursor
from assay.quality.judge.budget import DAY_MICROS, Budget, StoreLedger
from assay.quality.judge.endpoint import BudgetUsedUp, Endpoint, JudgeError
from assay.quality.judge.grading import Unreadable
from assay.quality.judge.judge import SCORER, Case, case_of, failed, judged
from assay.quality.judge.rubric import chosen_rubrics, is_question
from assay.quality.judge.tally import Tally
from assay.quality.retry import Retry
from assay.quality.scorer import Verdict
from assay.records import Score, Span
from assay.store.connect import Row, Store
from assay.store.cursors import START, write_cursor
from assay.store.judgements import Judgement, insert_judgements, judgements_of

Write = Callable[[Sequence[Span]], None]
"""Stores spans anew in place of their former rows."""

ROUNDS = 16
"""So many questions a thread make a batch."""


class Judging:
    """Scores a sample of calls by the judge, several at a time. Used by one follower.

    Raises ConfigError for settings that cannot work.
    """

    def __init__(
        self,
        store: Store,
        settings: Judge,
        prices: Mapping[str, Price],
        write: Write,
    ) -> None:
        self._store = store
        self._settings = settings
        self._rubrics = chosen_rubrics(settings.metrics, settings.rubrics)
        self._budget = Budget(settings.daily_budget_usd, StoreLedger(store, write))
        self._endpoint = Endpoint(settings, Prices(prices), self._budget)
        self._tally = Tally()

    def close(self) -> None:
        """Break off what is under way: a batch in hand is given up, what was judged of it is kept."""
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
                score = score_of(row, Who(case.metric, SCORER, case.version), verdict)
                scores.append(msgspec.structs.replace(score, source="judge"))
            else:
                self._tally.skipped(row["span_id"], self._today)
        return scores

    @property
    def metrics(self) -> list[str]:
        """The scores it gives."""
        return [rubric.metric for rubric in self._rubrics]

    def figures(self) -> dict[str, Any]:
        """What health tells of the judge; `notice` is "" while nothing is left unjudged for want of budget."""
        try:
            spent = self._budget.spent_on_day_of(time.time_ns() // 1000)
        except StoreError:
            spent = None
        return {
            "model": self._settings.model,
            "metrics": self.metrics,
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
        """What keeps the endpoint from answering several questions in a row, "" once it answers again."""
        return self._tally.problem and f"judge: {self._tally.problem}"

    @property
    def _today(self) -> int:
        return time.time_ns() // 1000 // DAY_MICROS

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


def in_sample(span_id: str, share: float) -> bool:
    """Whether a call is among the share, 0..1, that is judged: always the same calls, and more with a larger share."""
    digest = hashlib.sha256(f"judge {span_id}".encode()).digest()
    return int.from_bytes(digest[:8]) < share * 2**64


def _verdict(judgement: Judgement) -> Verdict:
    return Verdict(
        value=judgement.value, reason=judgement.reason, label=judgement.label, confidence=judgement.confidence
    )


def live_judge(store: Store, config: Config, write: Write, settled_at: Callable[[], int]) -> LiveJudge | None:
    """The judge that the settings ask for, None if they ask for none. Raises ConfigError, StoreError."""
    judge = config.quality.judge
    return LiveJudge(store, config.quality, judge, config.prices, write, settled_at) if judge else None


class LiveJudge:
    """Judges new calls while the server runs, until `stop`. `settled_at` tells up to which commit the store is whole.

    A judge that is new to a store begins with the calls that come after it. Raises ConfigError, StoreError.
    """

    def __init__(
        self,
        store: Store,
        settings: Quality,
        judge: Judge,
        prices: Mapping[str, Price],
        write: Write,
        settled_at: Callable[[], int],
    ) -> None:
        self._judging = Judging(store, judge, prices, write)
        if first_cursor(store, SCORER, settings.part) == START:
            write_cursor(store, cursor_name(SCORER, settings.part), (newest_commit(store), "\x7f"))
        self._follower = Follower(
            store,
            self._judging,
            settled_at,
            name=SCORER,
            share=settings.part,
            retry=Retry(store, self._judging, lambda: self._judging.metrics, lambda: (), settings.part, "judge"),
            poll_seconds=settings.poll_seconds,
            batch_size=min(settings.batch_size, _batch_size(judge)),
        )

    def start(self) -> None:
        """Begin to follow."""
        self._follower.start()

    def stop(self) -> None:
        """Break off what is under way, then end. Of a batch in hand what was judged already is not paid for again."""
        self._judging.close()
        self._follower.stop()

    @property
    def caught_up(self) -> bool:
        """Whether no call that is settled waits to be judged."""
        return self._follower.caught_up

    @property
    def problem(self) -> str:
        """What stops the judge at the moment, "" if nothing does."""
        return self._judging.problem or self._follower.last_error

    def figures(self) -> dict[str, Any]:
        """For GET /api/health."""
        return self._judging.figures() | {"lag_seconds": self._follower.lag_seconds}


def _batch_size(judge: Judge) -> int:
    """Calls of which the sample keeps the judge busy for some rounds: scores then come in, and the cursor moves on."""
    questions = max(judge.sample, 1e-3) * max(len(judge.metrics), 1)
    return max(round(ROUNDS * judge.concurrency / questions), 1)
