"""Scoring history anew: here, on a cluster, interrupted and resumed, over the API and by the command."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from assay.client.monitor import connect
from assay.config import Quality
from assay.errors import AssayError
from assay.ingest.writer import newest_commit
from assay.quality import backfill as filling
from assay.quality.backfill import Progress, Wanted, backfill, local_scores
from assay.quality.cluster import dask_scores
from assay.quality.lanes import Loaded
from assay.quality.process import Scoring
from assay.quality.scorer import Conversation, Verdict
from assay.records import Score, Span
from assay.store.connect import Row, Store
from assay.store.rows import arrow_schema, arrow_table, stamped
from conftest import Server, chat_attributes, eventually, otlp, run_assay

START = 1_763_899_200_000_000
HOUR = 3_600_000_000
OWN = Quality(scorers="off", custom=["own_scorers"])


class Version:
    """A scorer that can be told from its former self."""

    name, scorer = "length", "test"

    def __init__(self, version: str) -> None:
        self.version = version

    def score(self, conversation: Conversation) -> Verdict:
        return Verdict(value=len(conversation.response) / 100, reason="counted")


class Here:
    """Scores in this process, at once."""

    names = ("length",)

    def __init__(self, version: str = "1", fail_after: int = 1 << 30) -> None:
        self._scoring = Scoring(Loaded((Version(version),)))
        self._left = fail_after
        self.calls = 0

    def submit(self, calls: Sequence[Row]) -> Future[list[Score]]:
        done: Future[list[Score]] = Future()
        self._left -= 1
        if self._left < 0:
            done.set_exception(AssayError("the scorer's machine is gone"))
        else:
            self.calls += len(calls)
            done.set_result(self._scoring.scores(calls))
        return done


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "BATCH", 3)


@pytest.fixture
def span_ids(store: Store, project: str) -> list[str]:
    """Ten calls, an hour apart in pairs, and three that are not to be scored."""
    own: dict[str, Any] = {"trace_id": secrets.token_hex(16), "project": project, "kind": "llm", "counted": True}
    others = [{"counted": False}, {"kind": "embedding"}, {"status": "error"}]
    spans = [
        Span(
            **own | {"span_id": secrets.token_hex(8), "started_at": START + n // 2 * HOUR, "response": "please"} | more
        )
        for n, more in enumerate([{}] * 10 + others)
    ]
    at = max(time.time_ns() // 1000, newest_commit(store) + 1)
    store.insert("spans", stamped(arrow_table(spans, arrow_schema(Span)), at))
    return [span.span_id for span in spans[:10]]


def wanted(project: str, since: int = 0, until: int = START + 100 * HOUR, **more: Any) -> Wanted:
    return Wanted(f"backfill {project}", since, until, project, **more)


def versions(store: Store, project: str) -> dict[str, str]:
    rows = store.query(
        "SELECT target, scorer_version FROM scores FINAL WHERE project = {project:String} AND name = 'length'",
        {"project": project},
    )
    return {row["target"]: row["scorer_version"] for row in rows}


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_every_call_is_scored_once_and_its_former_verdict_replaced(
    store: Store, project: str, span_ids: list[str], at_once: int
) -> None:
    list(backfill(store, [Here("1")], wanted(project), at_once=at_once))
    place = Here("2")
    told = list(backfill(store, [place], wanted(project), at_once=at_once))
    assert told[0] == Progress(0, 10, 0)
    assert told[-1] == Progress(10, 10, 10)
    assert versions(store, project) == dict.fromkeys(span_ids, "2")
    assert place.calls == 10


def test_only_calls_in_the_time_and_project_are_scored(store: Store, project: str, span_ids: list[str]) -> None:
    part = wanted(project, START + HOUR, START + 3 * HOUR)
    assert list(backfill(store, [Here()], part))[-1] == Progress(4, 4, 4)
    assert versions(store, project).keys() == set(span_ids[2:6])


def test_what_was_interrupted_goes_on_where_it_stopped(store: Store, project: str, span_ids: list[str]) -> None:
    with pytest.raises(AssayError, match="machine is gone"):
        list(backfill(store, [Here("1", fail_after=2)], wanted(project), at_once=1))
    assert len(versions(store, project)) == 6
    place = Here("2")
    told = list(backfill(store, [place], wanted(project)))
    assert place.calls == 4
    assert told[-1].done == told[-1].total == 10
    assert sorted(versions(store, project).values()) == ["1"] * 6 + ["2"] * 4
    list(backfill(store, [Here("3")], wanted(project)))
    assert set(versions(store, project).values()) == {"3"}, "the next begins anew"


def test_left_early_it_goes_on_or_begins_anew_as_asked(store: Store, project: str, span_ids: list[str]) -> None:
    steps = backfill(store, [Here("1")], wanted(project), at_once=1)
    next(steps), next(steps)
    del steps
    place = Here("2")
    list(backfill(store, [place], wanted(project), restart=True))
    assert place.calls == 10


def test_processes_here_give_the_wanted_scores_only(store: Store, project: str, span_ids: list[str]) -> None:
    one = wanted(project, scorers=("politeness",))
    with local_scores(OWN, one, processes=2) as places:
        assert list(backfill(store, places, one, at_once=4))[-1] == Progress(10, 10, 10)
    rows = store.query("SELECT DISTINCT name FROM scores FINAL WHERE project = {p:String}", {"p": project})
    assert rows == [{"name": "politeness"}]


def test_a_score_that_nobody_gives_is_refused_with_those_that_are_there() -> None:
    with (
        pytest.raises(AssayError, match="no scorer gives wit: there are politeness, silence, temper"),
        local_scores(OWN, wanted("p", scorers=("wit",)), 1),
    ):
        pass
    with (
        pytest.raises(AssayError, match="nothing is scored here"),
        local_scores(Quality(scorers="off"), wanted("p"), 1),
    ):
        pass


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp://", host="127.0.0.1", dashboard_address=None
    ) as started:
        yield started.scheduler_address


def test_a_dask_cluster_scores_the_same(store: Store, project: str, span_ids: list[str], cluster: str) -> None:
    polite = wanted(project, scorers=("politeness",))
    with dask_scores(cluster, OWN, polite) as (places, workers):
        assert workers == 1
        assert list(backfill(store, places, polite, at_once=2))[-1] == Progress(10, 10, 10)
    rows = store.query("SELECT target, value FROM scores FINAL WHERE project = {p:String}", {"p": project})
    assert {row["target"]: row["value"] for row in rows} == dict.fromkeys(span_ids, 1.0)


@pytest.mark.parametrize(
    ("address", "reason"), [("127.0.0.1:8786", "is no address"), ("tcp://127.0.0.1:1", "no Dask scheduler answers")]
)
def test_a_cluster_that_is_not_there_is_told(address: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.quality.cluster.CONNECT_SECONDS", 0.3)
    with pytest.raises(AssayError, match=reason), dask_scores(address, OWN, wanted("p")):
        pass


def test_the_command_scores_what_came_before_a_scorer_was_switched_on(own_server: Callable[..., Server]) -> None:
    server = own_server(ASSAY_QUALITY__SCORERS="off")
    server.post(otlp(*[chat_attributes()] * 3)).raise_for_status()
    with connect(server.url) as monitor:
        eventually(lambda: monitor.usage()["total_calls"] == 3)
        with pytest.raises(AssayError, match="nothing is scored here"):
            list(monitor.backfill())
        server.stop()
        (server.directory / "assay.toml").write_text('[quality.metrics]\ntoxicity = "lexical"\n')
        server.start()
    with connect(server.url) as monitor:
        with pytest.raises(AssayError, match="no point in time"):
            list(monitor.backfill(since="yesterday"))
        said = _said(server.directory, "--url", server.url, "--since", "3650d", "--scorer", "toxicity")
        assert "3 calls scored, 3 scores written" in said
        [call, *_] = monitor.calls()["calls"]
        assert call["scores"]["toxicity"] == 0.0


def _said(directory: Path, *options: str) -> str:
    done = run_assay("quality", "backfill", *options, cwd=directory)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_followers_without_a_server_share_what_it_left(own_server: Callable[..., Server]) -> None:
    server = own_server(ASSAY_QUALITY__SCORERS="off")
    server.post(otlp(*[chat_attributes()] * 12)).raise_for_status()
    with connect(server.url) as monitor:
        eventually(lambda: monitor.usage()["total_calls"] == 12)
        eventually(lambda: monitor.health()["settle"]["lag_seconds"] == 0)
    server.stop()
    scored = [_followed(server, share) for share in ("1/2", "2/2")]
    assert sum(scored) == 12
    assert min(scored) > 0
    assert _followed(server, "1/1") == 0, "who takes over goes on where they were"


def _followed(server: Server, share: str) -> int:
    """How many calls a follower with this share scores until it is through."""
    done = run_assay("quality", "follow", "--share", share, "--once", "--store", "data", cwd=server.directory)
    assert f"scoring share {share} of" in done.stdout
    return int(done.stdout.split()[-3])
