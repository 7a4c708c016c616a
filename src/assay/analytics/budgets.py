"""How much of each budget is spent, what it will be by the end of its period, and when it is or will be exceeded.

In: the budgets of assay.toml and the costs of calls by hour, in the settings' time zone. The forecast's method is told
in forecast.py. What Assay's own judge costs has a budget of its own and is not counted here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from assay.analytics.forecast import HISTORY_DAYS, Floats, Forecast, forecast
from assay.analytics.selection import Selection
from assay.config import Budget
from assay.store.connect import Row, Store

MOST_VALUES = 100
"""Of a budget that each project, user or tag has, so many of those that spent most are told."""

LIKELY = 0.8
"""From this chance on a budget is said to be about to be exceeded."""

State = Literal["ok", "at risk", "exceeded"]


class BudgetState(msgspec.Struct, frozen=True):
    """One budget now, or one value's part of it: `since` and `until` bound its period; money is in US dollars.

    `forecast_usd` is what will be spent by the end, with its 95% range `low` and `high` (None with less than a week of
    history); `chance` that it will be exceeded, 0..1. `exceeded_at` is when that was, or when it is expected, to the
    hour. `unpriced` counts calls of the period without a known price: they are in no sum.
    """

    name: str
    per: str
    value: str
    amount_usd: float
    period: str
    since: datetime
    until: datetime
    spent_usd: float
    share: float
    unpriced: int
    forecast_usd: float
    low: float | None
    high: float | None
    chance: float | None
    exceeded_at: datetime | None
    state: State
    sentence: str


def budgets(store: Store, wanted: Sequence[Budget], timezone: str, now: datetime | None = None) -> list[BudgetState]:
    """Every budget, those of many values by what they spent; a budget that nothing was spent of yet is told, too."""
    moment, zone = now or datetime.now(UTC), ZoneInfo(timezone)
    return [state for budget in wanted for state in _states(store, budget, zone, moment)]


def _states(store: Store, budget: Budget, zone: ZoneInfo, now: datetime) -> Iterable[BudgetState]:
    since, until = period(budget.period, now, zone)
    rows = _spending(store, budget, zone, min(since, _midnight(now, zone, -HISTORY_DAYS)), since, now)
    if not rows and (budget.value or not budget.per):
        rows = [{"value": budget.value, "spent": 0.0, "unpriced": 0, "hours": []}]
    return [_state(budget, row, zone, (since, until), now) for row in rows]


def period(name: str, now: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Begin and end (UTC) of the day, week (from Monday) or month in which `now` lies, in this time zone."""
    today = now.astimezone(zone).date()
    if name == "month":
        first = today.replace(day=1)
        last = (first + timedelta(days=32)).replace(day=1)
    else:
        first = today - timedelta(days=today.weekday() if name == "week" else 0)
        last = first + timedelta(days=7 if name == "week" else 1)
    return _start(first, zone), _start(last, zone)


def _spending(
    store: Store, budget: Budget, zone: ZoneInfo, oldest: datetime, since: datetime, now: datetime
) -> list[Row]:
    """Of each value what it spent in the period, and its `hours`: (local day, local hour, Unix hour, dollars)."""
    filters: dict[str, Any] = {**budget.filter}
    where, parameters = Selection(since=oldest, until=now, **filters).of_calls()
    value, more = _shared_by(budget)
    each = bool(budget.per and not budget.value)
    return store.query(
        f"""
        SELECT value, sumIf(usd, at >= {{since:Int64}}) AS spent, sumIf(unknown, at >= {{since:Int64}}) AS unpriced,
            groupArray((day, hour, at, usd)) AS hours
        FROM (
            SELECT {value} AS value, toDate(started_at, {{zone:String}}) AS day,
                toHour(started_at, {{zone:String}}) AS hour,
                intDiv(toUnixTimestamp(started_at), 900) * 900 AS at, sum(ifNull(cost_usd, 0)) AS usd,
                countIf(cost_usd IS NULL AND status = 'ok') AS unknown
            FROM spans FINAL WHERE {where} GROUP BY value, day, hour, at
        )
        WHERE {{only:String}} = '' OR value = {{only:String}}
        GROUP BY value HAVING NOT {{each:Bool}} OR spent > 0 OR unpriced > 0
        ORDER BY spent DESC, value LIMIT {MOST_VALUES}
        """,
        {**parameters, **more, "since": round(since.timestamp()), "zone": zone.key, "only": budget.value, "each": each},
    )


def _shared_by(budget: Budget) -> tuple[str, dict[str, Any]]:
    """SQL of the value that a budget is for, with its parameters."""
    if budget.per.startswith("tag:"):
        return "attributes[{tag:String}]", {"tag": budget.per.removeprefix("tag:")}
    return {"": "''", "user": "user_id"}.get(budget.per, budget.per), {}


def _state(budget: Budget, row: Row, zone: ZoneInfo, bounds: tuple[datetime, datetime], now: datetime) -> BudgetState:
    since, until = bounds
    spent, amount = float(row["spent"]), budget.amount_usd
    coming = _hours(now, until)
    ahead = _ahead(row["hours"], zone, now, coming)
    low, high = ahead.interval
    chance = 1.0 if spent >= amount else ahead.chance(amount - spent)
    total = spent + ahead.expected
    told: dict[str, Any] = {"name": budget.name, "per": budget.per, "value": row["value"], "amount_usd": amount}
    state: State = "exceeded" if spent >= amount else "at risk" if _at_risk(chance, total, amount) else "ok"
    when = _passed(row["hours"], since, amount) if spent >= amount else _will_pass(spent, amount, ahead, coming)
    return BudgetState(
        **told,
        period=budget.period,
        since=since,
        until=until,
        spent_usd=spent,
        share=spent / amount,
        unpriced=row["unpriced"],
        forecast_usd=total,
        low=None if low is None else spent + low,
        high=None if high is None else spent + high,
        chance=chance,
        exceeded_at=when,
        state=state,
        sentence=_sentence(budget, row["value"], spent, total, when, state, zone),
    )


def _at_risk(chance: float | None, total: float, amount: float) -> bool:
    return chance >= LIKELY if chance is not None else total > amount


def _hours(now: datetime, until: datetime) -> list[datetime]:
    """Starts of the hours from the running one to the end of the period."""
    first = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return [first + timedelta(hours=place) for place in range(max(-((first - until) // timedelta(hours=1)), 0))]


def _ahead(hours: list[Any], zone: ZoneInfo, now: datetime, coming: list[datetime]) -> Forecast:
    past, weekdays = _history(hours, now.astimezone(zone).date())
    local = [hour.astimezone(zone) for hour in coming]
    places = np.array([hour.weekday() * 24 + hour.hour for hour in local], np.intp)
    fraction = 1 - (now - coming[0]) / timedelta(hours=1) if coming else 0.0
    if len(past):
        return forecast(past, weekdays, places, fraction)
    # Nothing is known of a whole day: what is to come goes on as today has until now.
    rate = sum(usd for _, _, _, usd in hours) / max(_hours_seen(hours, now), 1.0)
    return forecast(np.full((1, 24), rate), np.zeros(1, np.intp), places, fraction)


def _hours_seen(hours: list[Any], now: datetime) -> float:
    return (now.timestamp() - min(at for _, _, at, _ in hours)) / 3600 if hours else 0.0


def _history(hours: list[Any], today: date) -> tuple[Floats, Any]:
    """The costs of the whole days before today from the first with a call on, at most 28, and their weekdays."""
    days = sorted({day for day, _, _, _ in hours if day < today})
    if not days:
        return np.zeros((0, 24)), np.zeros(0, np.intp)
    # A first day on which calls began in the middle says too little of a day, unless it is all there is.
    begin = days[0] + timedelta(days=1) if len(days) > 1 else days[0]
    first = max(begin, today - timedelta(days=HISTORY_DAYS))
    past = np.zeros(((today - first).days, 24))
    for day, hour, _, usd in hours:
        if first <= day < today:
            past[(day - first).days, hour] += usd
    return past, np.array([(first + timedelta(days=place)).weekday() for place in range(len(past))], np.intp)


def _passed(hours: list[Any], since: datetime, amount: float) -> datetime | None:
    """The start of the quarter of an hour in which the amount was passed."""
    total = 0.0
    for at, usd in sorted((at, usd) for _, _, at, usd in hours if at >= since.timestamp()):
        total += usd
        if total >= amount:
            return datetime.fromtimestamp(at, UTC)
    return None


def _will_pass(spent: float, amount: float, ahead: Forecast, coming: list[datetime]) -> datetime | None:
    passed = np.flatnonzero(spent + np.cumsum(ahead.hours) >= amount)
    return coming[int(passed[0])] if len(passed) else None


def _sentence(
    budget: Budget, value: str, spent: float, total: float, when: datetime | None, state: State, zone: ZoneInfo
) -> str:
    of = f"{budget.name} ({value})" if budget.per and value else f"{budget.name} (none)" if budget.per else budget.name
    share = f"{of}: ${spent:,.2f} of ${budget.amount_usd:,.2f} spent ({spent / budget.amount_usd:.0%})"
    local = f"{when.astimezone(zone):%a %d %b %H:%M}" if when else ""
    if state == "exceeded":
        return f"{share}, exceeded since {local}; ${total:,.2f} by the end of the {budget.period}"
    if when and state == "at risk":
        return f"{share}, will be exceeded about {local}; ${total:,.2f} by the end of the {budget.period}"
    return f"{share}, ${total:,.2f} by the end of the {budget.period}"


def _start(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def _midnight(now: datetime, zone: ZoneInfo, days: int) -> datetime:
    return _start(now.astimezone(zone).date() + timedelta(days=days), zone)
