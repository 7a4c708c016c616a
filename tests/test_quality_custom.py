"""Scorers of one's own: how they are written, found, and kept from standing in the way of those that ship."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest
from pydantic import ValidationError

import own_scorers
from assay.config import Quality
from assay.quality import custom
from assay.quality.custom import CustomScorer, custom_scorers, scorer
from assay.quality.lanes import lanes, load
from assay.quality.scorer import Conversation, Verdict, guarded
from assay.quality.sets import SHIPPED, scorers

POLITE = Conversation(response="please")


@pytest.mark.parametrize(
    ("answer", "value", "reason"),
    [
        (True, 1.0, ""),
        (0.25, 0.25, ""),
        ((False, "no"), 0.0, "no"),
        (None, None, "not assessable"),
        ((None, "too short"), None, "too short"),
        (Verdict(value=0.5, reason="own"), 0.5, "own"),
    ],
)
def test_a_function_may_answer_in_several_ways(answer: Any, value: float | None, reason: str) -> None:
    verdict = guarded(scorer("own")(lambda _: answer), POLITE)
    assert (verdict.value, verdict.reason) == (value, reason)


@pytest.mark.parametrize("answer", ["good", 7, (0.5, "too", "many"), float("nan"), [0.5]])
def test_a_function_that_answers_nonsense_fails_with_its_reason(answer: Any) -> None:
    verdict = guarded(scorer("own")(lambda _: answer), POLITE)
    assert (verdict.value, verdict.label) == (None, "failed")
    assert verdict.reason.startswith("failed: ")


@pytest.mark.parametrize("name", ["", "two words", "1st", "ö", "x" * 65])
def test_a_name_that_no_score_can_have_is_refused_where_it_is_written(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a score"):
        scorer(name)


def test_the_version_follows_the_source_of_the_function() -> None:
    def one(conversation: Conversation) -> float:
        return 0.1

    def other(conversation: Conversation) -> float:
        return 0.2

    versions = [scorer("own")(function).version for function in (one, one, other)]
    assert versions[0] == versions[1] != versions[2]
    assert own_scorers.temper.version == "7"


def test_a_decorated_function_can_still_be_called() -> None:
    assert own_scorers.politeness(POLITE) == (True, "looked for please")
    assert own_scorers.temper.__doc__ == "Does to the process what the response asks for."


def test_modules_and_entry_points_are_found_and_what_is_broken_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        EntryPoint("kindness", "own_scorers:politeness", custom.GROUP),
        EntryPoint("length", "builtins:len", custom.GROUP),
        EntryPoint("gone", "no_such_package:thing", custom.GROUP),
    ]
    monkeypatch.setattr(custom, "entry_points", lambda group: entries)
    found, problems = custom_scorers(["own_scorers", "no_such_module", "json"])
    assert [one.name for one in found] == ["politeness", "temper", "silence", "length"]
    assert problems == [
        "[quality] custom: module 'no_such_module' cannot be loaded: ModuleNotFoundError: "
        "No module named 'no_such_module'",
        "[quality] custom: module 'json' cannot be loaded: ValueError: it has no function under @scorer(...)",
        "entry point 'gone' (no_such_package:thing) cannot be loaded: ModuleNotFoundError: "
        "No module named 'no_such_package'",
    ]


def test_two_scorers_of_one_name_are_told_apart_by_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    other = CustomScorer(lambda _: 1.0, "politeness", "1")
    monkeypatch.setattr(own_scorers, "other", other, raising=False)
    found, [problem] = custom_scorers(["own_scorers"])
    assert [one.name for one in found] == ["politeness", "temper", "silence"]
    assert problem.endswith("a scorer named 'politeness' is there already: give it another name")


def named(settings: Quality, lane: Any = "quality") -> dict[str, str]:
    found, problems = load(lane, settings)
    assert not problems
    return {one.name: one.scorer for one in found}


def test_each_metric_may_have_a_tier_of_its_own() -> None:
    assert set(named(Quality())) == {one.name for one in scorers("local")}
    mixed = named(Quality(metrics={"toxicity": "lexical", "coherence": "off"}))
    assert mixed["toxicity"] == "lexical"
    assert "coherence" not in mixed
    assert named(Quality(scorers="off", metrics={"relevance": "local"})) == {"relevance": "local"}
    [problem] = load("quality", Quality(metrics={"cleverness": "local"})).problems
    assert problem.startswith("[quality.metrics] cleverness: the local tier has no such score; it has coherence, ")


def test_a_score_of_ones_own_has_a_lane_of_its_own_and_replaces_one_that_ships_only_where_that_is_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert lanes(Quality()) == ("quality",)
    assert lanes(Quality(scorers="off")) == ()
    assert lanes(Quality(scorers="off", custom=["own_scorers"])) == ("custom",)
    assert "temper" not in named(Quality(custom=["own_scorers"], metrics={"temper": "off"}), "custom")
    monkeypatch.setattr(own_scorers.silence, "name", "toxicity")
    found, [problem] = load("custom", Quality(custom=["own_scorers"]))
    assert "toxicity" not in {one.name for one in found}
    assert 'switch that one off with [quality.metrics] toxicity = "off"' in problem
    assert "toxicity" in named(Quality(custom=["own_scorers"], metrics={"toxicity": "off"}), "custom")


def test_the_names_that_ship_are_those_of_the_sets() -> None:
    assert {one.name for name in ("local", "lexical") for one in scorers(name)} == SHIPPED


@pytest.mark.parametrize("share", ["0/3", "4/3", "1", "a/b", "-1/2", "1/0"])
def test_a_share_that_is_none_is_refused(share: str) -> None:
    with pytest.raises(ValidationError, match="write a share as 1/3"):
        Quality(share=share)
