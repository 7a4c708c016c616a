"""What every scorer may rely on, and what is made of one that misbehaves."""

import math

import pytest

from assay.quality.scorer import Conversation, Verdict, assess
from assay.quality.sets import scorers


class Stub:
    scorer = "stub"
    version = "1"

    def __init__(self, name: str, answer: object) -> None:
        self.name = name
        self._answer = answer

    def score(self, conversation: Conversation) -> Verdict:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer  # type: ignore[return-value]


def verdict(value: object, **more: object) -> Verdict:
    return Verdict(value=value, reason="said so", **more)  # type: ignore[arg-type]


def test_a_scorer_that_raises_is_null_with_the_reason_and_the_others_go_on():
    found = assess([Stub("bad", KeyError("weights")), Stub("good", verdict(0.5))], Conversation(response="x"))
    assert found == {
        "bad": Verdict(value=None, reason="failed: KeyError: 'weights'", label="failed"),
        "good": verdict(0.5),
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.001, 1.001, "high"])
def test_a_value_that_is_no_number_within_0_and_1_becomes_null(value: object):
    found = assess([Stub("odd", verdict(value))], Conversation(response="x"))["odd"]
    assert found == Verdict(value=None, reason=f"failed: value {value!r} is not within 0..1", label="failed")


def test_an_answer_that_is_no_verdict_becomes_null():
    found = assess([Stub("odd", 0.7)], Conversation(response="x"))["odd"]
    assert found == Verdict(value=None, reason="failed: answered 0.7 instead of a Verdict", label="failed")


def test_a_confidence_that_is_no_number_is_dropped_and_the_value_kept():
    assert assess([Stub("odd", verdict(0.5, confidence=math.nan))], Conversation())["odd"] == verdict(0.5)


@pytest.mark.parametrize("value", [0.0, 1.0, 0, 1])
def test_the_ends_of_the_scale_are_valid(value: float):
    assert assess([Stub("edge", verdict(value))], Conversation())["edge"].value == value


def test_a_set_that_does_not_exist_is_refused_with_the_names_of_those_that_do():
    with pytest.raises(ValueError, match=r"no scorer set 'gold'; there are: lexical, local, onnx, judge"):
        scorers("gold")


@pytest.mark.parametrize(("name", "metrics"), [("lexical", 4), ("local", 6)])
def test_every_scorer_of_a_set_has_a_name_a_maker_and_a_version(name: str, metrics: int):
    members = scorers(name)
    assert {s.scorer for s in members} == {name}
    assert len({s.name for s in members}) == len(members) == metrics
    assert all(len(s.version) == 12 for s in members)
    assert [s.version for s in members] == [s.version for s in scorers(name)]
