"""What may be wrong around the calls: the store's tables and copies, clocks, prices, scoring, duplicates, budgets.

Every finding says what was found, and what to do about it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from assay.analytics.budgets import budgets
from assay.analytics.doctor import DAYS, Finding
from assay.analytics.together import all_of
from assay.config import Config
from assay.store.connect import Store, embedded_directory
from assay.store.mend import set_aside
from assay.store.migrate import migrations

CLOCK_SECONDS = 60
"""So far clocks may differ."""
OLD_PRICES_DAYS = 90
SAMPLED = 50_000
"""Of about so many calls the share without a score is counted."""
UNSCORED = 0.02
"""So much may be missing before it is a warning. What a scorer cannot judge has a score, one without a value."""
SCORED_AFTER_SECONDS = 600

_RECENT = f"started_at > now64(6) - INTERVAL {DAYS} DAY"


def checkup(store: Store, config: Config, health: Mapping[str, Any]) -> list[Finding]:
    """All checks; `health` are the figures of GET /api/health, of which a store without a server has few."""
    directory = embedded_directory(config.store)
    checks: tuple[Callable[[], Iterable[Finding]], ...] = (
        lambda: [_tables(store)],
        lambda: _broken(store),
        lambda: _copies(directory) if directory else (),
        lambda: _clock(store, directory),
        lambda: [_prices()],
        lambda: [_unpriced(store)],
        lambda: [_unscored(store, health)],
        lambda: [_duplicates(store)],
        lambda: _judge(health),
        lambda: _budgets(store, config),
    )
    return [finding for found in all_of(*checks) for finding in found]


def _tables(store: Store) -> Finding:
    [row] = store.query("SELECT max(number) AS newest, max(applied_at) AS applied FROM schema_migrations")
    newest = max(migration.number for migration in migrations())
    if row["newest"] < newest:
        found = f"the tables are at version {row['newest']}, this Assay knows {newest}"
        return Finding("tables", "failure", found, "restart Assay: it brings them up to date when it opens the store")
    return Finding("tables", "ok", f"at version {row['newest']}, since {row['applied']:%Y-%m-%d}")


def _broken(store: Store) -> list[Finding]:
    """Parts that were broken, as by a disk that ran full: the engine set them aside."""
    found = set_aside(store)
    if not found:
        return []
    told = f"{len(found)} were broken and are set aside: {', '.join(found[:3])}{' ...' if len(found) > 3 else ''}"
    fix = "their rows came back from what they were merged of, where that was there; remove them from `detached` then"
    return [Finding("parts", "warning", told, fix)]


def _copies(directory: Path) -> list[Finding]:
    """Copies of the store from before its tables were changed, which nobody needs for long."""
    copies = sorted((directory / "backups").glob("version-*"))
    if not copies:
        return []
    names = ", ".join(copy.name for copy in copies)
    told = f"{len(copies)} of the store from before an upgrade in {directory / 'backups'} ({names})"
    return [Finding("copies", "ok", told, "delete them once all is well: they keep files that were merged since")]


def _clock(store: Store, directory: Path | None) -> list[Finding]:
    [row] = store.query(
        f"""
        SELECT count() AS calls, maxOrNull(toUnixTimestamp64Micro(ingested_at)) / 1e6 AS newest,
            quantileOrNull(0.5)(toUnixTimestamp64Micro(started_at) / 1e6 + latency_ms / 1e3
                - toUnixTimestamp64Micro(ingested_at) / 1e6) AS ahead
        FROM spans WHERE ingested_at > now64(6) - INTERVAL {DAYS} DAY
        """
    )
    now, found = time.time(), list[Finding]()
    set_clock = "set this machine's clock (NTP): calls of now seem older than what is stored, and alerts wait"
    if row["newest"] and row["newest"] > now + CLOCK_SECONDS:
        found.append(
            Finding("clock", "failure", f"the store was written {row['newest'] - now:,.0f} s ahead", set_clock)
        )
    written = _newest_file(directory) if directory else None
    if written and written > now + CLOCK_SECONDS:
        found.append(Finding("clock", "failure", f"the disk's files are {written - now:,.0f} s ahead", set_clock))
    if row["ahead"] is not None and row["ahead"] > CLOCK_SECONDS:
        told = f"half of the calls ended {row['ahead']:,.0f} s or more after they arrived"
        found.append(Finding("clock", "warning", told, "set the clocks of the machines that send, or of this one"))
    return found or [Finding("clock", "ok", "agrees with the newest spans and with the disk")]


def _newest_file(directory: Path) -> float | None:
    """When the disk says that the store's directory was last written, in Unix seconds."""
    try:
        return max((path.stat().st_mtime for path in directory.iterdir()), default=None)
    except OSError:
        return None


def _prices() -> Finding:
    try:
        found = distribution("genai-prices")
        days = (time.time() - Path(str(found.locate_file("genai_prices"))).stat().st_mtime) / 86_400
    except (PackageNotFoundError, OSError):
        return Finding("price table", "warning", "its age is not known", "pip install --upgrade genai-prices")
    told = f"genai-prices {found.version}, installed {days:,.0f} days ago"
    if days > OLD_PRICES_DAYS:
        return Finding("price table", "warning", told, "pip install --upgrade genai-prices, restart, `assay reprice`")
    return Finding("price table", "ok", told)


def _unpriced(store: Store) -> Finding:
    [row] = store.query(
        f"SELECT count() AS calls, countIf(cost_usd IS NULL) AS unpriced FROM spans FINAL"
        f" WHERE counted AND status = 'ok' AND {_RECENT}"
    )
    if not row["unpriced"]:
        return Finding("unpriced", "ok", "none of the calls that succeeded is without a price")
    share = row["unpriced"] / row["calls"]
    told = f"{row['unpriced']:,} of {row['calls']:,} calls ({share:.1%}) have no price and are in no sum of costs"
    return Finding("unpriced", "warning", told, "the checks `prices` and `tokens` name the models and the reason")


def _unscored(store: Store, health: Mapping[str, Any]) -> Finding:
    """Of calls that are older than ten minutes; of many a fixed share, by their ids."""
    old = f"{_RECENT} AND started_at < now64(6) - INTERVAL {SCORED_AFTER_SECONDS} SECOND"
    conversations = f"kind = 'llm' AND counted AND status = 'ok' AND {old}"
    [count] = store.query(f"SELECT count() AS calls FROM spans WHERE {conversations}")
    part = "% {of:UInt64} = 0"
    [row] = store.query(
        f"""
        SELECT count() AS calls, countIf(span_id NOT IN (
            SELECT target FROM scores WHERE source = 'scorer' AND {_RECENT} AND cityHash64(target) {part}
        )) AS unscored
        FROM spans FINAL WHERE {conversations} AND cityHash64(span_id) {part}
        """,
        {"of": max(count["calls"] // SAMPLED, 1)},
    )
    if not row["calls"]:
        return Finding("unscored", "ok", "no conversation is old enough to have been scored")
    share = row["unscored"] / row["calls"]
    told = f"{share:.1%} of the conversations of the last {DAYS} days have no score"
    if share <= UNSCORED:
        return Finding("unscored", "ok", told)
    if "quality" in health and health["quality"] is None:
        return Finding("unscored", "warning", told, "scoring is switched off here (quality.scorers in assay.toml)")
    return Finding("unscored", "warning", told, f"`assay quality backfill --since {DAYS}d` scores them")


def _duplicates(store: Store) -> Finding:
    """A provider's id of a response is given once: calls that share one are the same call, told twice."""
    [row] = store.query(
        f"""
        SELECT (SELECT countIf(duplicate_of != '') FROM spans FINAL WHERE {_RECENT}) AS settled,
            (SELECT sum(calls - 1) FROM (
                SELECT count() AS calls FROM spans FINAL WHERE counted AND response_id != '' AND {_RECENT}
                GROUP BY project, response_id HAVING calls > 1
            )) AS twice
        """
    )
    if row["twice"]:
        told = f"{row['twice']:,} calls have the response id of another call and are counted beside it"
        fix = "their cost is counted twice: compare their traces (GET /api/traces), and tell us which instrumentations"
        return Finding("duplicates", "warning", told, fix)
    return Finding("duplicates", "ok", f"{row['settled'] or 0:,} spans tell of a call that another tells: not counted")


def _judge(health: Mapping[str, Any]) -> list[Finding]:
    judge = health.get("judge")
    if not judge:
        return []
    if judge["notice"]:
        fix = "raise quality.judge.daily_budget_usd, or lower quality.judge.sample; it goes on at midnight UTC"
        return [Finding("judge", "warning", judge["notice"], fix)]
    if judge["last_error"]:
        return [Finding("judge", "warning", judge["last_error"], "see quality.judge in assay.toml")]
    spent = judge["spent_today_usd"]
    return [Finding("judge", "ok", f"${spent or 0:.2f} of ${judge['daily_budget_usd']:.2f} spent today")]


def _budgets(store: Store, config: Config) -> list[Finding]:
    states = budgets(store, config.budget, config.timezone)
    over: Sequence[Finding] = [
        Finding("budgets", "warning", state.sentence, "`assay budgets` shows the forecast; `assay top` who spends")
        for state in states
        if state.state != "ok"
    ]
    return [*over] or ([Finding("budgets", "ok", f"{len(states)} are kept")] if states else [])
