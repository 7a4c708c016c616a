"""The doctor around the calls: scoring, clocks, duplicates, budgets; and from outside, where nothing works."""

from __future__ import annotations

import json
import re
import secrets
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from assay.analytics.checkup import checkup
from assay.analytics.doctor import Finding
from assay.cli import app
from assay.config import Budget, Config
from assay.ingest.batch import SPAN_SCHEMA
from assay.records import Score, Span
from assay.store.connect import Store
from assay.store.rows import arrow_table, stamped
from assay.store.scores import insert_scores

HOUR = 3600 * 10**6


def write(store: Store, *spans: Span) -> None:
    store.insert("spans", stamped(arrow_table(spans, SPAN_SCHEMA), time.time_ns() // 1000))


def call(project: str, **fields: Any) -> Span:
    start = time.time_ns() // 1000 - HOUR
    fixed: dict[str, Any] = {"kind": "llm", "counted": True, "status": "ok", "started_at": start}
    ids = {"trace_id": secrets.token_hex(16), "span_id": secrets.token_hex(8)}
    return Span(**ids | fixed | {"project": project} | fields)


def found(opened: Store, health: dict[str, Any] | None = None, **settings: Any) -> dict[str, Finding]:
    return {finding.check: finding for finding in checkup(opened, Config(**settings), health or {})}


def number(text: str) -> int:
    return int(re.sub(r"\D", "", re.findall(r"[\d,]+", text)[0]))


def test_calls_without_price_or_score_and_calls_counted_twice_are_told(
    store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever other tests wrote to the store: two calls without a score are enough, and none is left out.
    monkeypatch.setattr("assay.analytics.checkup.UNSCORED", 0.0)
    monkeypatch.setattr("assay.analytics.checkup.SAMPLED", 10**9)
    before = found(store)
    judged = call(project, cost_usd=1.0)
    write(store, judged, *(call(project, response_id=f"r-{project}") for _ in range(2)))
    write(store, *(call(project, counted=False, duplicate_of="x") for _ in range(3)))
    insert_scores(
        store,
        [Score(target=judged.span_id, name="relevance", value=0.5, source="scorer", started_at=judged.started_at)],
    )
    after = found(store)
    assert after["unpriced"].status == after["unscored"].status == after["duplicates"].status == "warning"
    added = 0 if before["unpriced"].status == "ok" else number(before["unpriced"].found)
    assert number(after["unpriced"].found) == added + 2
    twice = 0 if before["duplicates"].status == "ok" else number(before["duplicates"].found)
    assert number(after["duplicates"].found) == twice + 1
    assert after["unscored"].fix == "`assay quality backfill --since 7d` scores them"
    assert "switched off" in found(store, {"quality": None})["unscored"].fix
    assert after["tables"].status == after["price table"].status == "ok"


def test_a_clock_that_was_set_back_is_a_failure(
    store: Store, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, call(project))
    (tmp_path / "file").touch()
    assert found(store, store=str(tmp_path))["clock"].status == "ok"
    monkeypatch.setattr("assay.analytics.checkup.time", SimpleNamespace(time=lambda: time.time() - 3600))
    told = [finding for finding in checkup(store, Config(store=str(tmp_path)), {}) if finding.check == "clock"]
    assert [finding.status for finding in told] == ["failure", "failure"]
    assert re.fullmatch(r"the store was written 3,[56]\d\d s ahead", told[0].found)
    assert re.fullmatch(r"the disk's files are 3,[56]\d\d s ahead", told[1].found)
    assert "NTP" in told[0].fix


def test_budgets_and_the_judges_are_told_when_they_are_used_up(store: Store, project: str) -> None:
    write(store, call(project, cost_usd=5.0, started_at=time.time_ns() // 1000))
    budget = Budget(name="small", amount_usd=1.0, filter={"project": project})
    judge = {"notice": "judge: today's budget of $1.00 is used up", "last_error": ""}
    told = found(store, {"judge": judge}, budget=[budget])
    assert told["budgets"].found.startswith("small: $5.00 of $1.00 spent (500%), exceeded since")
    assert (told["judge"].status, told["judge"].found) == ("warning", judge["notice"])


def doctor(*arguments: str) -> tuple[int, dict[str, dict[str, str]]]:
    run = CliRunner().invoke(app, ["doctor", "--json", *arguments])
    return run.exit_code, {finding["check"]: finding for finding in json.loads(run.stdout)}


def test_the_way_of_spans_is_tried_without_storing_any(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    _, told = doctor("--url", server.url)
    assert told["spans to Assay"]["found"] == f"{server.url}/v1/traces takes them"
    assert told["spans of OpenTelemetry"]["status"] == told["endpoints"]["status"] == "warning"
    assert told["endpoints"]["fix"] == f"set OTEL_EXPORTER_OTLP_ENDPOINT={server.url}, or ASSAY_URL to match"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
    _, told = doctor("--url", server.url)
    assert "endpoints" not in told
    assert told["calls"]["status"] == "ok"


def test_where_nothing_works_the_doctor_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASSAY_URL", "http://127.0.0.1:9")
    code, told = doctor()
    assert (code, told["store"]["status"], told["spans to Assay"]["status"]) == (1, "failure", "warning")
    assert told["store"]["fix"].startswith("start `assay serve` where the store is, or name it")
    (tmp_path / "broken").write_text("not a directory")
    code, told = doctor("--store", str(tmp_path / "broken"))
    assert (code, told["store"]["status"], told["disk"]["check"]) == (1, "failure", "disk")
    assert "cannot open" in told["store"]["found"]
    (tmp_path / "assay.toml").write_text("prot = 1")
    code, told = doctor()
    assert (code, told["settings"]["status"]) == (1, "failure")
    assert "prot" in told["settings"]["found"]
