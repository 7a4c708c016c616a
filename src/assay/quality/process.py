"""Scoring in processes of its own: taking spans keeps its core, and a scorer that hangs or crashes costs one verdict.

A process tells which scorer is at which call before each of them. Where it dies or falls silent, that verdict is
recorded as failed, a new process is started, and the rest of the batch is scored there.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, repeat
from typing import NamedTuple

from assay.config import Quality
from assay.processes import ProcessEnded, RemoteObject
from assay.quality.calls import Who, conversation_of, score_of
from assay.quality.fit.fitted import fitted_scorers
from assay.quality.lanes import Lane, Loaded, load
from assay.quality.scorer import SHARED, Conversation, Scorer, Verdict, guarded, guarded_all, unknown
from assay.quality.watch import FAILED, Watch
from assay.records import Score
from assay.store.connect import Row
from assay.store.fits import Fits

WHOLE_BATCH = ""
"""Stands for a call's id where a scorer is at several calls together."""


QUICK = ("local", "lexical")
"""Tiers whose scorers take about a millisecond a call: to tell of each call would cost more."""

ALL: frozenset[str] = frozenset()
"""Stands for all scores."""


class At(NamedTuple):
    """Where scoring is: a score's name and a call's span id (or WHOLE_BATCH)."""

    name: str
    span_id: str


class Description(NamedTuple):
    """Who scores, all scores that could be asked for, and what kept scorers from being loaded."""

    who: list[Who]
    offered: list[str]
    problems: list[str]


class Scoring:
    """Loaded scorers at work; what runs in the process."""

    def __init__(self, loaded: Loaded, only: frozenset[str] = ALL) -> None:
        self._offered, self._problems = loaded
        self._scorers = [one for one in self._offered if not only or one.name in only]
        self._fitted: Mapping[str, Sequence[Scorer]] = {}

    @classmethod
    def of_lane(cls, lane: Lane, settings: Quality, only: frozenset[str] = ALL) -> Scoring:
        """With this lane's scorers that give one of the scores `only`, or with all of them."""
        return cls(load(lane, settings), only)

    def describe(self) -> Description:
        """Who scores here."""
        names = [one.name for one in self._offered]
        return Description(list(map(Who.of, self._scorers)), names, list(self._problems))

    def use(self, fits: Fits) -> None:
        """Score these projects' calls by what was fitted to them from now on, all others by what ships."""
        self._fitted = {project: fitted_scorers(self._scorers, of) for project, of in fits.items()}

    def score(
        self, calls: Sequence[Row], without: Collection[str] = (), broken: Collection[At] = ()
    ) -> Generator[At, None, list[Score]]:
        """The scores of these calls, telling where it is; leaves out the scores `without` and what broke before."""
        scores = list[Score]()
        for project, of_project in self._by_fit(calls):
            for start in range(0, len(of_project), SHARED):
                part = of_project[start : start + SHARED]
                conversations = list(map(conversation_of, part))
                for scorer in self._fitted.get(project, self._scorers):
                    if scorer.name not in without:
                        scores += yield from _part(scorer, part, conversations, broken)
        return scores

    def _by_fit(self, calls: Sequence[Row]) -> Iterable[tuple[str, Sequence[Row]]]:
        """The calls of each project that something was fitted to, and all others together under ""."""
        groups: dict[str, list[Row]] = {}
        for call in calls:
            groups.setdefault(call["project"] if call["project"] in self._fitted else "", []).append(call)
        return groups.items()

    def scores(self, calls: Sequence[Row]) -> list[Score]:
        """The same in this process, without a word in between."""
        steps = self.score(calls)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value


def _part(
    scorer: Scorer, calls: Sequence[Row], conversations: Sequence[Conversation], broken: Collection[At]
) -> Generator[At, None, list[Score]]:
    """One scorer's scores of some calls: of all at once (or as many as its `together`) where it takes or is quick
    enough for that, and has not broken down over it."""
    whole, who = At(scorer.name, WHOLE_BATCH), Who.of(scorer)
    if (scorer.scorer in QUICK or hasattr(scorer, "score_all")) and whole not in broken:
        verdicts = list[Verdict]()
        together: int = getattr(scorer, "together", SHARED)
        for start in range(0, len(calls), together):
            yield whole
            verdicts += guarded_all(scorer, conversations[start : start + together])
        return list(map(score_of, calls, repeat(who), verdicts))
    scores = list[Score]()
    for call, conversation in zip(calls, conversations, strict=True):
        at = At(scorer.name, call["span_id"])
        if at not in broken:
            yield at
            scores.append(score_of(call, who, guarded(scorer, conversation)))
    return scores


class ScoringProcess:
    """Scores batches of calls in its process. Call it from one thread at a time; `close` at the end."""

    def __init__(
        self, lane: Lane, settings: Quality, only: frozenset[str] = ALL, fits: Callable[[], Fits] = dict
    ) -> None:
        self.watch = Watch()
        self.offered: Collection[str] = ()
        self.problems: Sequence[str] = ()
        self._lane: Lane = lane
        self._settings = settings
        self._only = only
        self._fits = fits
        self._used: Fits = {}
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
            self._remote = RemoteObject(Scoring.of_lane, self._lane, self._settings, self._only)
            who, self.offered, self.problems = self._remote.ask("describe")
            self._who = {one.name: one for one in who}
            self._used = {}
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
        patience, remote, fits = self._settings.timeout_seconds, self.start(), self._fits()
        if fits != self._used:
            remote.ask("use", fits)
            self._used = fits
        return remote.ask("score", calls, frozenset(resting), frozenset(broken), patience=patience)

    def _failed(self, calls: Sequence[Row], broken: dict[At, str], resting: dict[str, str]) -> Generator[Score]:
        for call in calls:
            reasons = {
                name: f"not scored: the scorer rests, it failed again and again ({why})"
                for name, why in resting.items()
            }
            reasons |= {at.name: why for at, why in broken.items() if at.span_id == call["span_id"]}
            for name, why in reasons.items():
                yield score_of(call, self._who[name], unknown(why, FAILED))


class ScoringPool:
    """Several processes of one lane. `submit` a batch from any thread, or call it, which spreads the batch."""

    def __init__(
        self,
        lane: Lane,
        settings: Quality,
        processes: int = 1,
        only: frozenset[str] = ALL,
        fits: Callable[[], Fits] = dict,
    ) -> None:
        self.processes = [ScoringProcess(lane, settings, only, fits) for _ in range(processes)]
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

    def offered(self) -> Collection[str]:
        """All scores that could be asked for. Starts a process if none runs: raises what that does."""
        self.submit([]).result()
        return {name for process in self.processes for name in process.offered}

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
