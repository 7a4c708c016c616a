"""Rules about classical models: what they read of the store, when they fire, and what they say."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest

from assay.alerts.engine import Engine
from assay.alerts.evaluate import judge, sentence
from assay.alerts.model_series import read
from assay.alerts.recent import RecentSeries
from assay.alerts.replay import replay
from assay.alerts.rules import AlertRule, parse_rules
from assay.alerts.series import source_of
from assay.ml.drift import compared, measured
from assay.ml.drift import judge as judged_by_drift
from assay.ml.window import Window, read_rows
from assay.records import Prediction
from assay.store.connect import Store
from predicting import keep, labels, predictions

NOON = 1_779_969_600  # a multiple of a day, long before any other test's traffic
STEP = 30
DAY = 86_400


def _rule(project: str, text: str) -> AlertRule:
    book = parse_rules(f'[[rule]]\nname = "r"\n{text}\nfilter = {{ project = "{project}" }}\n', defaults=False)
    assert book.problems == []
    return book.rules["r"]


def _rows(
    project: str, size: int, start: int, shift: float = 0.0, seed: int = 0, **more: object
) -> tuple[list[Prediction], list[str]]:
    rng = np.random.default_rng(seed)
    x = rng.normal(shift, 1, size)
    chance = 1 / (1 + np.exp(-2 * x))
    rows = predictions(
        project,
        {"tenure": x, "spend": rng.exponential(1, size), "plan": [str(one) for one in rng.choice(["a", "b"], size)]},
        prediction=["1" if p > 0.5 else "0" for p in chance],
        confidence=[float(max(p, 1 - p)) for p in chance],
        start=start,
        **more,
    )
    return rows, [str(int(one)) for one in rng.random(size) < chance]


def test_a_drift_rule_judges_each_window_as_the_drift_page_does_and_names_the_feature(
    store: Store, project: str
) -> None:
    reference, _ = _rows(project, 800, NOON - 90 * DAY, reference=True)
    calm, _ = _rows(project, 600, NOON, apart=60, seed=1)
    moved, _ = _rows(project, 600, NOON + DAY, shift=1.0, apart=60, seed=2)
    keep(store, reference, calm, moved)
    rule = _rule(project, 'kind = "drift"\nwindow = "6h"\nmin_count = 200')
    found = read(store, [rule], NOON, NOON + 2 * DAY, STEP)[source_of(rule)]
    [(group, series)] = found.items()
    assert group == f"{project}/churn"
    judged = judge(rule, series, len(series))
    ends = {hours: hours * 3600 // STEP - 1 for hours in (1, 8, 32)}
    assert [int(judged.state[place]) for place in ends.values()] == [-1, 0, 1]
    said = sentence(rule, judged, ends[32])
    assert "furthest tenure with PSI" in said
    assert "limit 0.2;" in said

    since, until = NOON + 26 * 3600, NOON + 32 * 3600
    rows = read_rows(store, Window(model="churn", project=project, since=_at(since), until=_at(until)))
    kept = read_rows(store, Window(model="churn", project=project, reference=True))
    told = {one.feature: one for one in judged_by_drift(list(map(measured, compared(kept, rows))))}
    assert judged.drifts
    assert judged.drifts.psi[ends[32]] == pytest.approx(told["tenure"].psi)
    assert judged.n[ends[32]] == rows.n


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def test_series_that_are_extended_are_those_that_are_read_at_once_also_through_an_idle_hour(
    store: Store, project: str
) -> None:
    reference, _ = _rows(project, 300, NOON - 90 * DAY, reference=True)
    rows, _ = _rows(project, 400, NOON + 20 * DAY, apart=10, seed=3)
    rule = _rule(project, 'kind = "drift"\nwindow = "2h"\nmin_count = 100')
    keep(store, reference, rows)
    recent, until = RecentSeries(store), NOON + 20 * DAY + 3600
    recent.series([rule], until, STEP)
    for _ in range(4):  # the last two half hours hold nothing new
        until += 1800
        extended = recent.series([rule], until, STEP)["r"]
    again = RecentSeries(store).series([rule], until, STEP)["r"]
    one, other = extended[f"{project}/churn"], again[f"{project}/churn"]
    assert judge(rule, one, 60).value.tolist() == judge(rule, other, 60).value.tolist()
    assert one.n.sum() == 400


def test_accuracy_counts_when_the_label_came_and_is_held_against_the_reference(store: Store, project: str) -> None:
    reference, known = _rows(project, 400, NOON - 90 * DAY, reference=True)
    rows, truth = _rows(project, 300, NOON + 40 * DAY, apart=10, seed=4)
    late = labels(rows, truth, late_seconds=5 * DAY)
    keep(store, reference, labels(reference, known, 1.0), rows, late)
    usual = np.mean([row.prediction == label for row, label in zip(reference, known, strict=True)])
    right = np.mean([row.prediction == label for row, label in zip(rows, truth, strict=True)])
    measured_, dropped, failing = (
        _rule(project, f'metric = "{metric}"\nabove = 0.05\nwindow = "1d"\ngroup_by = "model"')
        for metric in ("model_accuracy", "model_accuracy_drop", "model_error_rate")
    )
    day = NOON + 45 * DAY
    of = {rule.metric: read(store, [rule], day, day + DAY, STEP)[source_of(rule)] for rule in (measured_, dropped)}
    value = {name: judge(measured_, found[f"{project}/churn"], 1).value[-1] for name, found in of.items()}
    assert value["model_accuracy"] == pytest.approx(right)
    assert value["model_accuracy_drop"] == pytest.approx(usual - right)
    assert not read(store, [dropped], day - 4 * DAY, day - DAY, STEP)[source_of(dropped)]
    when_made = read(store, [failing], NOON + 40 * DAY, NOON + 41 * DAY, STEP)[source_of(failing)]
    assert when_made[f"{project}/churn"].n.sum() == 300


def test_the_estimate_falls_with_the_mix_of_inputs_before_any_label_comes(store: Store, project: str) -> None:
    reference, known = _rows(project, 1000, NOON - 90 * DAY, reference=True)
    rng = np.random.default_rng(0)
    unsure = rng.normal(0, 0.3, 500)
    rows, _ = _rows(project, 500, NOON + 60 * DAY, apart=10, seed=5)
    rows = [
        msgspec.structs.replace(row, confidence=float(1 / (1 + np.exp(-2 * abs(x)))))
        for row, x in zip(rows, unsure, strict=True)
    ]
    keep(store, reference, labels(reference, known, 1.0), rows)
    rule = _rule(project, 'metric = "model_estimated_accuracy_drop"\nabove = 0.05\nwindow = "1d"\ngroup_by = "model"')
    series = read(store, [rule], NOON + 60 * DAY, NOON + 61 * DAY, STEP)[source_of(rule)][f"{project}/churn"]
    judged = judge(rule, series, 1)
    usual = np.mean([row.prediction == label for row, label in zip(reference, known, strict=True)])
    expected = usual - np.mean([row.confidence for row in rows])  # this model's confidence is right
    assert judged.value[-1] == pytest.approx(expected, abs=0.04)
    assert judged.state[-1] == 1


def test_an_incident_of_drift_fires_with_its_evidence_and_replays_the_same(
    store: Store, project: str, tmp_path: Path
) -> None:
    start = NOON + 80 * DAY
    reference, _ = _rows(project, 500, NOON - 90 * DAY, reference=True)
    moved, _ = _rows(project, 400, start, shift=1.5, apart=5, seed=6)
    keep(store, reference, moved)
    text = f'[[rule]]\nname = "{project}"\nkind = "drift"\nwindow = "1h"\nfilter = {{ project = "{project}" }}\n'
    file = tmp_path / "alerts.toml"
    file.write_text(f'defaults = false\n{text}[[rule]]\nname = "wrong"\nmetric = "drift"\nabove = 1\n')
    watching = Engine(store, file, "http://x")
    assert ['write kind = "drift"' in problem.message for problem in watching.book.problems] == [True]
    [fired] = [event for event in watching.round(start + 2100) if event.kind == "firing"]
    assert (fired.rule, fired.group) == (project, f"{project}/churn")
    evidence = msgspec.json.decode(fired.evidence)
    assert (evidence["column"], evidence["drifted"] >= 1, evidence["worst_calls"]) == ("tenure", True, [])
    [replayed] = replay(store, watching.book, start, start + 2100).rules
    assert (replayed.fired, replayed.episodes[0].group, replayed.error) == (1, f"{project}/churn", "")
