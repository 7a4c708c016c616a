"""Rules judged over a real store: when they fire, what they say, and that a restart changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alerting import NOON, engine, forget_alerts, write_calls
from assay.alerts.engine import Engine
from assay.alerts.replay import replay
from assay.alerts.watch import Condition
from assay.records import Score
from assay.store.connect import Store
from assay.store.incidents import incident, incidents
from assay.store.scores import insert_scores

SLOW = """
[[rule]]
name = "slow"
metric = "latency"
above = 1000
window = "5m"
for = "1m"
resolve_after = "2m"
filter = { project = "%s" }
"""


@pytest.fixture(autouse=True)
def _clean(store: Store) -> Iterator[None]:
    forget_alerts(store)
    yield
    forget_alerts(store)


def kinds(events: list[Any]) -> list[str]:
    return [event.kind for event in events]


def slow_for_five_minutes(store: Store, project: str) -> None:
    """A call every two seconds, quick but for the five minutes from noon on."""
    calls = [
        {"at": NOON + second, "latency_ms": (3000.0 if 0 <= second < 300 else 100.0) + second % 7}
        for second in range(-600, 1200, 2)
    ]
    write_calls(store, project, calls)


def test_an_incident_goes_from_pending_to_firing_to_resolved_and_is_one(
    store: Store, project: str, tmp_path: Path
) -> None:
    slow_for_five_minutes(store, project)
    watching = engine(store, tmp_path, SLOW % project)
    found = [event for at in range(NOON - 300, NOON + 1200, 30) for event in watching.round(at)]
    assert kinds(found) == ["pending", "firing", "resolved"]
    [row] = incidents(store)
    assert (row["rule"], row["phase"], row["severity"]) == ("slow", "resolved", "MEDIUM")
    pending, firing, _ = found
    assert firing.at - pending.at == 60_000_000
    assert firing.message == ("mean of latency_ms 2,133 in 5m (n=150, 99% interval 1,849 to 2,417), limit above 1,000")


def test_the_evidence_names_the_ten_worst_calls_with_links(store: Store, project: str, tmp_path: Path) -> None:
    slow_for_five_minutes(store, project)
    watching = engine(store, tmp_path, SLOW % project)
    for at in range(NOON, NOON + 300, 30):
        watching.round(at)
    [row] = incidents(store)
    evidence = json.loads(row["evidence"])
    assert len(evidence["worst_calls"]) == 10
    assert {call["value"] for call in evidence["worst_calls"]} == {3006.0}
    assert all(call["url"].startswith("http://assay.test/conversations?call=") for call in evidence["worst_calls"])
    assert evidence["figures"]["n"] >= 20
    assert evidence["figures"]["low"] > 1000


def test_calls_in_the_last_moment_of_a_bucket_are_judged_and_named_as_evidence(
    store: Store, project: str, tmp_path: Path
) -> None:
    """The engine compares a time with fractions to one without by whole seconds."""
    write_calls(store, project, [{"at": NOON + 59.7, "latency_ms": 3000.0} for _ in range(30)])
    watching = engine(store, tmp_path, (SLOW % project).replace('for = "1m"', 'for = "0s"'))
    assert kinds(watching.round(NOON + 90)) == ["pending", "firing"]
    [row] = incidents(store)
    assert len(json.loads(row["evidence"])["worst_calls"]) == 10


def test_ten_slow_calls_of_bad_luck_do_not_page_where_the_lab_would(store: Store, project: str, tmp_path: Path) -> None:
    calls = [{"at": NOON + 2 * i, "latency_ms": 9000.0 if i % 13 == 0 else 400.0} for i in range(130)]
    write_calls(store, project, calls)
    watching = engine(store, tmp_path, SLOW % project)
    assert [event for at in range(NOON, NOON + 300, 30) for event in watching.round(at)] == []
    said = watching.states["slow"].message
    assert said.startswith("mean of latency_ms 1,1"), "the mean itself is above the limit"
    assert "99% interval 5" in said, "but its interval is not"


def test_a_restart_at_any_round_gives_the_same_incidents_as_none(store: Store, project: str, tmp_path: Path) -> None:
    slow_for_five_minutes(store, project)
    steady = engine(store, tmp_path, SLOW % project)
    moments = range(NOON - 60, NOON + 900, 60)
    expected = [event for at in moments for event in steady.round(at)]
    assert len(expected) == 3
    forget_alerts(store)
    found = [event for at in moments for event in engine(store, tmp_path, SLOW % project).round(at)]
    assert found == expected


def test_events_found_but_not_yet_told_of_when_a_crash_comes_are_found_and_stored_once(
    store: Store, project: str, tmp_path: Path
) -> None:
    slow_for_five_minutes(store, project)
    moments = range(NOON - 300, NOON + 180, 30)
    for at in moments:
        engine(store, tmp_path, SLOW % project).round(at)
    before = store.query("SELECT count() AS n FROM incident_events FINAL")
    for _ in range(3):
        engine(store, tmp_path, SLOW % project).round(moments[-1])
    assert store.query("SELECT count() AS n FROM incident_events FINAL") == before


def test_live_and_replay_say_the_same(store: Store, project: str, tmp_path: Path) -> None:
    slow_for_five_minutes(store, project)
    watching = engine(store, tmp_path, SLOW % project)
    found = [event for at in range(NOON - 300, NOON + 1230, 30) for event in watching.round(at)]
    [replayed] = replay(store, watching.book, NOON - 300, NOON + 1200).rules
    [episode] = replayed.episodes
    assert [event.at / 1e6 for event in found if event.kind != "pending"] == [
        episode.fired_at.timestamp(),
        episode.resolved_at and episode.resolved_at.timestamp(),
    ]
    assert [event.message for event in found if event.kind == "firing"] == [episode.message]


def test_every_group_has_an_incident_of_its_own(store: Store, project: str, tmp_path: Path) -> None:
    calls = [
        {"at": NOON + second, "response_model": model, "latency_ms": latency + second % 5}
        for second in range(0, 300, 5)
        for model, latency in (("slow-one", 3000.0), ("slow-two", 2000.0), ("quick", 10.0))
    ]
    write_calls(store, project, calls)
    watching = engine(store, tmp_path, SLOW % project + 'group_by = "model"\n')
    for at in range(NOON, NOON + 360, 30):
        watching.round(at)
    assert {(row["group"], row["phase"]) for row in incidents(store)} == {
        ("slow-one", "firing"),
        ("slow-two", "firing"),
    }


@pytest.mark.parametrize("group_by", ["", 'group_by = "user"\n'], ids=["in scores", "joined to calls"])
def test_a_score_is_judged_by_dimensions_of_its_call(store: Store, project: str, tmp_path: Path, group_by: str) -> None:
    calls = [{"at": NOON + 2 * i, "user_id": "ann", "scores": {"relevance": 0.5 + i % 9 / 100}} for i in range(150)]
    write_calls(store, project, calls)
    text = SLOW.replace('"latency"', '"relevance"').replace("above = 1000", "below = 0.7") % project + group_by
    watching = engine(store, tmp_path, text)
    for at in range(NOON, NOON + 360, 30):
        watching.round(at)
    [row] = incidents(store)
    assert (row["phase"], row["group"]) == ("firing", "ann" if group_by else "")
    assert json.loads(row["evidence"])["worst_calls"][0]["value"] == 0.5


def test_verdicts_of_people_are_not_mixed_with_those_of_scorers(store: Store, project: str, tmp_path: Path) -> None:
    name = project.replace("test-", "clarity-")
    ids = write_calls(store, project, [{"at": NOON + 2 * i, "scores": {name: 0.9}} for i in range(150)])
    said = [
        Score(
            target=span_id,
            name=name,
            value=0.1 + i % 7 / 100,
            source="human",
            project=project,
            started_at=(NOON + 2 * i) * 1_000_000,
        )
        for i, span_id in enumerate(ids)
    ]
    insert_scores(store, said)
    text = SLOW.replace('"latency"', f'"{name}"').replace("above = 1000", "below = 0.7") % project
    watching = engine(store, tmp_path, text + text.replace('"slow"', '"people"') + 'source = "human"\n')
    for at in range(NOON, NOON + 360, 30):
        watching.round(at)
    assert [row["rule"] for row in incidents(store)] == ["people"]


def test_an_attribute_of_the_call_is_a_dimension_too(store: Store, project: str, tmp_path: Path) -> None:
    calls = [
        {"at": NOON + 2 * i, "latency_ms": 3000.0 + i % 3, "attributes": {"release": "r1" if i % 2 else "r2"}}
        for i in range(150)
    ]
    write_calls(store, project, calls)
    text = (SLOW % project).replace("project =", '"tag:release" = "r1", project =') + 'group_by = "tag:release"\n'
    watching = engine(store, tmp_path, text)
    for at in range(NOON, NOON + 360, 30):
        watching.round(at)
    assert [row["group"] for row in incidents(store)] == ["r1"]


def test_no_calls_for_a_while_is_an_incident_unless_this_server_was_away(
    store: Store, project: str, tmp_path: Path
) -> None:
    write_calls(store, project, [{"at": NOON + 10 * i} for i in range(60)])
    text = f'[[rule]]\nname = "silent"\nkind = "absent"\nwindow = "5m"\nfilter = {{ project = "{project}" }}\n'
    late = engine(store, tmp_path, text)
    assert late.round(NOON + 1500) == [], "it has only just begun to look"
    watching = engine(store, tmp_path, text)
    found = [event for at in range(NOON, NOON + 1200, 30) for event in watching.round(at)]
    assert kinds(found) == ["pending", "firing"]
    assert found[-1].message == "no calls in 5m"
    write_calls(store, project, [{"at": NOON + 1210 + i} for i in range(400)])
    ended = [event for at in range(NOON + 1200, NOON + 1590, 30) for event in watching.round(at)]
    assert kinds(ended) == ["resolved"]


def test_a_rule_that_cannot_be_asked_is_shown_and_the_others_go_on(
    store: Store, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_for_five_minutes(store, project)
    broken = SLOW.replace('"slow"', '"broken"').replace('"latency"', '"relevance"').replace("above", "below") % project
    watching = engine(store, tmp_path, broken + SLOW % project)
    real = store.arrow

    def failing(sql: str, parameters: Any = None) -> Any:
        return real("SELECT throwIf(1, 'disk on fire')" if "score" in parameters else sql, parameters)

    monkeypatch.setattr(store, "arrow", failing)
    found = [event for at in range(NOON, NOON + 300, 30) for event in watching.round(at)]
    assert {event.rule for event in found} == {"slow"}
    assert "cannot be judged" in watching.states["broken"].error
    assert "disk on fire" in watching.states["broken"].error
    assert watching.states["slow"].error == ""


def test_a_changed_file_is_read_again_and_a_removed_rule_ends_its_incident(
    store: Store, project: str, tmp_path: Path
) -> None:
    slow_for_five_minutes(store, project)
    watching = engine(store, tmp_path, SLOW % project)
    for at in range(NOON, NOON + 300, 30):
        watching.round(at)
    (tmp_path / "alerts.toml").write_text("defaults = false\n# nothing left\n")
    [event] = watching.round(NOON + 300)
    assert (event.kind, event.message) == ("resolved", "its rule was removed or switched off")
    assert incidents(store)[0]["phase"] == "resolved"


def test_assay_s_own_parts_have_incidents_that_end_when_the_condition_does(store: Store, tmp_path: Path) -> None:
    standing = [Condition("assay:stuck", "settling", "HIGH", "settling has stood still for 50 s")]
    (tmp_path / "alerts.toml").write_text("defaults = false\n")
    watching = Engine(store, tmp_path / "alerts.toml", "", lambda _engine, _now: list(standing))
    assert kinds(watching.round(NOON)) == ["firing"]
    assert watching.round(NOON + 5) == []
    standing.clear()
    assert kinds(watching.round(NOON + 10)) == ["resolved"]
    [row] = incidents(store)
    assert [event["kind"] for event in (incident(store, row["incident_id"]) or {})["events"]] == ["firing", "resolved"]
