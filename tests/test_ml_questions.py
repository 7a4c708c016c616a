"""What is asked about classical models, over rows in the store."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest

from assay.analytics.selection import Selection
from assay.errors import AssayError, NotFound
from assay.ml.comparison import comparison
from assay.ml.conversations import language
from assay.ml.drift import drift
from assay.ml.inputs import data_quality
from assay.ml.models import models
from assay.ml.performance import estimate, performance
from assay.ml.window import Window, read_rows
from assay.quality.words import load_words
from assay.records import Label, Prediction
from assay.store.connect import Store
from predicting import NOW, keep, labels, predictions


def _traffic(
    project: str, size: int, shift: float = 0.0, seed: int = 0, **more: object
) -> tuple[list[Prediction], list[str]]:
    """Customers who leave or stay, by their tenure; the model is right about how sure it is."""
    rng = np.random.default_rng(seed)
    x = rng.normal(shift, 1, size)
    chance = 1 / (1 + np.exp(-1.5 * x))
    truth = ["leaves" if leaves else "stays" for leaves in rng.random(size) < chance]
    rows = predictions(
        project,
        {"tenure": x, "plan": [str(one) for one in rng.choice(["basic", "gold"], size)]},
        prediction=["leaves" if p > 0.5 else "stays" for p in chance],
        probabilities=[{"stays": 1 - float(p), "leaves": float(p)} for p in chance],
        confidence=[float(max(p, 1 - p)) for p in chance],
        latency_ms=2.0,
        **more,
    )
    return rows, truth


def test_performance_is_that_of_the_labels_which_came_by_id_or_by_key(store: Store, project: str) -> None:
    rows, truth = _traffic(project, 300)
    rows = [msgspec.structs.replace(row, key=f"case-{i}") for i, row in enumerate(rows)]
    by_id = labels(rows[:100], truth[:100], late_seconds=30)
    wrong = ["stays" if label == "leaves" else "leaves" for label in truth]
    by_key = [
        Label(project=project, model="churn", key=row.key, label=label, labelled_at=row.predicted_at + 90_000_000)
        for row, label in zip(rows[50:200], wrong[50:100] + truth[100:200], strict=True)
    ]
    keep(store, rows, by_id, by_key)
    found = performance(store, Window(model="churn", project=project), bucket_seconds=60, by="plan")
    right = [row.prediction == label for row, label in zip(rows[:200], truth[:200], strict=True)]
    # Where both came the id's counts: it is the more exact one.
    assert found["figures"]["accuracy"]["value"] == pytest.approx(np.mean(right))
    assert (found["rows"], found["labelled"], found["positive"]) == (300, 200, "leaves")
    assert found["delay"] == {"median_seconds": 60.0, "p95_seconds": 90.0}
    assert sum(point["labelled"] for point in found["points"]) == 200
    assert {group["group"] for group in found["groups"]} == {"basic", "gold"}
    assert sum(group["labelled"] for group in found["groups"]) == 200


def test_a_segment_is_a_value_or_a_range_and_a_sample_says_of_how_many(store: Store, project: str) -> None:
    rows, _ = _traffic(project, 400)
    keep(store, rows)
    of = Window(model="churn", project=project)
    high = read_rows(store, msgspec.structs.replace(of, segment="tenure=0.5..1.5"))
    assert high.n == sum(0.5 <= row.numbers["tenure"] < 1.5 for row in rows)
    gold = read_rows(store, msgspec.structs.replace(of, segment="plan=gold"))
    assert set(gold.categories["plan"]) == {"gold"}
    sample = read_rows(store, of, most=100)
    assert sample.total == 400
    assert 60 < sample.n < 140
    assert (sample.at == read_rows(store, of, most=100).at).all()
    with pytest.raises(AssayError, match="FEATURE=LOW"):
        read_rows(store, msgspec.structs.replace(of, segment="tenure"))
    with pytest.raises(NotFound, match="assay models"):
        performance(store, Window(model="nobody", project=project))


def test_a_regression_has_errors_in_its_own_unit_and_no_estimate(store: Store, project: str) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(100, 20, 120)
    guess = truth + rng.normal(5, 2, 120)
    rows = predictions(
        project,
        {"size": truth},
        model="price",
        task="regression",
        prediction=[str(one) for one in guess],
        prediction_value=[float(one) for one in guess],
    )
    keep(store, rows, labels(rows, [str(one) for one in truth]))
    found = performance(store, Window(model="price", project=project))
    assert found["figures"]["mae"]["value"] == pytest.approx(np.mean(np.abs(guess - truth)))
    assert found["figures"]["r2"]["high"] < 1
    assert "regression" in estimate(store, Window(model="price", project=project))["problem"]


def test_before_labels_come_the_reference_says_what_the_confidence_is_worth(store: Store, project: str) -> None:
    reference, known = _traffic(project, 500, reference=True, start=NOW - 10_000)
    rows, truth = _traffic(project, 600, shift=0.8, seed=1)
    keep(store, reference, labels(reference, known), rows)
    found = estimate(store, Window(model="churn", project=project), bucket_seconds=300)
    right = np.mean([row.prediction == label for row, label in zip(rows, truth, strict=True)])
    assert found["learned_from"] == {"what": "labelled reference rows", "n": 500}
    assert found["figures"]["accuracy"]["low"] < right < found["figures"]["accuracy"]["high"]
    assert sum(point["n"] for point in found["points"]) == 600
    assert found["compared"] is None
    lonely, _ = _traffic(project, 50, model="young")
    keep(store, lonely)
    assert "test set as reference" in estimate(store, Window(model="young", project=project))["problem"]


def test_drift_names_the_feature_that_moved_and_a_first_window_is_the_reference_where_there_is_none(
    store: Store, project: str
) -> None:
    calm, _ = _traffic(project, 2000)
    moved, _ = _traffic(project, 500, shift=1.0, seed=2, start=NOW + 5000)
    keep(store, calm, moved)
    later = Window(model="churn", project=project, since=_at(NOW + 5000))
    found = drift(store, later)
    told = {one.feature: one for one in found["features"]}
    assert found["reference"]["what"] == "the first 2,000 predictions"
    assert (told["tenure"].drifted, told["tenure"].size, told["plan"].drifted) == (True, "major", False)
    assert told["(prediction)"].drifted
    assert found["joint"]["auroc"]["low"] > 0.6
    assert found["joint"]["by"][0]["feature"] == "tenure"
    itself = drift(store, later, later)
    assert itself["drifted"] == 0


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def test_data_quality_says_in_words_what_is_wrong_with_each_feature(store: Store, project: str) -> None:
    reference, _ = _traffic(project, 200, reference=True)
    rows, _ = _traffic(project, 200, seed=3)
    nan = float("nan")
    broken = [
        msgspec.structs.replace(
            row,
            numbers={"tenure": nan if i % 2 else 99.0, "age": float("inf") if i == 0 else 7.0},
            categories={"plan": "platinum"} if i % 4 == 0 else {},
        )
        for i, row in enumerate(rows)
    ]
    [failed] = predictions(project, {"tenure": [1.0]}, status="error", error_type="ValueError", error_message="no plan")
    keep(store, reference, broken, [failed])
    found = data_quality(store, Window(model="churn", project=project))
    told = {one["feature"]: one for one in found["features"]}
    assert told["tenure"]["missing"] == pytest.approx(0.5, abs=0.01)
    assert "is outside the reference's range in 98" in "; ".join(told["tenure"]["problems"]).replace("99.", "98.")
    assert told["plan"]["new_categories"] == ["platinum"]
    assert any("not sent in 75" in problem for problem in told["plan"]["problems"])
    assert told["age"]["problems"] == ["is not in the reference"]
    assert [(one["error_type"], one["errors"], one["message"]) for one in found["errors"]] == [
        ("ValueError", 1, "no plan")
    ]


def test_models_are_listed_with_their_predictions_and_labels(store: Store, project: str) -> None:
    rows, truth = _traffic(project, 20, model_version="2")
    keep(store, rows, labels(rows[-1:], truth[-1:]))
    [listed] = models(store, project)
    assert (listed["model"], listed["rows"], listed["labels"], listed["versions"]) == ("churn", 20, 1, ["2"])
    assert (listed["p50_latency_ms"], listed["error_rate"]) == (2.0, 0.0)


def test_the_comparison_says_unknown_where_nothing_was_measured_and_counts_inputs_that_came_twice(
    store: Store, project: str
) -> None:
    rows, _ = _traffic(project, 40)
    rows = [msgspec.structs.replace(row, input_hash=i // 2 + 1, prediction="stays") for i, row in enumerate(rows)]
    rows[0] = msgspec.structs.replace(rows[0], prediction="leaves")
    keep(store, rows)
    nobody = Selection(project=project, since=_at(NOW), until=_at(NOW + 10))
    before = msgspec.structs.replace(nobody, since=_at(NOW - 10), until=_at(NOW))
    embed = lambda texts: np.zeros((len(texts), 64), np.float32)  # noqa: E731
    found = comparison(store, Window(model="churn", project=project), before, nobody, load_words(), embed)
    told = {aspect.key: aspect for aspect in found["aspects"]}
    assert (told["determinism"].classical.value, told["determinism"].classical.n) == (1 / 20, 20)
    assert told["determinism"].llm.says.startswith("unknown: no prompt came twice")
    assert told["cost"].classical.says.startswith("unknown")
    assert told["input"].classical.says == "structured: 1 number and 1 category"
    assert told["latency"].classical.value == pytest.approx(2.0)
    assert all(aspect.llm.says.startswith("unknown") for aspect in found["aspects"])


def test_language_is_told_by_rules() -> None:
    assert language("What is the weather like in the city today?") == "English"
    assert language("Das ist nicht die Antwort, die wir für heute haben") == "another in Latin letters"
    assert (language("Привет, как дела?"), language("今日はどうですか"), language("12 + 3")) == (
        "Cyrillic",
        "Japanese",
        "",
    )
