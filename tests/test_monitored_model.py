"""Classical models as an application sees them (unchanged) and as the server sees them (a row a prediction)."""

from __future__ import annotations

import copy
import logging
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import assay
from assay.client import model as wrapping
from assay.client import setup
from assay.client.address import Address
from assay.client.monitor import Monitor
from assay.client.row_delivery import flush_rows
from conftest import Server, eventually

FRAME, SPECIES = load_iris(return_X_y=True, as_frame=True)
FRAME = FRAME.set_axis(["sepal length", "sepal width", "petal length", "petal width"], axis=1)
TABLE, CLASSES = FRAME.to_numpy(), SPECIES.to_numpy()
FOREST = RandomForestClassifier(10, random_state=0).fit(FRAME, CLASSES)
LINEAR = LogisticRegression(max_iter=500).fit(TABLE, CLASSES)

Wrap = Callable[..., assay.MonitoredModel]
Rows = Callable[..., list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def _server(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "_started", {"address": Address(server.url, "")})


@pytest.fixture
def wrap(project: str) -> Wrap:
    def wrapped(model: Any, name: str = "model", **options: Any) -> assay.MonitoredModel:
        return assay.MonitoredModel(model, name, "1", project=project, **options)

    return wrapped


@pytest.fixture
def rows(monitor: Monitor, project: str) -> Rows:
    """What is stored, in the order of its keys or else as it was sent."""

    def stored(**filters: Any) -> list[dict[str, Any]]:
        assert flush_rows(30)
        found = monitor.predictions(project=project, limit=1000, **filters)["predictions"]
        return sorted(found, key=lambda row: (row["predicted_at"], row["prediction_id"]))

    return stored


# The model is as it was


def test_a_wrapped_model_is_its_model(wrap: Wrap) -> None:
    model: Any = wrap(FOREST)
    assert isinstance(model, RandomForestClassifier)
    assert isinstance(model, assay.MonitoredModel)
    assert (model.n_estimators, len(model), hasattr(model, "decision_function"), callable(model)) == (
        10,
        10,
        False,
        False,
    )
    assert model.estimators_ is FOREST.estimators_
    assert model.score(FRAME, CLASSES) == FOREST.score(FRAME, CLASSES)
    assert type(clone(model)) is RandomForestClassifier
    assert "n_estimators" in dir(model)
    with pytest.raises(AttributeError, match="'RandomForestClassifier' object has no attribute 'colour'"):
        model.colour  # noqa: B018
    model.verbose = 1
    assert FOREST.verbose == 1
    model.verbose = 0


@pytest.mark.parametrize(
    "copied",
    [lambda model: pickle.loads(pickle.dumps(model)), copy.copy, copy.deepcopy],
    ids=["pickle", "copy", "deep"],
)
def test_a_copy_is_monitored_too(copied: Callable[[Any], Any], wrap: Wrap, rows: Rows) -> None:
    again = copied(wrap(FOREST))
    assert (again.predict(FRAME[:2]) == FOREST.predict(FRAME[:2])).all()
    assert [row["model"] for row in rows()] == ["model", "model"]


def test_results_and_exceptions_are_the_very_objects(wrap: Wrap) -> None:
    answer, problem = np.array([1.5]), KeyError("no such row")

    class Model:
        def predict(self, X: Any) -> Any:
            if X is None:
                raise problem
            return answer

    model: Any = wrap(Model())
    assert model.predict([[1]]) is answer
    with pytest.raises(KeyError) as raised:
        model.predict(None)
    assert raised.value is problem


def outcome(call: Callable[[], Any]) -> tuple[str, Any]:
    try:
        return "answer", np.asarray(call()).tolist()
    except Exception as error:
        return type(error).__name__, str(error)


numbers = st.floats(-10, 10) | st.sampled_from([math.nan, math.inf, 1e300])
tables = st.integers(0, 6).flatmap(
    lambda width: st.lists(st.lists(numbers, min_size=width, max_size=width), max_size=4)
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    given=tables
    | st.lists(st.lists(numbers, max_size=5), max_size=3)
    | numbers
    | st.none()
    | st.lists(st.text(), max_size=3),
    form=st.sampled_from([lambda x: x, np.array, pd.DataFrame, pl.DataFrame]),
    method=st.sampled_from(["predict", "predict_proba", "decision_function"]),
)
def test_a_wrapped_model_answers_and_fails_as_the_bare_one(given: Any, form: Any, method: str, wrap: Wrap) -> None:
    try:
        rows = form(given)
    except Exception:
        rows = given
    model: Any = wrap(LINEAR)
    assert outcome(lambda: getattr(model, method)(rows)) == outcome(lambda: getattr(LINEAR, method)(rows))


def test_nothing_heavy_is_imported_with_the_client() -> None:
    told = "import sys, assay; print(sorted({'numpy', 'pyarrow', 'sklearn', 'pandas', 'polars'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# What is logged


FORMS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "numpy": lambda frame: frame.to_numpy(),
    "lists": lambda frame: frame.to_numpy().tolist(),
    "pandas": lambda frame: frame,
    "polars": pl.from_pandas,
    "dictionaries": lambda frame: frame.to_dict("records"),
}


@pytest.mark.parametrize("without_arrow", [False, True], ids=["arrow", "json"])
def test_every_form_of_input_becomes_the_same_rows(
    without_arrow: bool, wrap: Wrap, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    if without_arrow:
        monkeypatch.setitem(sys.modules, "pyarrow", None)

    def judge(given: Any) -> Any:
        return FOREST.predict_proba(pd.DataFrame(given, columns=FRAME.columns) if given is not FRAME else given)

    class Model:
        classes_, feature_names_in_ = FOREST.classes_, FOREST.feature_names_in_
        predict_proba = staticmethod(judge)

    for name, form in FORMS.items():
        wrap(Model(), name).predict_proba(form(FRAME[:3]), keys=["a", "b", "c"])
    stored = rows()
    told = [
        {
            name: row[name]
            for name in ("key", "features", "prediction", "probabilities", "confidence", "input_hash", "task")
        }
        for row in stored
    ]
    expected = FOREST.predict_proba(FRAME[:3])
    for place, row in enumerate(told[:3]):
        assert row["features"] == FRAME.iloc[place].to_dict()
        assert list(row["probabilities"].values()) == pytest.approx(expected[place].tolist(), rel=1e-6)
        assert (row["prediction"], row["task"]) == (str(int(expected[place].argmax())), "classification")
        assert row["confidence"] == pytest.approx(expected[place].max(), rel=1e-6)
    assert [told[start : start + 3] for start in range(0, 15, 3)] == [told[:3]] * 5
    assert {row["model"] for row in stored} == set(FORMS)
    assert all(row["latency_ms"] > 0 for row in stored)


def test_numbers_texts_and_what_is_missing_are_kept_as_they_are(wrap: Wrap, rows: Rows) -> None:
    frame = pd.DataFrame(
        {
            "size": [1.0, math.nan, math.inf],
            "rooms": pd.array([2, None, 3], dtype="Int64"),
            "city": pd.Categorical(["Bern", "Rome", None]),
            "sold": [True, False, True],
        }
    )
    model = lightgbm.LGBMRegressor(n_estimators=2, min_child_samples=1, verbose=-1)
    model.fit(frame.assign(size=[1.0, 2.0, 3.0]), [1.0, 2.0, 3.0])
    unseen = frame.assign(city=pd.Categorical(["Oslo", "Rome", None], categories=["Oslo", "Rome"]))
    answers = wrap(model).predict(unseen)
    stored = rows()
    assert [row["features"] for row in stored] == [
        {"size": 1.0, "rooms": 2.0, "city": "Oslo", "sold": 1.0},
        {"size": None, "rooms": None, "city": "Rome", "sold": 0.0},
        {"size": "inf", "rooms": 3.0, "city": None, "sold": 1.0},
    ]
    assert [(row["task"], row["prediction_value"]) for row in stored] == [("regression", value) for value in answers]


def test_two_methods_asked_about_one_input_are_one_row(wrap: Wrap, rows: Rows) -> None:
    model: Any = wrap(SVC().fit(TABLE, CLASSES), "svc")
    model.predict(TABLE[:1], keys=["a"])
    model.decision_function(TABLE[:1])
    model.predict(TABLE[:1], keys=["b"])
    forest: Any = wrap(FOREST, "forest")
    forest.predict(FRAME[:2], keys=["c", "d"])
    forest.predict_proba(FRAME[:2])
    stored = rows()
    assert [(row["key"], row["confidence"] is None) for row in stored] == [
        ("a", True),
        ("b", True),
        ("c", False),
        ("d", False),
    ]


def test_predict_asks_for_probabilities_where_it_is_told_to(wrap: Wrap, rows: Rows) -> None:
    model: Any = wrap(make_pipeline(StandardScaler(), LogisticRegression()).fit(TABLE, CLASSES), probabilities=True)
    answers = model.predict(TABLE[48:52])
    stored = rows()
    assert [row["prediction"] for row in stored] == list(map(str, answers))
    assert [row["confidence"] for row in stored] == pytest.approx(
        model.predict_proba(TABLE[48:52]).max(axis=1), rel=1e-6
    )


def test_functions_and_boosters_are_models_too(wrap: Wrap, rows: Rows) -> None:
    booster = lightgbm.train(
        {"objective": "binary", "verbose": -1, "min_data_in_leaf": 5},
        lightgbm.Dataset(TABLE[:100], CLASSES[:100]),
        num_boost_round=2,
    )
    shares = wrap(booster, "booster", classes=["setosa", "versicolor"]).predict(TABLE[[0, 99]])
    wrap(lambda row: "big" if row["size"] > 3 else "small", "rule")({"size": 4})
    wrap(lambda size, rooms: size * 1.5 + rooms, "sum")(2, rooms=1)
    found = {row["model"]: row for row in rows()}
    assert found["booster"]["prediction"] == "versicolor"
    assert found["booster"]["probabilities"] == pytest.approx(
        {"setosa": 1 - shares[1], "versicolor": shares[1]}, rel=1e-6
    )
    assert (found["rule"]["prediction"], found["rule"]["features"]) == ("big", {"size": 4.0})
    assert (found["sum"]["prediction_value"], found["sum"]["features"]) == (4.0, {"size": 2.0, "rooms": 1.0})


def test_a_failed_prediction_is_a_row_with_its_error(wrap: Wrap, rows: Rows) -> None:
    model: Any = wrap(LINEAR, feature_names=list(FRAME.columns))
    with pytest.raises(ValueError, match="infinity"):
        model.predict([[1, 2, 3, math.inf]], keys=["far"])
    with pytest.raises(ValueError, match="3 features"):
        model.predict(TABLE[:2, :3], keys=["x", "y"])
    far, *narrow = rows(status="error")
    assert (far["key"], far["error_type"], far["features"]["petal width"]) == ("far", "ValueError", "inf")
    assert "infinity" in far["error_message"]
    assert [(row["key"], row["features"], row["prediction"]) for row in narrow] == [("x", {}, ""), ("y", {}, "")]


@pytest.mark.parametrize(
    ("given", "answer", "problem"),
    [
        ([[1, 2], [3]], [1, 2], "rows of different lengths"),
        ([1], object(), "object is not one prediction a row"),
        ([[1], [2]], np.zeros((2, 2)), "ndarray of shape (2, 2) is not one prediction a row"),
        (np.zeros((2, 3)), [1, 2], "3 features came where 2 are named"),
        (np.zeros((2, 2)), [1], "has 2 values for 1 predictions"),
        (pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]), [0, 0], "two features are called 'a'"),
        (np.zeros((1, 3, 3)), [0], "3 dimensions"),
        (np.zeros((1, 3000)), [0], "3000 features"),
    ],
    ids=["ragged", "object", "outputs", "names", "fewer", "twice", "image", "wide"],
)
def test_what_is_no_row_is_counted_and_told_once(
    given: Any, answer: Any, problem: str, wrap: Wrap, caplog: pytest.LogCaptureFixture
) -> None:
    wrapped: Any = wrap(lambda _: answer, f"odd {problem}", feature_names=["a", "b"])
    with caplog.at_level(logging.WARNING, "assay"):
        for _ in range(3):
            assert wrapped(given) is answer
        assert flush_rows(30)
    assert wrapped.monitoring["logged"] == 0
    assert wrapped.monitoring["not_logged"] >= 3
    assert problem in wrapped.monitoring["problem"]
    assert sum(problem in record.message for record in caplog.records) == 1


def test_threads_keep_their_rows_apart(wrap: Wrap, rows: Rows) -> None:
    model: Any = wrap(lambda row: row["n"] * 2)

    def work(first: int) -> list[str]:
        with model.collect_ids() as ids:
            for number in range(first, first + 40):
                model({"n": number}, keys=f"case-{number}")
        return ids

    with ThreadPoolExecutor(8) as threads:
        ids = [one for some in threads.map(work, range(0, 320, 40)) for one in some]
    stored = {row["key"]: row for row in rows()}
    assert len(set(ids)) == len(stored) == 320
    for number in range(320):
        row = stored[f"case-{number}"]
        assert (row["features"], row["prediction"], row["prediction_id"]) == (
            {"n": number},
            str(number * 2),
            ids[number],
        )


# Labels and references


def test_labels_find_their_predictions_by_key_and_by_id(wrap: Wrap, rows: Rows, project: str, monitor: Monitor) -> None:
    model: Any = wrap(FOREST, "iris")
    model.label("early", 2)
    with model.collect_ids() as ids:
        model.predict(FRAME[:4], keys=["early", "late", "by id", "never"])
    assert flush_rows(30)
    assay.label(["late"], np.array([1]), project=project)
    assay.label(ids[2], np.int64(0), project=project)
    assay.label(["never", "late"], [None, 5], model="iris", project=project, at=1e9)
    labels = {row["key"]: (row["label"], row["label_value"]) for row in rows()}
    assert labels == {"early": ("2", 2.0), "late": ("1", 1.0), "by id": ("0", 0.0), "never": (None, None)}
    assay.label("nobody", 1, model="iris", project=project)
    flush_rows(30)
    assert monitor.labels(project=project) == [{"project": project, "model": "iris", "labels": 4, "unmet": 1}]


def test_a_reference_is_stored_once_with_its_labels_apart_from_traffic(wrap: Wrap, rows: Rows) -> None:
    for _ in range(2):
        wrap(FOREST, "iris").log_reference(FRAME, SPECIES)
        assert flush_rows(30)
    stored = rows(reference=True)
    assert len(stored) == 150
    assert {row["label"] for row in stored} == {"0", "1", "2"}
    assert all(row["confidence"] is not None and row["features"] for row in stored)
    assert rows() == []


# The way to the server


PROGRAM = """
import assay, numpy as np
model = assay.MonitoredModel(lambda rows: rows[:, 0] * 2.0, "away", project={project!r})
model(np.arange({count} * 2.0).reshape({count}, 2), keys=list(range({count})))
model.label({count} - 1, 7.0)
assay.flush()
assert "pandas" not in __import__("sys").modules
"""


def test_rows_outlive_a_server_that_is_away_and_one_that_is_killed(
    own_server: Callable[..., Server], project: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    server = own_server(ASSAY_QUALITY__SCORERS="off")
    monkeypatch.setenv("ASSAY_URL", server.url)
    monkeypatch.setenv("ASSAY_SPOOL_DIR", str(tmp_path / "spool"))

    def run(count: int) -> str:
        program = PROGRAM.format(project=project, count=count)
        return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr

    def stored() -> int:
        with assay.connect(server.url) as monitor:
            return len(monitor.predictions(project=project, limit=1000)["predictions"])

    assert run(3) == ""
    server.kill()
    said = run(200)
    assert said.count("does not take predictions") == 1
    assert "also for the next start" in said
    assert len(list((tmp_path / "spool").glob("*/predictions/*.rows"))) == 1
    server.start()
    assert stored() == 3
    assert run(1) == ""
    assert eventually(lambda: stored() == 204 and stored())
    with assay.connect(server.url) as monitor:
        [labelled] = monitor.predictions(project=project, key="199")["predictions"]
        assert labelled["label_value"] == 7.0
    assert list((tmp_path / "spool").glob("*/*/*.rows")) == []


def test_memory_is_bounded_and_what_is_dropped_is_counted(
    wrap: Wrap, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("assay.client.row_delivery.WAITING_BYTES", 3_000)
    monkeypatch.setattr("assay.client.row_delivery.GATHERING_SECONDS", 60.0)
    sender = wrapping.row_sender("/api/predictions", "predictions", wrapping.encode)
    monkeypatch.setattr(wrapping, "_senders", [sender])
    model: Any = wrap(lambda row: 1.0)
    with caplog.at_level(logging.WARNING, "assay"):
        for _ in range(100):
            model({"n": 1})
    assert sender.dropped_rows > 50
    assert model.monitoring["not_logged"] == sender.dropped_rows
    assert flush_rows(30)
    assert model.monitoring["logged"] == 100 - sender.dropped_rows
    assert sum("some are dropped" in record.message for record in caplog.records) == 1
