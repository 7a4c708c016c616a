"""Scoring in processes of its own: taking spans keeps its core, and a scorer that hangs or crashes costs one verdict.

A process tells which scorer is at which call before each of them. Where it dies or falls silent, that verdict is
recorded as failed, a new process is started, and the rest of the batch is scored there.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Collection, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import NamedTuple

from assay.config import Quality
from assay.processes import ProcessEnded, RemoteObject
from assay.quality.calls import Who, conversation_of, score_of
from assay.quality.lanes import Lane, Loaded, load
from assay.quality.scorer import Conversation, Scorer, Verdict, checked, guarded, unknown
from assay.quality.watch import FAILED, Watch
from assay.records import Score
from assay.store.connect import Row

WHOLE_BATCH = ""
"""Stands for a call's id where a scorer is at all calls of a batch together."""

BATCH = 64
"""Calls that a scorer which takes batches gets at once, within the time limit of one."""


log = logging.getLogger(__name__)


class At(NamedTuple):
    """Where scoring is: a score's name and a call's span id (or WHOLE_BATCH)."""

    name: str
    span_id: str


class Scoring:
    """Loaded scorers at work; what runs in the process."""

    def __init__(self, loaded: Loaded) -> None:
        self._scorers, self._problems = loaded

    @classmethod
    def of_lane(cls, lane: Lane, settings: Quality) -> Scoring:
        """With the scorers of this lane."""
        return cls(load(lane, settings))

    def describe(self) -> tuple[list[Who], list[str]]:
        """Who scores here, and what kept others from being loaded."""
        return list(map(Who.of, self._scorers)), list(self._problems)

    def score(
        self, calls: Sequence[Row], without: Collection[str] = (), broken: Collection[At] = ()
    ) -> Generator[At, None, list[Score]]:
        """The scores of these calls, telling where it is; leaves out the scores `without` and what broke before."""
        conversations = [conversation_of(call) for call in calls]
        scores = list[Score]()
        singly = list[Scorer]()
        for scorer in self._scorers:
            if scorer.name in without:
                continue
            if not hasattr(scorer, "score_all") or At(scorer.name, WHOLE_BATCH) in broken:
                singly.append(scorer)
                continue
            verdicts = list[Verdict]()
            for start in range(0, len(calls), BATCH):
                yield At(scorer.name, WHOLE_BATCH)
                verdicts += _together(scorer, conversations[start : start + BATCH])
            scores += map(score_of, calls, [Who.of(scorer)] * len(calls), verdicts)
        for call, conversation in zip(calls, conversations, strict=True):
            for scorer in singly:
                at = At(scorer.name, call["span_id"])
                if at not in broken:
                    yield at
                    scores.append(score_of(call, Who.of(scorer), guarded(scorer, conversation)))
        return scores

    def scores(self, calls: Sequence[Row]) -> list[Score]:
        """The same in this process, without a word in between."""
        steps = self.score(calls)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value


def _together(scorer: Scorer, conversations: Sequence[Conversation]) -> list[Verdict]:
    """The verdicts of a scorer that takes batches; where it fails on a batch, each conversation is tried alone."""
    try:
        verdicts = list(map(checked, scorer.score_all(conversations)))  # pyright: ignore[reportAttributeAccessIssue]
        if len(verdicts) == len(conversations):
            return verdicts
    except Exception:
        log.warning("%s cannot score a batch of %d", scorer.name, len(conversations), exc_info=True)
    return [guarded(scorer, conversation) for conversation in conversations]


class ScoringProcess:
    """Scores batches of calls in its process. Call it from one thread at a time; `close` at the end."""

    def __init__(self, lane: Lane, settings: Quality, watch: Watch | None = None) -> None:
        self.watch = watch or Watch()
        self.problems: Sequence[str] = ()
        self._lane: Lane = lane
        self._settings = settings
        self._remote: RemoteObject | None = None
        self._ending = False
        self._who: dict[str, Who] = {}

    @property
    def names(self) -> Collection[str]:
        """The scores it gives, once it has started."""
        return self._who.keys()

    def start(self) -> RemoteObject:
        """The process, started where there is none. Raises ProcessEnded where it cannot start."""
        if self._remote is None:
            self._remote = RemoteObject(Scoring.of_lane, self._lane, self._settings)
            who, self.problems = self._remote.ask("describe")
            self._who = {one.name: one for one in who}
        return self._remote

    def kill(self) -> None:
        """End the process for good, from any thread: who waits for scores gets ProcessEnded."""
        self._ending = True
        if remote := self._remote:
            remote.kill()

    def close(self) -> None:
        """End the process."""
        if self._remote is not None:
            self._remote.close()
            self._remote = None

    def __call__(self, calls: Sequence[Row]) -> list[Score]:
        """The scores of these calls, a null one with the reason for each that failed.

        Raises ProcessEnded where no scorer is to blame.
        """
        broken: dict[At, str] = {}
        while True:
            resting = self.watch.resting
            try:
                scores = self._asked(calls, resting, broken)
            except ProcessEnded as error:
                self.close()
                if self._ending or not isinstance(error.told, At) or error.told in broken:
                    raise
                broken[error.told] = f"failed: {error}"
                self.watch.broke_down(error.told.name, str(error))
            else:
                self.watch.saw(scores)
                return [*scores, *self._failed(calls, broken, resting)]

    def _asked(self, calls: Sequence[Row], resting: dict[str, str], broken: dict[At, str]) -> list[Score]:
        patience = self._settings.timeout_seconds
        return self.start().ask("score", calls, frozenset(resting), frozenset(broken), patience=patience)

    def _failed(self, calls: Sequence[Row], broken: dict[At, str], resting: dict[str, str]) -> Generator[Score]:
        for call in calls:
            for (name, span_id), why in broken.items():
                if span_id == call["span_id"]:
                    yield score_of(call, self._who[name], unknown(why, FAILED))
            for name, why in resting.items():
                reason = f"not scored: the scorer rests, it failed again and again ({why})"
                yield score_of(call, self._who[name], unknown(reason, FAILED))


class ScoringPool:
    """Several processes of one lane. `submit` a batch from any thread, or call it, which spreads the batch."""

    def __init__(self, lane: Lane, settings: Quality, processes: int = 1) -> None:
        self.processes = [ScoringProcess(lane, settings) for _ in range(processes)]
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix=f"assay-{lane}")
        self._idle: queue.SimpleQueue[ScoringProcess] = queue.SimpleQueue()
        for process in self.processes:
            self._idle.put(process)

    def submit(self, calls: Sequence[Row]) -> Future[list[Score]]:
        """The scores of these calls, by the next process that is free: see ScoringProcess."""
        return self._threads.submit(self._score, calls)

    def __call__(self, calls: Sequence[Row]) -> list[Score]:
        """The scores of these calls, which all processes share."""
        parts = [calls[start :: len(self.processes)] for start in range(len(self.processes))]
        return list(chain.from_iterable(part.result() for part in list(map(self.submit, parts))))

    def kill(self) -> None:
        """End the processes in the middle of their work."""
        for process in self.processes:
            process.kill()

    def close(self) -> None:
        """Finish what was submitted, then end the processes."""
        self._threads.shutdown()
        for process in self.processes:
            process.close()

    @property
    def names(self) -> Collection[str]:
        """The scores it gives, once it has started."""
        return {name for process in self.processes for name in process.names}

    @property
    def problems(self) -> list[str]:
        """What kept scorers from being loaded."""
        return list(dict.fromkeys(problem for process in self.processes for problem in process.problems))

    @property
    def resting(self) -> dict[str, str]:
        """Scores that some process leaves out for now, each with its last failure."""
        return {name: why for process in self.processes for name, why in process.watch.resting.items()}

    @property
    def failures(self) -> dict[str, int]:
        """How often each scorer failed, where it ever did."""
        counts = dict[str, int]()
        for process in self.processes:
            for name, count in process.watch.failures.items():
                counts[name] = counts.get(name, 0) + count
        return counts

    def _score(self, calls: Sequence[Row]) -> list[Score]:
        process = self._idle.get()
        try:
            return process(calls)
        finally:
            self._idle.put(process)
