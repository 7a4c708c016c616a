"""Assay watches its own parts: a stall is told within a minute, and ends when work goes on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from assay.alerts.watch import Watch
from assay.config import Alerts, Config
from assay.reports.making import Circumstances
from assay.server.alerting import Alerting
from assay.store.connect import Store


def figures(**more: Any) -> dict[str, Any]:
    return {"ingest": {"last_commit_at": 1000.0}, "settle": {"lag_seconds": 0.0}, "problems": [], **more}


def rules(watch: Watch, told: dict[str, Any], now: float) -> set[tuple[str, str]]:
    return {(one.rule, one.group) for one in watch.look(told, {}, {}, now)}


def test_a_part_that_stands_still_with_work_to_do_is_told_within_a_minute() -> None:
    watch = Watch(None)
    found = {
        now: rules(watch, figures(settle={"lag_seconds": 10.0 + now}, ingest={"last_commit_at": 1000.0 + now}), now)
        for now in range(0, 65, 5)
    }
    first = min(now for now, conditions in found.items() if conditions)
    assert 40 <= first <= 55
    assert found[first] == {("assay:stuck", "settling")}
    assert rules(watch, figures(settle={"lag_seconds": 3.0}, ingest={"last_commit_at": 1060.0}), 70) == set()


def test_a_part_that_is_behind_but_moves_is_not_stuck() -> None:
    watch = Watch(None)
    for now in range(0, 600, 5):
        told = figures(settle={"lag_seconds": 500.0 - now / 2}, ingest={"last_commit_at": 1000.0 + now})
        assert rules(watch, told, now) == set()


def test_a_scoring_lane_that_stands_still_is_named() -> None:
    watch = Watch(None)
    told = figures(quality={"lanes": {"local": {"lag_seconds": 60.0}, "judge": {"lag_seconds": 0.0}}})
    found = [rules(watch, told, now) for now in range(0, 60, 5)]
    assert found[-1] == {("assay:stuck", "scoring local")}


def test_refused_spans_are_told_for_five_minutes_with_the_reason() -> None:
    watch = Watch(None)
    refused = figures(ingest={"refused_spans": 3, "last_refusal": "trace_id is missing"})
    assert rules(watch, figures(), 0) == set()
    [condition] = watch.look(refused, {}, {}, 10)
    assert condition.message == "3 refused in 5 minutes; last: trace_id is missing"
    assert rules(watch, refused, 200) == {("assay:ingest-refused", "")}
    assert rules(watch, refused, 400) == set()


def test_a_problem_that_passes_is_not_told_and_one_that_stays_is() -> None:
    watch = Watch(None)
    failing = figures(problems=["scoring: the model file is gone"])
    assert rules(watch, failing, 0) == set()
    assert rules(watch, figures(), 20) == set()
    assert rules(watch, failing, 40) == set()
    assert rules(watch, failing, 75) == {("assay:part-failing", "scoring")}


def test_a_channel_and_a_rule_that_fail_are_told() -> None:
    found = Watch(None).look(figures(), {"hook": 0.0, "new": 50.0}, {"slow": "took 12 s", "fine": ""}, 70)
    assert {(one.rule, one.group) for one in found} == {
        ("assay:delivery-failing", "hook"),
        ("assay:rule-failing", "slow"),
    }


def test_a_disk_that_fills_is_told_before_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        total: int
        used: int
        free: int

    free = 100_000_000_000
    watch = Watch(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(200_000_000_000, 0, free))
    for minute in range(30):
        free -= 100_000_000
        assert rules(watch, figures(), minute * 60) == ({("assay:disk-filling", "")} if minute > 15 else set()), (
            "97 GB at 6 GB an hour are full in 16 hours"
        )


def test_health_is_red_while_a_part_stands_still_and_while_alerting_itself_does(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = figures(settle={"lag_seconds": 10.0})
    config = Config(store="clickhouse://elsewhere", alerts=Alerts(rules=tmp_path / "none.toml"))
    alerting = Alerting(store, config, "http://assay.test", lambda: (True, told), Circumstances(version="1"))
    for now in range(0, 65, 5):
        alerting.engine.round(1_000_000_000.0 + now)
    assert alerting.problems == ["settling has stood still for 60 s with work to do"]
    told["settle"] = {"lag_seconds": 0.0}
    alerting.engine.round(1_000_000_100.0)
    assert alerting.problems == []
    monkeypatch.setattr(alerting.engine, "went_well_at", alerting.engine.went_well_at - 61)
    assert "no round has ended well for" in alerting.problems[0]
