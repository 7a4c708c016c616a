"""assay.connect: every question asked of a real server that holds four known calls."""

from __future__ import annotations

import io
import json
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pandas as pd
import pyarrow.parquet as pq
import pytest
from dirty_equals import IsApprox, IsPartialDict

import assay
from assay.client.monitor import Monitor, connect
from assay.errors import AssayError, NotFound, ServerError
from conftest import Server, chat_attributes, eventually, free_port, otlp

SCORES = {"coherence", "groundedness", "prompt_toxicity", "refusal", "relevance", "toxicity"}
COST = 1000 * 0.15e-6 + 500 * 0.6e-6


class Stored(NamedTuple):
    """Three good calls by two models, the last of them slow (5 s, others 0.8 s), and then a failed one."""

    project: str
    first: str
    slow: str
    failed: str


@pytest.fixture(scope="module")
def stored(server: Server) -> Stored:
    project, ids, now = "test-monitor", [secrets.token_hex(8) for _ in range(4)], time.time_ns()
    background = json.dumps([{"type": "text", "content": "Machine learning is a way to learn from data. " * 10}])
    other = {
        **chat_attributes("What is 2+2?", "2+2 is 4."),
        "gen_ai.request.model": "acme-1",
        "gen_ai.response.model": "acme-1",
    }
    server.post(
        otlp(
            {
                "span_id": ids[0],
                "start_ns": now - 90 * 10**9,
                "session.id": "s1",
                "gen_ai.system_instructions": background,
            },
            {"span_id": ids[1], "start_ns": now - 80 * 10**9, "attributes": other},
            {"span_id": ids[2], "start_ns": now - 70 * 10**9, "end_ns": now - 65 * 10**9, "session.id": "s1"},
            {
                "span_id": ids[3],
                "start_ns": now - 60 * 10**9,
                "error": "overloaded",
                "error.type": "InternalServerError",
            },
            project=project,
        )
    )
    with connect(server.url) as monitor:
        eventually(lambda: all(set(monitor.call(span_id)["scores"]) >= SCORES for span_id in ids[:3]))
    return Stored(project, ids[0], ids[2], ids[3])


@pytest.fixture
def away() -> Iterator[Monitor]:
    """A monitor whose server is not there."""
    with connect(f"http://127.0.0.1:{free_port()}") as connected:
        yield connected


def test_health_tells_that_all_is_well(monitor: Monitor, stored: Stored) -> None:
    assert monitor.health() == IsPartialDict(status="ok", problems=[])


def test_usage_adds_up(monitor: Monitor, stored: Stored) -> None:
    assert monitor.usage(project=stored.project) == IsPartialDict(
        total_calls=4,
        total_conversations=4,
        sessions=1,
        errors=1,
        unpriced=1,
        total_cost_usd=IsApprox(3 * COST, delta=1e-9),
        total_tokens=4 * 1500,
        avg_latency_ms=IsApprox((3 * 800 + 5000) / 4, delta=0.01),
    )


def test_usage_can_be_grouped_and_filtered(monitor: Monitor, stored: Stored) -> None:
    grouped = monitor.usage(project=stored.project, group_by="model")
    calls = {group["group"]: group["total_calls"] for group in grouped["groups"]}
    assert calls == {"gpt-4o-mini-2024-07-18": 3, "acme-1": 1}
    assert monitor.usage(project=stored.project, model="acme-1")["total_calls"] == 1
    assert monitor.usage(project=stored.project, session_id="s1")["total_calls"] == 2
    assert monitor.usage(project=stored.project, since="1h", until="1m")["total_calls"] == 4
    assert monitor.usage(project=stored.project, since="1s")["total_calls"] == 0


def test_a_filter_of_none_is_no_filter(monitor: Monitor, stored: Stored) -> None:
    unfiltered = monitor.usage(project=stored.project)
    assert monitor.usage(project=stored.project, model=None, since=None) == unfiltered


def test_quality_tells_of_every_score(monitor: Monitor, stored: Stored) -> None:
    scores = monitor.quality(project=stored.project)["scores"]
    assert set(scores) >= SCORES
    assert {name: scores[name]["n"] + scores[name]["not_assessable"] for name in SCORES} == dict.fromkeys(SCORES, 3)


def test_trends_and_latencies_count_the_same_calls(monitor: Monitor, stored: Stored) -> None:
    points = monitor.trends(project=stored.project, bucket="1d", since="7d")["points"]
    assert sum(point["calls"] for point in points) == 4
    assert sum(bin["conversations"] for bin in monitor.latencies(project=stored.project)) == 4


def test_calls_come_page_by_page_newest_first(monitor: Monitor, stored: Stored) -> None:
    first = monitor.calls(project=stored.project, limit=3)
    second = monitor.calls(project=stored.project, limit=3, cursor=first["next_cursor"])
    ids = [call["span_id"] for page in (first, second) for call in page["calls"]]
    assert [ids[0], ids[1], ids[3]] == [stored.failed, stored.slow, stored.first]
    assert (len(ids), second["next_cursor"]) == (4, None)


def test_calls_are_found_by_their_words_and_ordered_by_latency(monitor: Monitor, stored: Stored) -> None:
    assert [call["response"] for call in monitor.calls(project=stored.project, q="4")["calls"]] == ["2+2 is 4."]
    assert monitor.calls(project=stored.project, order="latency")["calls"][0]["span_id"] == stored.slow


def test_one_call_is_told_in_full(monitor: Monitor, stored: Stored) -> None:
    call = monitor.call(stored.first)
    assert call == IsPartialDict(project=stored.project, session_id="s1", cost_usd=IsApprox(COST, delta=1e-9))
    assert {verdict["name"] for verdict in call["verdicts"]} >= SCORES


@pytest.mark.parametrize("span_id", ["0" * 16, "no/such", "", "../health", "ä ?x=1#", "a" * 5000])
def test_a_call_that_is_not_stored_is_not_found(monitor: Monitor, stored: Stored, span_id: str) -> None:
    with pytest.raises(NotFound):
        monitor.call(span_id)


def test_alerts_name_the_slow_call(monitor: Monitor, stored: Stored) -> None:
    alerts = monitor.alerts(project=stored.project)
    assert [alert["span_id"] for alert in alerts if alert["type"] == "HIGH_LATENCY"] == [stored.slow]
    assert monitor.alerts(project="none such") == []


def test_the_report_is_markdown(monitor: Monitor, stored: Stored) -> None:
    report = monitor.report(project=stored.project)
    assert report.startswith("# LLM monitoring summary report\n")
    assert "| Conversations | 4 |" in report
    assert "| 1 of 4 calls" in report


def test_a_score_given_through_the_monitor_is_stored_at_once(monitor: Monitor, stored: Stored) -> None:
    answer = monitor.score(stored.slow, "helpfulness", 0.5, comment="too slow", author="ada")
    assert answer == {"span_id": stored.slow, "name": "helpfulness", "value": 0.5}
    [verdict] = [v for v in monitor.call(stored.slow)["verdicts"] if v["name"] == "helpfulness"]
    assert verdict == IsPartialDict(value=0.5, comment="too slow", author="ada", source="human")


def test_a_score_that_is_wrong_is_refused_with_the_reason(monitor: Monitor, stored: Stored) -> None:
    with pytest.raises(NotFound, match="no call with span_id '0000000000000000' is stored"):
        monitor.score("0" * 16, "helpfulness", 1)
    with pytest.raises(AssayError, match="give a value, a label or a comment"):
        monitor.score(stored.slow, "helpfulness")


def test_calls_as_a_frame_have_their_scores_as_columns(monitor: Monitor, stored: Stored) -> None:
    frame = monitor.calls_frame(project=stored.project)
    assert len(frame) == 4
    assert isinstance(frame["started_at"].dtype, pd.DatetimeTZDtype)
    assert set(frame.columns) >= {"prompt", "cost_usd", *SCORES}
    assert frame["relevance"].notna().sum() == 3
    assert frame.loc[frame["status"] == "error", "error_message"].tolist() == ["overloaded"]


def test_trends_as_a_frame_have_their_scores_as_columns(monitor: Monitor, stored: Stored) -> None:
    frame = monitor.trends_frame(project=stored.project, since="7d", bucket="1d")
    assert isinstance(frame["bucket"].dtype, pd.DatetimeTZDtype)
    assert set(frame.columns) >= SCORES
    assert frame["calls"].sum() == 4


def test_a_frame_of_nothing_is_empty(monitor: Monitor, stored: Stored) -> None:
    assert monitor.calls_frame(project="none such").empty
    assert monitor.trends_frame(project="none such").empty


def test_an_export_to_a_path_answers_its_size_in_every_format(monitor: Monitor, stored: Stored, tmp_path: Path) -> None:
    for format in ("csv", "jsonl", "parquet"):
        path = tmp_path / f"calls.{format}"
        assert monitor.export(path, format, "calls", project=stored.project)["bytes"] == path.stat().st_size > 0
    frames = [
        pd.read_csv(tmp_path / "calls.csv", dtype={"span_id": str}),
        pd.read_json(tmp_path / "calls.jsonl", lines=True, dtype={"span_id": str}),
        pq.read_table(tmp_path / "calls.parquet").to_pandas(),
    ]
    for frame in frames:
        assert frame["span_id"].tolist()[0::2] == [stored.first, stored.slow]
        assert set(frame.columns) >= {"prompt", "cost_usd", *SCORES}
    facts = [f"calls.{format}.meta.json" for format in ("csv", "jsonl", "parquet")]
    assert sorted(file.name for file in tmp_path.iterdir() if file.suffix == ".json") == facts


def test_an_export_to_an_open_file_is_written_there(monitor: Monitor, stored: Stored) -> None:
    file = io.BytesIO()
    assert monitor.export(file, "jsonl", project=stored.project)["bytes"] == len(file.getvalue())
    assert [json.loads(line)["status"] for line in file.getvalue().splitlines()] == ["ok", "ok", "ok", "error"]


def test_an_export_that_is_refused_leaves_the_former_file(monitor: Monitor, stored: Stored, tmp_path: Path) -> None:
    path = tmp_path / "calls.csv"
    path.write_text("the former export")
    with pytest.raises(AssayError, match="cannot export 'xml': choose one of csv, jsonl, parquet"):
        monitor.export(path, "xml")
    assert path.read_text() == "the former export"
    assert list(tmp_path.iterdir()) == [path]


def test_an_export_that_breaks_off_leaves_the_former_file(tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half of "
        raise httpx.ReadError("connection reset")

    path = tmp_path / "calls.csv"
    path.write_text("the former export")
    transport = httpx.MockTransport(
        lambda _: httpx.Response(200, headers={"Assay-Export": '{"format": "csv"}'}, content=broken())
    )
    with (
        Monitor(httpx.Client(base_url="http://assay/api", transport=transport)) as monitor,
        pytest.raises(ServerError, match="connection reset"),
    ):
        monitor.export(path)
    assert path.read_text() == "the former export"
    assert list(tmp_path.iterdir()) == [path]


def test_where_no_server_answers_every_question_says_so_and_what_to_do(away: Monitor, tmp_path: Path) -> None:
    url = re.escape(str(away._client.base_url).removesuffix("/api/"))
    questions = [
        away.health,
        away.usage,
        away.quality,
        away.trends,
        away.trends_frame,
        away.latencies,
        away.calls,
        away.calls_frame,
        lambda: away.call("0" * 16),
        away.alerts,
        away.report,
        lambda: away.export(tmp_path / "calls.csv"),
        lambda: away.score("0" * 16, "helpfulness", 1),
    ]
    for question in questions:
        with pytest.raises(
            ServerError, match=rf"no Assay answers at {url} \(.*refused\): start one with `assay serve`"
        ):
            question()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "http://127.0.0.1:port", "http://[::1", "http://a b"])
def test_an_address_that_is_none_is_an_assay_error(url: str) -> None:
    with pytest.raises(AssayError), assay.connect(url) as connected:
        connected.health()


def test_a_server_that_is_not_assay_is_told_apart() -> None:
    def monitor(response: httpx.Response) -> Monitor:
        return Monitor(httpx.Client(base_url="http://assay/api", transport=httpx.MockTransport(lambda _: response)))

    with pytest.raises(ServerError, match="502: <html>bad gateway"):
        monitor(httpx.Response(502, text="<html>bad gateway")).usage()
    with pytest.raises(AssayError):
        monitor(httpx.Response(200, text="<html>welcome")).usage()


def test_a_filter_that_is_wrong_is_refused_with_the_reason(monitor: Monitor) -> None:
    with pytest.raises(AssayError, match="limit must be between 1 and 1000, not 0"):
        monitor.calls(limit=0)
    with pytest.raises(AssayError, match=r"limit: .*integer"):
        monitor.calls(limit="many")
    with pytest.raises(AssayError, match="cannot group by 'mood'"):
        monitor.usage(group_by="mood")


def test_a_key_that_is_missing_is_asked_for(own_server: object) -> None:
    guarded = own_server(ASSAY_API_KEYS="the-key")  # type: ignore[operator]
    with connect(guarded.url) as monitor, pytest.raises(AssayError, match="an API key is needed"):
        monitor.usage()
    with connect(guarded.url, api_key="the-key") as monitor:
        assert monitor.usage()["total_calls"] == 0
