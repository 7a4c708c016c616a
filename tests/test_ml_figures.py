"""The statistics of classical models, against other implementations and by simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from assay.ml import distances
from assay.ml.domain import told_apart, vectors_told_apart
from assay.ml.drift import Column, judge, measured
from assay.ml.estimate import estimated, learned
from assay.ml.figures import auroc, classified, positive_class, probabilistic, regressed

CLASSES = 3


def test_figures_of_a_classifier_are_scikit_learns_for_two_classes_and_for_more() -> None:
    rng = np.random.default_rng(0)
    for classes, positive in ((2, 1), (CLASSES, None)):
        true = rng.integers(0, classes, 400)
        raw = rng.random((400, classes)) + 0.4 * np.eye(classes)[true]
        chances = raw / raw.sum(1, keepdims=True)
        predicted = chances.argmax(1)
        average: Any = "binary" if positive else "macro"
        found = classified(predicted, true, classes, positive)
        assert found["accuracy"].value == pytest.approx(metrics.accuracy_score(true, predicted))
        assert found["precision"].value == pytest.approx(metrics.precision_score(true, predicted, average=average))
        assert found["recall"].value == pytest.approx(metrics.recall_score(true, predicted, average=average))
        assert found["f1"].value == pytest.approx(metrics.f1_score(true, predicted, average=average))
        assert all(one.low < one.value < one.high for one in found.values())  # type: ignore[operator]
        area = metrics.roc_auc_score(true, chances[:, 1] if classes == 2 else chances, multi_class="ovr")
        assert auroc(chances, true).value == pytest.approx(area)
        more = probabilistic(chances, true, chances.max(1), predicted == true)
        assert more["log_loss"].value == pytest.approx(metrics.log_loss(true, chances))
        if classes == 2:
            assert more["brier"].value == pytest.approx(metrics.brier_score_loss(true, chances[:, 1]))


def test_figures_of_a_regression_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=300)
    predicted = true + rng.normal(0, 0.5, 300)
    found = regressed(predicted, true)
    assert found["mae"].value == pytest.approx(metrics.mean_absolute_error(true, predicted))
    assert found["rmse"].value == pytest.approx(metrics.root_mean_squared_error(true, predicted))
    assert found["r2"].value == pytest.approx(metrics.r2_score(true, predicted))
    assert all(one.low < one.value < one.high for one in found.values())  # type: ignore[operator]


def test_intervals_of_auroc_and_calibration_error_hold_the_truth_in_about_95_of_100_samples() -> None:
    rng = np.random.default_rng(1)
    truth = float(stats.norm.cdf(1 / np.sqrt(2)))  # two normals one standard deviation apart
    held = []
    for _ in range(200):
        true = rng.integers(0, 2, 150)
        found = auroc(rng.normal(true, 1), true)
        held.append(found.low < truth < found.high)  # type: ignore[operator]
    assert 0.9 <= np.mean(held) <= 0.99
    chance = rng.random(3000)
    fair = probabilistic(np.zeros((3000, 0)), np.zeros(3000, int), chance, rng.random(3000) < chance)
    off = probabilistic(np.zeros((3000, 0)), np.zeros(3000, int), chance, rng.random(3000) < chance**3)
    assert fair["ece"].low < 0.02 < 0.15 < off["ece"].low


def test_the_positive_class_is_the_told_one_else_by_name_else_the_rarer_one() -> None:
    labels = np.array(["ham"] * 7 + ["spam"] * 3, object)
    assert positive_class(["ham", "spam"], labels) == ("spam", "the rarer one among the labels")
    assert positive_class(["ham", "spam"], labels, "ham") == ("ham", "told")
    assert positive_class(["0", "1"], np.array(["1"] * 9 + ["0"], object)) == ("1", "by its name")


def test_distances_equal_evidentlys_and_scipys_on_the_same_data() -> None:
    import pandas as pd
    import pandas.core.dtypes.common as common

    # Evidently 0.7 asks pandas for what pandas 3 has no more.
    common.infer_dtype_from_object = lambda dtype: np.dtype(dtype).type  # type: ignore[attr-defined]
    from evidently.legacy.calculations.stattests import (
        jensenshannon_stat_test,
        ks_stat_test,
        psi_stat_test,
        wasserstein_stat_test,
    )
    from evidently.legacy.core import ColumnType

    rng = np.random.default_rng(0)
    one, other = rng.normal(size=700), rng.normal(0.3, 1.2, 500)

    def theirs(test: Any, kind: Any, *samples: Any) -> float:
        return test.func(*map(pd.Series, samples), kind, 0.1)[0]

    number, category = ColumnType.Numerical, ColumnType.Categorical
    # Evidently cuts by Sturges' rule, we by the reference's deciles: in its bins the figures are the same.
    bins = np.histogram_bin_edges(np.concatenate([one, other]), bins="sturges")
    counts = [np.histogram(sample, bins)[0].astype(float) for sample in (one, other)]
    psi, js = distances.population_stability_index(*counts), distances.jensen_shannon(*counts)
    assert psi == pytest.approx(theirs(psi_stat_test, number, one, other))
    assert js == pytest.approx(theirs(jensenshannon_stat_test, number, one, other))
    ks = distances.kolmogorov_smirnov(one, other)
    assert ks is not None
    assert ks.p_value == pytest.approx(theirs(ks_stat_test, number, one, other))
    assert ks == pytest.approx(tuple(stats.ks_2samp(one, other))[:2])
    assert distances.wasserstein(one, other) == pytest.approx(theirs(wasserstein_stat_test, number, one, other))

    texts = [rng.choice(list("abcd"), 600, p=share).astype(object) for share in ([0.4, 0.3, 0.2, 0.1], [0.25] * 4)]
    known = distances.known_categories(texts[0])
    counts = [distances.category_counts(side, known) for side in texts]
    psi, js = distances.population_stability_index(*counts), distances.jensen_shannon(*counts)
    assert psi == pytest.approx(theirs(psi_stat_test, category, *texts))
    assert js == pytest.approx(theirs(jensenshannon_stat_test, category, *texts))
    chi = distances.chi_squared(*counts)
    assert chi == pytest.approx(tuple(stats.chi2_contingency(np.stack(counts)[:, :4], correction=False))[:2])


@settings(max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holms_correction_never_lowers_a_p_value_and_keeps_their_order(p_values: list[float]) -> None:
    corrected = distances.holm(p_values)
    assert all(p <= c <= min(p * len(p_values), 1) + 1e-12 for p, c in zip(p_values, corrected, strict=True))
    assert sorted(corrected) == [corrected[place] for place in np.argsort(p_values, kind="stable")]


def test_many_quiet_features_hardly_ever_drift_and_a_trifle_in_huge_windows_does_not_either() -> None:
    rng = np.random.default_rng(0)

    def drifted(shift: float, size: int) -> list[bool]:
        columns = [
            Column(f"f{i}", "number", rng.normal(size=size), rng.normal(shift if i == 0 else 0, 1, size))
            for i in range(20)
        ]
        return [one.drifted for one in judge(list(map(measured, columns)))]

    assert sum(any(drifted(0, 300)) for _ in range(30)) <= 3
    significant = measured(Column("f", "number", rng.normal(size=50_000), rng.normal(0.05, 1, 50_000)))
    assert significant.p_value is not None
    assert significant.p_value < 1e-6
    assert not judge([significant])[0].drifted
    assert drifted(0.7, 300) == [True] + [False] * 19


def test_values_that_went_missing_are_drift() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=500), rng.normal(size=500)
    other[:100] = np.nan
    [found] = judge([measured(Column("f", "number", one, other))])
    assert (found.drifted, found.test) == (True, "chi-squared")
    assert found.shape
    assert (found.shape.labels[-1], found.shape.current[-1]) == ("(missing)", 100)


def test_a_classifier_finds_joint_drift_that_no_single_feature_shows() -> None:
    rng = np.random.default_rng(0)
    together = rng.normal(size=(700, 1)) + rng.normal(0, 0.2, (700, 2))
    apart = np.stack([rng.permutation(together[:, 0]), rng.permutation(together[:, 1])], axis=1)
    columns = [Column(name, "number", together[:, i], apart[:, i]) for i, name in enumerate("ab")]
    assert not any(one.drifted for one in judge(list(map(measured, columns))))
    told = told_apart("ab", together, apart)
    assert told is not None
    assert told.area.low > 0.65  # type: ignore[operator]
    quiet = told_apart("ab", together[:350], together[350:])
    assert quiet is not None
    assert quiet.area.low < 0.5 < quiet.area.high  # type: ignore[operator]


def test_one_long_session_does_not_pass_for_drift_of_prompts() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(400, 16)), rng.normal(size=(400, 16))
    other[:80] = rng.normal(size=16) + rng.normal(0, 0.1, (80, 16))  # one session asks the same again and again
    sessions = np.arange(400)
    in_session = np.where(sessions < 80, 0, sessions)
    found = vectors_told_apart(one, other, sessions + 1000, in_session)
    assert found is not None
    assert found.low < 0.5  # type: ignore[operator]


def _model(x: np.ndarray) -> np.ndarray:
    """A model that is surer than it should be."""
    sure = 1 / (1 + np.exp(-2.5 * x))
    return np.stack([1 - sure, sure], axis=1)


def test_estimates_before_labels_hold_the_realised_figures_under_covariate_shift_and_are_blind_to_concept_drift() -> (
    None
):
    rng = np.random.default_rng(0)

    def world(size: int, shift: float, turned: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        x = rng.normal(shift, 1, size)
        return x, (rng.random(size) < 1 / (1 + np.exp(-1.2 * x - turned))).astype(int)

    held: dict[str, list[bool]] = {}
    for _ in range(40):
        x, y = world(800, 0.0)
        known = learned(_model(x), y)
        x, y = world(400, 0.7)
        raw = _model(x)
        predicted = (raw[:, 1] > 0.5).astype(int)
        realised = classified(predicted, y, 2, 1) | {"auroc": auroc(raw, y)}
        for name, figure in estimated(known, raw, predicted, 1).items():
            value = realised[name].value
            held.setdefault(name, []).append(figure.low <= value <= figure.high)  # type: ignore[operator]
    shares = {name: float(np.mean(own)) for name, own in held.items()}
    assert min(shares.values()) >= 0.82, shares
    assert np.mean([*shares.values()]) >= 0.9, shares

    x, y = world(800, 0.0)
    known = learned(_model(x), y)
    x, y = world(2000, 0.0, turned=-2.5)
    raw = _model(x)
    predicted = (raw[:, 1] > 0.5).astype(int)
    guess, real = estimated(known, raw, predicted, 1)["accuracy"], np.mean(predicted == y)
    assert guess.low > real + 0.03  # type: ignore[operator]
