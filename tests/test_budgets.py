"""Budgets: what is spent in the right period, what is foretold, and when it is told of."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from typer.testing import CliRunner

from assay.alerts.overspent import Spending
from assay.analytics.budgets import BudgetState, budgets, period
from assay.analytics.forecast import forecast
from assay.cli import app
from assay.config import Budget, load_config
from assay.errors import ConfigError
from assay.ingest.batch import SPAN_SCHEMA
from assay.records import Span
from assay.store.connect import Store
from assay.store.rows import arrow_table, stamped

BERLIN = ZoneInfo("Europe/Berlin")
THURSDAY = datetime(2026, 10, 15, 12, 0, tzinfo=UTC)


def spend(store: Store, project: str, *calls: tuple[datetime, float | None], **fields: Any) -> None:
    spans = [
        Span(
            trace_id=secrets.token_hex(16),
            span_id=secrets.token_hex(8),
            project=project,
            kind="llm",
            counted=True,
            status="ok",
            started_at=round(at.timestamp() * 1e6),
            cost_usd=usd,
            **fields,
        )
        for at, usd in calls
    ]
    store.insert("spans", stamped(arrow_table(spans, SPAN_SCHEMA), time.time_ns() // 1000))


def of_project(project: str, **more: Any) -> Budget:
    return Budget(**{"name": "b", "amount_usd": 10, "filter": {"project": project}} | more)


def state(store: Store, budget: Budget, timezone: str = "UTC", now: datetime = THURSDAY) -> BudgetState:
    [found] = budgets(store, [budget], timezone, now)
    return found


@pytest.mark.parametrize(
    ("name", "moment", "hours", "first"),
    [
        ("month", "2026-10-31T23:30:00Z", 30 * 24, "2026-10-31T23:00:00Z"),
        ("month", "2026-10-31T22:30:00Z", 31 * 24 + 1, "2026-09-30T22:00:00Z"),
        ("week", "2026-03-29T12:00:00Z", 7 * 24 - 1, "2026-03-22T23:00:00Z"),
        ("day", "2026-10-25T12:00:00Z", 25, "2026-10-24T22:00:00Z"),
    ],
)
def test_periods_are_those_of_the_calendar_where_the_clock_is_put_forward_and_back(
    name: str, moment: str, hours: int, first: str
) -> None:
    since, until = period(name, datetime.fromisoformat(moment), BERLIN)
    assert since == datetime.fromisoformat(first)
    assert until - since == timedelta(hours=hours)


def test_what_was_spent_in_the_period_counts_and_what_has_no_price_is_told(store: Store, project: str) -> None:
    midnight = datetime(2026, 9, 30, 22, tzinfo=UTC)  # October in Berlin
    spend(store, project, (midnight - timedelta(microseconds=1), 5.0), (midnight, 2.0), (THURSDAY, 7.0))
    spend(store, project, (THURSDAY - timedelta(microseconds=1), 1.0), (THURSDAY - timedelta(hours=1), None))
    found = state(store, of_project(project), "Europe/Berlin")
    assert (found.spent_usd, found.share, found.unpriced) == (3.0, 0.3, 1)
    assert state(store, of_project(project, period="week")).spent_usd == 1.0


def test_a_steady_rhythm_is_carried_on_to_the_end_of_the_month(store: Store, project: str) -> None:
    """Two dollars at each noon of working days, nothing at weekends."""
    days = [datetime(2026, 9, 14, 11, tzinfo=UTC) + timedelta(days=place) for place in range(32)]
    spend(store, project, *((day, 2.0) for day in days if day.weekday() < 5))
    found = state(store, of_project(project, amount_usd=30.0))
    assert found.spent_usd == pytest.approx(22.0)  # the 1st to the 15th
    assert found.forecast_usd == pytest.approx(44.0)  # 11 working days more
    assert found.low is not None
    assert found.high is not None
    assert found.low < 44 < found.high
    assert (found.state, found.exceeded_at) == ("at risk", datetime(2026, 10, 21, 11, tzinfo=UTC))
    assert (
        found.sentence
        == "b: $22.00 of $30.00 spent (73%), will be exceeded about Wed 21 Oct 11:00; $44.00 by the end of the month"
    )
    assert state(store, of_project(project, amount_usd=100.0)).state == "ok"
    exceeded = state(store, of_project(project, amount_usd=20.0))
    assert (exceeded.state, exceeded.chance, exceeded.exceeded_at) == (
        "exceeded",
        1.0,
        datetime(2026, 10, 14, 11, tzinfo=UTC),
    )


def test_a_young_project_goes_on_as_today_and_nothing_is_said_of_a_silent_one(store: Store, project: str) -> None:
    spend(store, project, (THURSDAY - timedelta(hours=2), 1.0), (THURSDAY - timedelta(hours=1), 1.0))
    found = state(store, of_project(project, period="day"))
    assert (found.forecast_usd, found.low, found.chance) == (pytest.approx(2 + 12), None, None)
    silent = state(store, of_project(f"{project}-other"))
    assert (silent.spent_usd, silent.forecast_usd, silent.state) == (0.0, 0.0, "ok")


def test_each_value_of_a_tag_has_the_amount_or_one_alone(store: Store, project: str) -> None:
    spend(store, project, (THURSDAY - timedelta(hours=1), 12.0), attributes={"team": "search"})
    spend(store, project, (THURSDAY - timedelta(hours=1), 3.0), attributes={"team": "chat"})
    each = budgets(store, [of_project(project, per="tag:team")], "UTC", THURSDAY)
    assert [(one.value, one.spent_usd) for one in each] == [("search", 12.0), ("chat", 3.0)]
    assert state(store, of_project(project, per="tag:team", value="chat")).spent_usd == 3.0
    assert state(store, of_project(project, per="tag:team", value="nobody")).spent_usd == 0.0


def test_the_forecast_holds_what_comes_and_one_wild_day_does_not_carry_it_away() -> None:
    generator = np.random.default_rng(4)
    weekday = np.array([1, 1.1, 1, 1.05, 0.9, 0.3, 0.25])
    held = 0
    for _ in range(200):
        days = np.arange(35) % 7
        level = np.exp(0.1 * generator.standard_normal(5)).repeat(7)
        costs = (weekday[days] * level * np.exp(0.3 * generator.standard_normal(35)))[:, None] * np.full(24, 1 / 24)
        coming = np.arange(7 * 24)
        found = forecast(costs[:28], days[:28], coming, 1.0)
        low, high = found.interval
        assert low is not None
        assert high is not None
        held += low <= costs[28:].sum() <= high
    assert 0.9 <= held / 200 <= 1.0
    calm = np.full((28, 24), 1.0)
    wild = calm.copy()
    wild[3] *= 1000
    days = np.arange(28) % 7
    assert forecast(wild, days, np.arange(168), 1.0).expected == pytest.approx(168 + 24)  # as four such days more
    assert forecast(calm, days, np.arange(24), 0.25).expected == pytest.approx(23.25)


def test_the_alert_engine_is_told_once_a_minute_at_most(store: Store, project: str) -> None:
    spend(store, project, (THURSDAY - timedelta(hours=1), 12.0))
    asked = list[int]()

    def ask() -> list[BudgetState]:
        asked.append(1)
        return budgets(store, [of_project(project), of_project(project, amount_usd=1e6)], "UTC", THURSDAY)

    spending = Spending(ask)
    [condition] = spending.look(100.0)
    assert (condition.rule, condition.group, condition.severity) == ("assay:budget-exceeded", "b", "HIGH")
    assert condition.message.startswith("b: $12.00 of $10.00 spent (120%), exceeded since Thu 15 Oct 11:00")
    assert spending.look(159.0) == [condition]
    spending.look(161.0)
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[budget]]\nname = "a"\namount_usd = 0', "greater than 0"),
        ('[[budget]]\nname = "a"\namount_usd = 1\nper = "team"', "tag:KEY, not 'team'"),
        ('[[budget]]\nname = "a"\namount_usd = 1\nvalue = "x"', "needs per"),
        ('[[budget]]\nname = "a"\namount_usd = 1\nfilter = {modle = "x"}', "no filter is called 'modle'"),
        ('[[budget]]\nname = "a"\namount_usd = 1\nperiod = "year"', "'month', 'week' or 'day'"),
        (
            '[[budget]]\nname = "a"\namount_usd = 1\n[[budget]]\nname = "a"\namount_usd = 1',
            "two budgets are called 'a'",
        ),
        ('timezone = "Berlin"', "'Berlin' is no time zone: write for example Europe/Berlin"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused_with_the_reason(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "assay.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=said):
        load_config()


def test_the_command_says_where_budgets_are_set(server: Any) -> None:
    shown = CliRunner().invoke(app, ["budgets", "--url", server.url])
    assert shown.exit_code == 0, shown.output
    assert "docs/budgets.md" in shown.output
