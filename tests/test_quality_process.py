"""Scoring in processes: one bad scorer costs its own verdicts, and is left alone when it fails again and again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from assay.config import Quality
from assay.processes import ProcessEnded
from assay.quality.process import Scoring, ScoringPool, ScoringProcess
from assay.quality.watch import FAILED, FIRST_REST_SECONDS, MOST_BREAKDOWNS, MOST_FAILURES, Watch
from assay.records import Score
from conftest import eventually

SETTINGS = Quality(custom=["own_scorers"], timeout_seconds=1.0)
STARTED = datetime(2026, 11, 24, tzinfo=UTC)


def call(span_id: str, response: str) -> dict[str, Any]:
    texts = {"prompt": "Hello", "response": response, "system": "", "messages_in": "", "documents": ""}
    where = {"span_id": span_id, "project": "own", "session_id": "", "model": "m", "started_at": STARTED}
    return where | texts | {"finish_reason": "stop", "status": "ok"}


@pytest.fixture
def process() -> Iterator[ScoringProcess]:
    started = ScoringProcess("custom", SETTINGS)
    yield started
    started.close()


def table(scores: list[Score]) -> dict[tuple[str, str], tuple[float | None, str, str]]:
    assert len({(score.target, score.name) for score in scores}) == len(scores), "each once"
    return {(score.target, score.name): (score.value, score.label, score.comment) for score in scores}


def test_a_process_scores_like_the_scorers_themselves(process: ScoringProcess) -> None:
    calls = [call("a", "yes, please"), call("b", "no")]
    assert process(calls) == Scoring.of_lane("custom", SETTINGS).scores(calls)
    found = table(process(calls))
    assert found["a", "politeness"] == (1.0, "", "looked for please")
    assert found["b", "silence"] == (None, "", "not assessable")
    assert process.names == {"politeness", "temper", "silence"}


@pytest.mark.parametrize(
    ("deed", "reason"), [("raise", "failed: ValueError: lost my temper"), ("crash", "ended"), ("hang", "silent")]
)
def test_a_scorer_that_fails_costs_one_verdict(process: ScoringProcess, deed: str, reason: str) -> None:
    found = table(process([call("a", "please"), call("bad", deed), call("c", "please")]))
    assert len(found) == 9
    value, label, comment = found.pop(("bad", "temper"))
    assert (value, label) == (None, FAILED)
    assert reason in comment or "said nothing for 1 s" in comment
    assert found["c", "politeness"][0] == found["c", "temper"][0] == 1.0
    assert found["bad", "politeness"][0] == 0.0
    assert process.watch.failures == {"temper": 1}
    assert table(process([call("d", "fine")]))["d", "temper"][0] == 1.0


def test_a_scorer_that_breaks_down_again_and_again_rests_and_the_others_go_on(process: ScoringProcess) -> None:
    crashes = [call(str(number), "crash") for number in range(MOST_BREAKDOWNS + 2)]
    found = table(process(crashes))
    assert len(found) == 3 * len(crashes)
    assert {found[str(number), "temper"][1] for number in range(len(crashes))} == {FAILED}
    assert found["4", "temper"][2].startswith("not scored: the scorer rests, it failed again and again (process ")
    assert found["4", "politeness"][0] == 0.0
    assert list(process.watch.resting) == ["temper"]
    assert table(process([call("x", "fine")]))["x", "temper"][0] is None, "left out while it rests"


def test_what_ends_a_process_while_no_scorer_is_at_work_is_told(process: ScoringProcess) -> None:
    process.start().kill()
    with pytest.raises(ProcessEnded):
        process([call("a", "fine")])
    assert table(process([call("a", "fine")]))["a", "temper"][0] == 1.0, "the next batch has a new process"


def test_a_pool_spreads_a_batch_and_can_be_ended_in_the_middle_of_it() -> None:
    pool = ScoringPool("custom", SETTINGS.model_copy(update={"timeout_seconds": 60.0}), processes=2)
    try:
        found = table(pool([call(str(number), "please") for number in range(5)]))
        assert len(found) == 15
        assert len({process.start().pid for process in pool.processes}) == 2
        under_way = pool.submit([call("a", "hang")])
        eventually(under_way.running)
        pool.kill()
        with pytest.raises(ProcessEnded):
            under_way.result(10)
    finally:
        pool.close()


def failed(name: str = "own") -> Score:
    return Score(target="t", name=name, value=None, label=FAILED, comment="why", started_at=1)


def good(name: str = "own") -> Score:
    return Score(target="t", name=name, value=1.0, started_at=1)


def test_a_rest_begins_after_so_many_failures_in_a_row_and_grows_until_a_verdict_succeeds() -> None:
    now = 1000.0
    watch = Watch(lambda: now)
    watch.saw([failed()] * (MOST_FAILURES - 1) + [good()] + [failed()] * (MOST_FAILURES - 1))
    assert watch.resting == {}
    watch.saw([failed()])
    assert watch.resting == {"own": "why"}
    now += FIRST_REST_SECONDS
    assert watch.resting == {}
    watch.saw([failed()])
    assert watch.resting == {"own": "why"}, "one failure more is enough"
    now += FIRST_REST_SECONDS
    assert watch.resting == {"own": "why"}, "twice as long"
    now += FIRST_REST_SECONDS
    watch.saw([good(), failed()])
    assert watch.resting == {}
    assert watch.failures == {"own": 2 * MOST_FAILURES + 1}
