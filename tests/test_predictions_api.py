"""Predictions and labels over HTTP: what is taken, what is refused and why, and that an answer means on disk."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from dirty_equals import IsDatetime, IsPartialDict, IsStr
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from assay.config import Config, Ingest
from assay.errors import MalformedTelemetry, StoreUnavailable
from assay.ingest.arrow_columns import ARROW
from assay.ingest.committing import Committer
from assay.ingest.labels import read_labels
from assay.ingest.prediction_receiver import PredictionReceiver
from assay.ingest.predictions import read_predictions
from assay.ingest.pricing import Prices
from assay.server.api import api
from assay.server.predictions_api import add_predictions
from assay.store.connect import Store
from conftest import Server

AT = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
DAY = 86_400.0


class Api:
    """The API of the shared server, within one project."""

    def __init__(self, server: Server, project: str) -> None:
        self._client = httpx.Client(base_url=f"{server.url}/api", timeout=30)
        self.project = project

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self._client.post(path, json={"project": self.project, "model": "m", **body})

    def send(self, path: str, content: bytes, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._client.post(path, content=content, headers=named)

    def rows(self, **filters: Any) -> list[dict[str, Any]]:
        answer = self._client.get("/predictions", params={"project": self.project, "limit": 1000, **filters})
        assert answer.status_code == 200, answer.text
        return answer.json()["predictions"]

    def get(self, path: str, **filters: Any) -> Any:
        return self._client.get(path, params=filters).json()


@pytest.fixture
def door(server: Server, project: str) -> Api:
    return Api(server, project)


def stream(table: pa.Table, **common: str) -> bytes:
    sink = pa.BufferOutputStream()
    table = table.replace_schema_metadata({"model": "m", **common})
    with pa.ipc.new_stream(sink, table.schema) as opened:
        opened.write_table(table)
    return sink.getvalue().to_pybytes()


def members(**columns: list[Any]) -> pa.Array[Any]:
    arrays = [pa.array(values) for values in columns.values()]
    return pa.StructArray.from_arrays(arrays, [name.removeprefix("_") for name in columns])


# What is stored


ROWS = [
    {
        "prediction_id": "p1",
        "key": "claim-1",
        "predicted_at": "2026-11-20T08:30:00Z",
        "features": {"amount": 12.5, "country": "DE", "age": None},
        "probabilities": {"0": 0.25, "1": 0.75},
        "latency_ms": 1.5,
        "cost_usd": 0.001,
    },
    {
        "prediction_id": "p2",
        "predicted_at": AT.timestamp() + 1,
        "features": {"amount": -1e300, "country": None, "age": 3},
        "prediction": True,
        "status": "error",
        "error_type": "ValueError",
        "error_message": "<b>no</b>",
    },
]
STORED = [
    {
        "prediction_id": "p2",
        "key": "p2",
        "predicted_at": "2026-11-20T08:30:01Z",
        "features": {"amount": -1e300, "age": 3.0, "country": None},
        "prediction": "1",
        "status": "error",
        "error_type": "ValueError",
        "error_message": "<b>no</b>",
        "probabilities": {},
        "confidence": None,
        "latency_ms": None,
        "cost_usd": None,
        "reference": False,
    },
    {
        "prediction_id": "p1",
        "key": "claim-1",
        "predicted_at": "2026-11-20T08:30:00Z",
        "features": {"amount": 12.5, "country": "DE", "age": None},
        "prediction": "1",
        "probabilities": {"0": 0.25, "1": 0.75},
        "confidence": 0.75,
        "latency_ms": 1.5,
        "cost_usd": 0.001,
        "model": "m",
        "model_version": "7",
        "task": "classification",
        "environment": "",
        "service": "shop",
        "status": "ok",
        "label": None,
        "label_value": None,
    },
]
COMMON = {"model_version": "7", "service": "shop"}


def table() -> pa.Table:
    """ROWS as columns."""
    return pa.table(
        {
            "prediction_id": ["p1", "p2"],
            "key": ["claim-1", None],
            "predicted_at": pa.array([AT.timestamp(), AT.timestamp() + 1]),
            "features": members(amount=[12.5, -1e300], country=["DE", None], age=[None, 3]),
            "prediction": pa.array([None, True]),
            "probabilities": members(_0=[0.25, None], _1=[0.75, None]),
            "latency_ms": [1.5, None],
            "cost_usd": [0.001, None],
            "status": [None, "error"],
            "error_type": [None, "ValueError"],
            "error_message": [None, "<b>no</b>"],
        }
    )


def test_rows_of_json_and_of_arrow_are_stored_alike(door: Api) -> None:
    assert door.post("/predictions", rows=ROWS, **COMMON).json() == {"accepted": 2, "refused": [], "refused_rows": 0}
    from_json = door.rows()
    assert from_json == [IsPartialDict(row) for row in STORED]
    body = stream(table(), project=door.project, **COMMON)
    for encoding, sent in (("", body), ("gzip", gzip.compress(body))):
        answer = door.send("/predictions", sent, content_type=ARROW, content_encoding=encoding)
        assert answer.json() == {"accepted": 2, "refused": [], "refused_rows": 0}
        assert door.rows() == from_json


def test_pages_go_on_where_the_last_ended_and_filters_hold(door: Api) -> None:
    rows = [{"prediction_id": f"p{n}", "predicted_at": AT.timestamp() + n // 2, "prediction": n} for n in range(7)]
    door.post("/predictions", rows=rows)
    door.post("/predictions", rows=rows[:2], reference=True)
    whole = [row["prediction_id"] for row in door.rows()]
    assert whole == ["p6", "p5", "p4", "p3", "p2", "p1", "p0"]
    paged, cursor = list[str](), ""
    while cursor is not None:
        page = door.get("/predictions", project=door.project, limit=3, cursor=cursor)
        paged += [row["prediction_id"] for row in page["predictions"]]
        cursor = page["next_cursor"]
    assert paged == whole
    since = {"since": "2026-11-20T08:30:01Z", "until": "2026-11-20T08:30:03Z"}
    assert [row["prediction_id"] for row in door.rows(**since)] == ["p5", "p4", "p3", "p2"]
    assert [row["prediction_id"] for row in door.rows(key="p3")] == ["p3"]
    assert [row["prediction_id"] for row in door.rows(reference=True)] == ["p1", "p0"]
    assert "was not given by this API" in door.get("/predictions", cursor="x")["error"]
    assert "did you mean 'model'" in door.get("/predictions", modell="m")["error"]


def test_a_row_that_is_sent_again_replaces_itself_also_without_a_time(door: Api) -> None:
    for answer in ("a", "b"):
        door.post("/predictions", rows=[{"prediction_id": "timeless", "prediction": answer}])
        door.post(
            "/predictions", rows=[{"prediction_id": "timed", "predicted_at": AT.timestamp(), "prediction": answer}]
        )
    door.post("/predictions", rows=[{"prediction_id": "twice", "prediction": answer} for answer in "cd"])
    assert [(row["prediction_id"], row["prediction"]) for row in door.rows()] == [
        ("twice", "d"),
        ("timeless", "b"),
        ("timed", "b"),
    ]


def test_rows_without_an_id_learn_theirs(door: Api) -> None:
    answer = door.post(
        "/predictions", rows=[{"prediction": 1}, {"prediction": 1.5}, {"prediction_id": "own", "prediction": 2}]
    )
    ids = answer.json()["prediction_ids"]
    assert ids == [IsStr(regex="pred-[0-9a-f]{32}"), None, None]
    assert {row["prediction_id"] for row in door.rows()} == {ids[0], "own"}
    assert door.rows(prediction_id=ids[0])[0]["predicted_at"] == IsDatetime(
        iso_string=True, approx=datetime.now(UTC), delta=60
    )


# Labels


def test_the_later_label_of_a_case_holds_whatever_comes_first(door: Api) -> None:
    door.post("/labels", labels=[{"key": "k", "label": "late", "labelled_at": AT.timestamp() + 5}])
    door.post("/labels", labels=[{"key": "k", "label": "early", "labelled_at": AT.timestamp()}])
    door.post(
        "/predictions", rows=[{"key": "k", "prediction": "x"}, {"prediction_id": "own", "key": "k", "prediction": "y"}]
    )
    door.post("/labels", labels=[{"prediction_id": "own", "label": 1.0}, {"key": "unmet", "label": True}])
    assert {row["prediction"]: (row["label"], row["label_value"]) for row in door.rows()} == {
        "x": ("late", None),
        "y": ("1", 1.0),
    }
    assert door.get("/labels", project=door.project)["models"] == [
        {"project": door.project, "model": "m", "labels": 3, "unmet": 1}
    ]


def test_a_label_finds_the_model_that_predicted_its_case(door: Api) -> None:
    door.post("/predictions", rows=[{"key": "one", "prediction": 1}, {"key": "both", "prediction": 1}])
    door.post("/predictions", model="other", rows=[{"key": "both", "prediction": 1}])
    body = {"project": door.project, "labels": [{"key": key, "label": 1} for key in ("one", "both", "none")]}
    answer = door.send("/labels", json.dumps(body).encode(), content_type="application/json").json()
    assert (answer["accepted"], [(one["row"], one["field"]) for one in answer["refused"]]) == (
        1,
        [(1, "model"), (2, "model")],
    )
    assert {row["key"]: row["label"] for row in door.rows(model="m")} == {"one": "1", "both": None}


def test_labels_of_arrow_are_taken_too(door: Api) -> None:
    door.post("/predictions", task="regression", rows=[{"key": "a", "prediction": 1.5}, {"key": "b", "prediction": 2}])
    sent = pa.table({"key": ["a", "b", None], "label": [1.25, float("nan"), 3.0]})
    answer = door.send("/labels", stream(sent, project=door.project), content_type=ARROW).json()
    assert (answer["accepted"], [(one["row"], one["field"]) for one in answer["refused"]]) == (
        1,
        [(1, "label"), (2, "key")],
    )
    assert {row["key"]: (row["prediction_value"], row["label_value"]) for row in door.rows()} == {
        "a": (1.5, 1.25),
        "b": (2.0, None),
    }


# What is refused


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        ({"model": ""}, "model", "missing"),
        ({"prediction": None}, "prediction", "missing"),
        ({"prediction": 1.5}, "prediction", "'1.5' is no class: say task regression"),
        ({"prediction": "x", "task": "regression"}, "prediction", "'x' is no number: say task classification"),
        ({"prediction": [1, 2]}, "prediction", "[1, 2] is neither text nor a number"),
        ({"task": "guess"}, "task", "'guess' is neither"),
        ({"status": "bad"}, "status", "'bad' is neither"),
        ({"features": [1, 2]}, "features", "[1, 2] is no object"),
        ({"features": {"a": [1]}}, "features.a", "[1] is neither a number, a text nor null"),
        ({"features": {"": 1}}, "features", "a name must have"),
        ({"probabilities": {"0": 1.5}}, "probabilities", "within 0 and 1"),
        ({"probabilities": {"0": "x"}}, "probabilities.0", "'x' is no number"),
        ({"confidence": -0.1}, "confidence", "-0.1 must be within"),
        ({"latency_ms": -1}, "latency_ms", "-1.0 must be finite"),
        ({"predicted_at": "yesterday"}, "predicted_at", "'yesterday' is no time"),
        ({"predicted_at": 1e6}, "predicted_at", "must be after 2000"),
        ({"predicted_at": "2200-01-01"}, "predicted_at", "must be after 2000"),
        ({"reference": "yes"}, "reference", "'yes' is neither true nor false"),
        ({"input_hash": -1}, "input_hash", "-1 is no whole number"),
        ({"key": "k" * 1001}, "key", "longer than 1000 bytes"),
        ({"colour": "red"}, "colour", "is not known: a row has features, prediction"),
        ("no row", "", "'no row' is no object"),
    ],
)
def test_a_row_that_cannot_be_is_told_and_costs_its_neighbours_nothing(row: Any, field: str, reason: str) -> None:
    good: dict[str, Any] = {"prediction": 1, "features": {"a": 1}}
    bad = {**good, **row} if isinstance(row, dict) else row
    read = read_predictions(json.dumps({"model": "m", "rows": [good, bad, good]}).encode(), "application/json", DAY)
    assert (read.rows.num_rows, read.refused_rows) == (2, 1)
    [told] = read.refused
    assert (told.row, told.field) == (1, field)
    assert reason in told.reason


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"key": "a"}, "label"),
        ({"label": 1}, "key"),
        ({"key": "a", "prediction_id": "b", "label": 1}, "key"),
        ({"key": "a", "label": {}}, "label"),
        ({"key": "a", "label": 1, "labelled_at": "2200-01-01"}, "labelled_at"),
        ({"key": "a", "label": 1, "why": "x"}, "why"),
        (3, ""),
    ],
)
def test_a_label_that_cannot_be_is_told(row: Any, field: str) -> None:
    body = json.dumps({"model": "m", "labels": [row, {"key": "b", "label": 0}]}).encode()
    read = read_labels(body, "application/json", lambda cases, by: {}, DAY)
    assert (read.rows.num_rows, [(one.row, one.field) for one in read.refused]) == (1, [(0, field)])


def test_a_body_of_which_nothing_can_be_used_is_refused_whole(door: Api) -> None:
    features = pa.table({"features": [1.0]})
    cases = [
        (b"{", "application/json", 400, "the body is no JSON"),
        (b"{}", "application/json", 400, "no list 'rows'"),
        (b'{"rows": [], "modell": "m"}', "application/json", 400, "unknown: 'modell'"),
        (b'{"model": [], "rows": []}', "application/json", 400, "model"),
        (b"zz", ARROW, 400, "no Arrow IPC stream"),
        (stream(pa.table({"amount": [1.0], "prediction": [1]})), ARROW, 400, "unknown: 'amount'. features go into"),
        (stream(features), ARROW, 400, "features is double"),
        (stream(pa.table({"features": members(a=[[1]])})), ARROW, 400, "features.a is list<item: int64>"),
        (stream(pa.table({"prediction": [1], "latency_ms": ["x"]})), ARROW, 400, "latency_ms is string: send numbers"),
        (b"a,b", "text/csv", 415, "Content-Type 'text/csv' is not supported"),
        (b'{"model": "m", "rows": [{}]}', "application/json", 400, "no row was taken; row 0: prediction: missing"),
    ]
    for body, content_type, status, reason in cases:
        answer = door.send("/predictions", body, content_type=content_type)
        assert (answer.status_code, reason in answer.json()["error"]) == (status, True), answer.text
    answer = door.send("/predictions", b"x", content_type=ARROW, content_encoding="br")
    assert answer.status_code == 415


def test_small_bodies_that_stand_for_much_are_refused() -> None:
    nothing = pa.table({"prediction": pa.nulls(50_000_000)})
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(500_000, np.int8)), pa.array(["x" * 100_000]))
    flags = pa.StructArray.from_arrays([pa.array(np.zeros(900_000, bool))] * 40, [f"f{n}" for n in range(40)])
    for bomb in (nothing, pa.table({"key": text}), pa.table({"prediction": np.zeros(900_000), "features": flags})):
        with pytest.raises(MalformedTelemetry, match=r"too much|at most"):
            read_predictions(stream(bomb), ARROW, DAY)


PIECES = stream(table())


@given(st.lists(st.tuples(st.integers(0, len(PIECES) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_damaged_stream_is_read_or_refused_and_never_worse(changes: list[tuple[int, int]]) -> None:
    body = bytearray(PIECES)
    for place, value in changes:
        body[place] = value
    try:
        read = read_predictions(bytes(body), ARROW, DAY)
    except MalformedTelemetry:
        return
    assert read.rows.num_rows + read.refused_rows <= 2


values = st.floats() | st.integers(-(2**40), 2**40) | st.none() | st.text(max_size=5) | st.booleans()


@given(st.dictionaries(st.text(min_size=1, max_size=5), values, max_size=5), st.randoms())
def test_the_hash_of_an_input_depends_on_names_and_values_only(features: dict[str, Any], random: Any) -> None:
    shuffled = list(features.items())
    random.shuffle(shuffled)
    changed = {**features, "one more": 1}
    rows = [{"features": one, "prediction": 1} for one in (features, dict(shuffled), changed)]
    read = read_predictions(json.dumps({"model": "m", "rows": rows}).encode(), "application/json", DAY)
    first, second, other = read.rows["input_hash"].to_pylist()
    assert first == second != other
    columns = {name: pa.array([value]) for name, value in features.items()}
    if columns:
        struct = pa.StructArray.from_arrays(list(columns.values()), list(columns))
        [again] = read_predictions(stream(pa.table({"features": struct, "prediction": [1]})), ARROW, DAY).rows[
            "input_hash"
        ]
        assert again.as_py() == first


# On disk


class Slow:
    """An insert that takes its time, and fails where a row says so."""

    def __init__(self) -> None:
        self.inserts = list[list[int]]()
        self.open = threading.Event()

    def __call__(self, rows: pa.Table, at: int) -> None:
        self.open.wait(10)
        numbers = rows["n"].to_pylist()
        if -1 in numbers:
            raise StoreUnavailable("no space left")
        self.inserts.append(numbers)


@pytest.fixture
def slow() -> Iterator[tuple[Slow, Committer]]:
    insert = Slow()
    committer = Committer(insert, "tests")
    yield insert, committer
    insert.open.set()
    committer.close()


def test_what_comes_together_is_inserted_together(slow: tuple[Slow, Committer]) -> None:
    insert, committer = slow
    first = committer.submit(pa.table({"n": [0]}))
    time.sleep(0.1)
    others = [committer.submit(pa.table({"n": [number]})) for number in range(1, 50)]
    assert not any(done.done() for done in (first, *others))
    insert.open.set()
    for done in (first, *others):
        done.result(10)
    assert insert.inserts == [[0], list(range(1, 50))]
    assert committer.waiting_rows == 0


def test_rows_that_the_store_does_not_take_fail_alone(slow: tuple[Slow, Committer]) -> None:
    insert, committer = slow
    committer.submit(pa.table({"n": [0]}))
    time.sleep(0.1)
    good, bad, better = (committer.submit(pa.table({"n": [number]})) for number in (1, -1, 2))
    insert.open.set()
    assert (good.result(10), better.result(10)) == (None, None)
    with pytest.raises(StoreUnavailable, match="no space left"):
        bad.result(10)


def test_a_store_that_takes_nothing_and_too_large_a_body_are_answered_so(store: Store) -> None:
    config = Config()
    app: FastAPI = api(store, lambda: (True, {}), "0", rewrite=lambda _: None, prices=Prices({}), config=config)
    receiver = PredictionReceiver(store, Ingest(max_body_bytes=1000, max_pending_bytes=2000))
    add_predictions(app, store, receiver)
    client = TestClient(app)
    row = {"model": "m", "rows": [{"prediction": 1}]}
    large = client.post("/predictions", content=b" " * 1001, headers={"content-type": "application/json"})
    assert (large.status_code, "larger than 1000 bytes" in large.json()["error"]) == (413, True)
    bomb = gzip.compress(b" " * 100_000)
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert client.post("/predictions", content=bomb, headers=headers).status_code == 413
    receiver.close()
    answer = client.post("/predictions", json=row)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert receiver.figures() == IsPartialDict(refused_requests=2, deferred_requests=1, pending_bytes=0, pending_rows=0)
