"""The follower: every new call scored, once, whatever stops or fails meanwhile."""

from __future__ import annotations

import json
import secrets
import threading
import time
from typing import Any

import pytest

from assay.errors import StoreError
from assay.ingest.writer import newest_commit
from assay.quality.follower import NAME, Follower, Work, cursor_name, first_cursor
from assay.quality.lanes import Loaded
from assay.quality.process import Scoring
from assay.quality.retry import Retry
from assay.quality.scorer import Conversation, Verdict
from assay.records import Span
from assay.store.connect import Row, Store
from assay.store.cursors import START as START_CURSOR
from assay.store.cursors import read_cursor, write_cursor
from assay.store.rows import arrow_schema, arrow_table, stamped
from assay.store.scores import scores_of
from conftest import eventually

START = 1_763_899_200_000_000


class Length:
    """Scores a response by its length, and remembers what it was shown."""

    name, scorer, version = "length", "test", "1"

    def __init__(self) -> None:
        self.seen: list[Conversation] = []

    def score(self, conversation: Conversation) -> Verdict:
        self.seen.append(conversation)
        return Verdict(value=len(conversation.response) / 100, reason="counted", label="text", confidence=0.5)


class Broken:
    name, scorer, version = "broken", "test", "1"

    def score(self, conversation: Conversation) -> Verdict:
        raise ZeroDivisionError("no words to divide by")


class Astray:
    name, scorer, version = "astray", "test", "1"

    def score(self, conversation: Conversation) -> Verdict:
        return Verdict(value=1.5, reason="too sure")


@pytest.fixture(autouse=True)
def at_the_newest_commit(store: Store) -> None:
    """Followers share one cursor: what other tests stored is behind it, so each test sees its own calls only."""
    write_cursor(store, NAME, (newest_commit(store), "\x7f"))


def commit(store: Store, *calls: dict[str, Any]) -> list[str]:
    """Store calls as one commit; answers their span ids."""
    at = max(time.time_ns() // 1000, newest_commit(store) + 1)
    own = {"project": "followed", "kind": "llm", "counted": True, "started_at": START, "response": "ok"}
    spans = [Span(**{"trace_id": secrets.token_hex(16), "span_id": secrets.token_hex(8)} | own | c) for c in calls]
    store.insert("spans", stamped(arrow_table(spans, arrow_schema(Span)), at))
    return [span.span_id for span in spans]


def following(store: Store, *scorers: Any, **options: Any) -> Follower:
    return Follower(store, work(*scorers), lambda: newest_commit(store), **options)


def work(*scorers: Any) -> Work:
    return Scoring(Loaded(scorers or (Length(),))).scores


def verdicts_on(store: Store, span_id: str) -> list[Row]:
    [verdicts] = scores_of(store, [span_id]).values()
    return verdicts


def scored(store: Store, span_ids: list[str]) -> set[str]:
    return {target for _, target in scores_of(store, span_ids)}


def test_a_new_call_is_scored_with_all_that_a_chart_needs(store: Store) -> None:
    call = {"project": "bot", "session_id": "s1", "request_model": "m", "response_model": "m-1", "response": "x" * 25}
    [span_id] = commit(store, call)
    assert following(store).step() == 1
    [row] = store.query("SELECT * FROM scores FINAL WHERE target = {id:String}", {"id": span_id})
    assert row.pop("ingested_at") is not None
    assert row.pop("version") > START
    assert row.pop("started_at").timestamp() == START / 1e6
    assert row == {
        "target": span_id,
        "name": "length",
        "value": 0.25,
        "label": "text",
        "comment": "counted",
        "scorer": "test",
        "scorer_version": "1",
        "source": "scorer",
        "author": "",
        "counted": True,
        "confidence": 0.5,
        "project": "bot",
        "model": "m-1",
        "session_id": "s1",
    }


def test_what_is_scored_is_not_scored_again(store: Store) -> None:
    scorer = Length()
    follower = following(store, scorer)
    commit(store, {"response": "one"}, {"response": "two"})
    assert [follower.step(), follower.step()] == [2, 0]
    commit(store, {"response": "three"})
    assert [follower.step(), follower.step()] == [1, 0]
    assert sorted(seen.response for seen in scorer.seen) == ["one", "three", "two"]
    assert follower.scored_calls == 3


def test_a_restart_goes_on_where_the_former_process_stopped(store: Store) -> None:
    commit(store, {"response": "before"})
    following(store).step()
    commit(store, {"response": "meanwhile"})
    scorer = Length()
    restarted = following(store, scorer)
    assert restarted.step() == 1
    assert [seen.response for seen in scorer.seen] == ["meanwhile"]


def test_a_crash_between_scores_and_cursor_repeats_and_doubles_nothing(store: Store) -> None:
    [span_id] = commit(store, {})
    before = read_cursor(store, NAME)
    following(store).step()
    write_cursor(store, NAME, before)
    assert following(store).step() == 1
    assert len(verdicts_on(store, span_id)) == 1


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5])
def test_one_commit_larger_than_a_batch_is_scored_whole_without_waiting_for_the_next(
    store: Store, batch_size: int
) -> None:
    span_ids = commit(store, *[{}] * 5)
    follower = following(store, batch_size=batch_size)
    counts = [follower.step() for _ in range(7)]
    assert scored(store, span_ids) == set(span_ids)
    assert sum(counts) == 5, "none twice"


def test_a_restart_inside_a_commit_misses_none(store: Store) -> None:
    span_ids = commit(store, *[{}] * 3)
    for _ in range(3):
        following(store, batch_size=1).step()
    assert scored(store, span_ids) == set(span_ids)


def test_several_commits_are_scored_oldest_first_in_batches(store: Store) -> None:
    span_ids = [commit(store, {})[0] for _ in range(3)]
    follower = following(store, batch_size=2)
    assert follower.step() == 2
    assert scored(store, span_ids) == set(span_ids[:2])
    assert follower.step() == 1
    assert scored(store, span_ids) == set(span_ids)


def test_a_commit_that_may_not_be_whole_yet_is_left_for_later(store: Store) -> None:
    before = newest_commit(store)
    span_ids = commit(store, {})
    until = before
    follower = Follower(store, work(), lambda: until)
    assert follower.step() == 0
    until = newest_commit(store)
    assert follower.step() == 1
    assert scored(store, span_ids) == set(span_ids)


def test_only_counted_answers_of_language_models_are_scored(store: Store) -> None:
    span_ids = commit(
        store,
        {"status": "error", "error_type": "Timeout"},
        {"counted": False},
        {"kind": "embedding"},
        {"kind": "agent"},
        {"response": ""},
    )
    follower = following(store)
    follower.step()
    assert scored(store, span_ids) == {span_ids[-1]}
    assert follower.step() == 0


def test_a_batch_of_failed_calls_does_not_stop_those_behind_it(store: Store) -> None:
    commit(store, *[{"status": "error"}] * 2)
    [good] = commit(store, {})
    follower = following(store, batch_size=2)
    follower.step()
    follower.step()
    assert scored(store, [good]) == {good}


def test_a_scorer_that_fails_is_recorded_with_its_reason_and_the_others_go_on(store: Store) -> None:
    [span_id] = commit(store, {"response": "fine"})
    following(store, Broken(), Length(), Astray()).step()
    verdicts = verdicts_on(store, span_id)
    assert [(row["name"], row["value"], row["label"], row["comment"]) for row in verdicts] == [
        ("astray", None, "failed", "failed: value 1.5 is not within 0..1"),
        ("broken", None, "failed", "failed: ZeroDivisionError: no words to divide by"),
        ("length", 0.04, "text", "counted"),
    ]


def test_a_scorer_sees_the_conversation_with_its_history_and_what_was_retrieved(store: Store) -> None:
    def said(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
        return {"role": role, "parts": list(parts)}

    history = [
        said("user", {"type": "text", "content": "Hello"}),
        said("assistant", {"type": "text", "content": "Hi!"}),
        said("tool", {"type": "tool_call_response", "id": "1", "response": "Paris: 18 degrees"}),
        said("user", {"type": "text", "content": "And now?"}),
    ]
    commit(
        store,
        {
            "prompt": "And now?",
            "response": "18 degrees.",
            "system": "Be brief.",
            "messages_in": json.dumps(history),
            "documents": json.dumps([{"id": "d", "content": "A document."}]),
            "finish_reason": "stop",
        },
    )
    scorer = Length()
    following(store, scorer).step()
    [seen] = scorer.seen
    assert (seen.prompt, seen.response, seen.system, seen.finish_reason) == (
        "And now?",
        "18 degrees.",
        "Be brief.",
        "stop",
    )
    assert seen.context == ("A document.", "Paris: 18 degrees")
    assert seen.history[:2] == ("Hello", "Hi!")
    assert "And now?" not in seen.history


def test_messages_that_are_no_json_do_not_stop_the_follower(store: Store) -> None:
    span_ids = commit(
        store, {"messages_in": "{broken", "documents": "[1, null, {}]"}, {"messages_in": '[{"parts": 3}]'}
    )
    assert following(store).step() == 2
    assert scored(store, span_ids) == set(span_ids)


def test_the_lag_is_the_age_of_what_waits(store: Store) -> None:
    commit(store, {})
    follower = following(store)
    follower.step()
    assert follower.lag_seconds == 0
    time.sleep(0.05)
    commit(store, {})
    assert 0.04 < follower.lag_seconds < 10
    follower.step()
    assert follower.lag_seconds == 0


class Failing:
    """The store, except that it refuses to be asked while `broken`; remembers when it was asked for calls."""

    def __init__(self, store: Store) -> None:
        self.broken = threading.Event()
        self.asked_at: list[float] = []
        self.insert = store.insert
        self.command = store.command
        self._store = store

    def query(self, sql: str, parameters: Any = None) -> list[dict[str, Any]]:
        if "FROM spans" in sql:
            self.asked_at.append(time.monotonic())
            if self.broken.is_set():
                raise StoreError("the store cannot answer: out of disk")
        return self._store.query(sql, parameters)


def test_errors_of_the_store_are_told_waited_out_and_recovered_from(store: Store) -> None:
    failing: Any = Failing(store)
    failing.broken.set()
    follower = Follower(failing, work(), lambda: newest_commit(store), poll_seconds=0.02)
    span_ids = commit(store, {}, {})
    follower.start()
    try:
        eventually(lambda: len(failing.asked_at) == 5)
        assert follower.last_error == "scoring: the store cannot answer: out of disk"
        pauses = [after - before for before, after in zip(failing.asked_at, failing.asked_at[1:], strict=False)]
        assert all(pause > 0.9 * 0.02 * 2 ** (n + 1) for n, pause in enumerate(pauses)), pauses
        failing.broken.clear()
        eventually(lambda: scored(store, span_ids) == set(span_ids))
        eventually(lambda: not follower.last_error)
        asked = commit(store, {})
        recovered = time.monotonic()
        eventually(lambda: scored(store, asked) == set(asked))
        assert time.monotonic() - recovered < 5, "polls quickly again"
    finally:
        follower.stop()


def test_a_follower_scores_in_the_background_until_it_is_stopped(store: Store) -> None:
    follower = following(store, poll_seconds=0.02)
    follower.start()
    try:
        span_ids = commit(store, {}, {}, {})
        eventually(lambda: scored(store, span_ids) == set(span_ids))
    finally:
        follower.stop()
    later = commit(store, {})
    time.sleep(0.1)
    assert scored(store, later) == set()


def test_a_follower_that_never_started_stops(store: Store) -> None:
    following(store).stop()


@pytest.fixture
def lane() -> str:
    """A follower's name that no other test uses."""
    return f"lane {secrets.token_hex(4)}"


def test_followers_share_the_calls_of_one_store(store: Store, lane: str) -> None:
    begin = newest_commit(store)
    span_ids = commit(store, *[{}] * 40)
    for index in range(3):
        write_cursor(store, cursor_name(lane, (index, 3)), (begin, "\x7f"))
    followers = [following(store, name=lane, share=(index, 3)) for index in range(3)]
    counts = [follower.step() for follower in followers]
    assert sum(counts) == 40
    assert min(counts) > 0
    assert scored(store, span_ids) == set(span_ids)


def test_who_takes_over_a_share_goes_on_where_the_last_of_the_former_was(store: Store, lane: str) -> None:
    assert first_cursor(store, lane, (0, 1)) == START_CURSOR
    write_cursor(store, lane, (100, "a"))
    assert first_cursor(store, lane, (2, 3)) == (100, "a"), "three after one"
    for index, at in enumerate((300, 200, 400)):
        write_cursor(store, cursor_name(lane, (index, 3)), (at, "b"))
    assert first_cursor(store, lane, (2, 3)) == (400, "b"), "its own"
    assert first_cursor(store, lane, (0, 1)) == (200, "b"), "one after three"
    write_cursor(store, lane, (500, "c"))
    assert first_cursor(store, lane, (1, 3)) == (500, "c"), "three after one again"


class Moody(Length):
    """Fails as long as it is in a mood."""

    name = "moody"
    failing = True

    def score(self, conversation: Conversation) -> Verdict:
        if self.failing:
            raise ConnectionError("not now")
        return super().score(conversation)


def test_a_failed_verdict_is_tried_again_later_and_given_up_in_the_end(store: Store) -> None:
    moody, now = Moody(), time.time()
    names = ("moody", "length")
    retry = Retry(store, work(moody, Length()), lambda: names, lambda: (), now=lambda: now)
    follower = following(store, moody, Length(), retry=retry)
    [healed], [hopeless] = commit(store, {"response": "x"}), commit(store, {"response": "y"})
    follower.step()

    def labels(span_id: str) -> list[str]:
        return [row["label"] for row in verdicts_on(store, span_id) if row["name"] == "moody"]

    retry.step()
    assert labels(healed) == ["failed"], "too soon"
    moody.failing = False
    rescue = Retry(
        store,
        lambda calls: work(moody)([c for c in calls if c["span_id"] == healed]),
        lambda: names,
        lambda: (),
        now=lambda: now,
    )
    now += 20
    rescue.step()
    assert labels(healed) == ["text"]
    moody.failing = True
    for pause in (0, 70, 700):
        assert labels(hopeless) == ["failed"]
        now += pause
        retry.step()
    assert labels(hopeless) == ["gave up"]
    [kept] = [row for row in verdicts_on(store, hopeless) if row["name"] == "moody"]
    assert kept["comment"] == "failed: ConnectionError: not now"


def test_what_rests_is_not_tried_again(store: Store) -> None:
    moody, now = Moody(), time.time() + 60
    [span_id] = commit(store, {})
    following(store, moody).step()
    moody.failing = False
    resting = {"moody"}
    retry = Retry(store, work(moody), lambda: ("moody",), lambda: resting, now=lambda: now)
    retry.step()
    assert verdicts_on(store, span_id)[0]["label"] == "failed"
    resting.clear()
    now += 60
    retry.step()
    assert verdicts_on(store, span_id)[0]["value"] == 0.02
