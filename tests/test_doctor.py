"""The doctor says what is wrong with stored calls; pricing anew mends costs, block by block."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any

import pytest
from dirty_equals import IsPartialDict

from assay.analytics.doctor import findings, server_findings
from assay.config import Price
from assay.ingest.batch import SPAN_SCHEMA
from assay.ingest.pricing import Prices
from assay.ingest.reprice import Repriced, reprice
from assay.records import Span
from assay.store.connect import Store
from assay.store.rows import arrow_table, stamped

NOW = time.time_ns() // 1000


@pytest.fixture
def rewrite(store: Store) -> Any:
    def write(spans: Sequence[Span]) -> None:
        store.insert("spans", stamped(arrow_table(spans, SPAN_SCHEMA), time.time_ns() // 1000))

    return write


def call(project: str, **fields: Any) -> Span:
    own: dict[str, Any] = {"kind": "llm", "counted": True, "started_at": NOW, "request_model": "house-model"}
    ids = {"trace_id": secrets.token_hex(16), "span_id": secrets.token_hex(8)}
    return Span(**ids | own | {"project": project, "input_tokens": 1_000_000, "output_tokens": 0} | fields)


def costs(store: Store, project: str) -> list[float]:
    rows = store.query("SELECT cost_usd FROM spans FINAL WHERE project = {p:String}", {"p": project})
    return sorted(row["cost_usd"] or 0 for row in rows)


def test_calls_are_priced_anew_with_the_table_of_today(store: Store, project: str, rewrite: Any) -> None:
    rewrite([call(project), call(project), call(project, counted=False, duplicate_of="x")])
    prices = Prices({"house-model": Price(input=2)})
    told = Repriced(calls=2, changed=2, cost_before_usd=0, cost_after_usd=4, unpriced={})
    assert reprice(store, rewrite, prices, project=project, dry_run=True) == told
    assert costs(store, project) == [0, 0, 0]
    assert reprice(store, rewrite, prices, project=project) == told
    assert costs(store, project) == [0, 2, 2]
    assert reprice(store, rewrite, prices, project=project).changed == 0


def test_only_calls_of_the_time_asked_for_change(store: Store, project: str, rewrite: Any) -> None:
    rewrite([call(project), call(project, started_at=NOW - 10**9)])
    prices = Prices({"house-model": Price(input=2)})
    assert reprice(store, rewrite, prices, since=NOW - 10**6, project=project).changed == 1
    assert reprice(store, rewrite, prices, until=NOW - 10**6, project=project).changed == 1


def test_more_calls_than_a_block_are_each_seen_once(
    store: Store, project: str, rewrite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay.ingest.reprice.BLOCK_CALLS", 3)
    rewrite([*(call(project) for _ in range(8)), *(call(project, span_id="b" * 16) for _ in range(4))])
    found = reprice(store, rewrite, Prices(), project=project)
    assert (found.calls, found.unpriced) == (9, {"house-model": 9})  # four traces with one span id are one row


def test_the_doctor_names_what_has_no_price_differs_or_is_told_twice(store: Store, project: str, rewrite: Any) -> None:
    counted = call(project, request_model=f"model-{project}", scope_name=f"inner-{project}")
    again = call(project, counted=False, duplicate_of=counted.span_id, scope_name=f"outer-{project}")
    dear = call(project, request_model=f"dear-{project}", cost_usd=1.0, attributes={"assay.reported_cost_usd": "1.5"})
    odd = call(project, kind="span", counted=False, scope_name=f"odd-{project}", attributes={"llm.model_name": "m"})
    rewrite([counted, again, dear, odd])
    found = {finding.check: finding for finding in findings(store) if project in finding.found}
    assert {check: finding.status for check, finding in found.items()} == {
        "prices": "warning",
        "costs": "warning",
        "counted once": "ok",
        "dialects": "warning",
    }
    assert f'[prices."model-{project}"]' in found["prices"].fix
    assert "$1.000000 by our prices and $1.500000" in found["costs"].found


def test_the_doctor_tells_how_the_server_is(store: Store) -> None:
    ingest = {"pending_spans": 7, "refused_spans": 1, "refused_events": 0, "refused_requests": 2, "last_refusal": "why"}
    health = {"version": "1", "problems": ["disk full"], "ingest": ingest, "settle": {"lag_seconds": 0.5}}
    found = [finding._asdict() for finding in server_findings(health, store)]
    assert found[0] == {"check": "server", "status": "failure", "found": "disk full", "fix": ""}
    assert found[1] == IsPartialDict(found="7 spans wait to be stored, settling is 0.5 s behind")
    assert found[2] == IsPartialDict(status="warning", found="3 since the start, the last: why")
    assert found[3] == IsPartialDict(check="disk")
