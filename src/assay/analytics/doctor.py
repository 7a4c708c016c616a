"""What may be wrong with what is stored: calls without a price, costs that differ, spans nobody understands.

Every finding says what was found among the calls of the last days, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from assay.analytics.together import all_of
from assay.store.connect import Store
from assay.store.spans import INPUT_TOKENS, OUTPUT_TOKENS, TOTAL_TOKENS

DAYS = 7
FULL_GIB, SCARCE = 1, 0.1
"""Less room than this many GiB is a failure, than this share of the disk a warning."""

REPORTED_COST = "assay.reported_cost_usd"
TOLERATED = 0.05
"""By this share of itself a cost may differ from the sender's."""

_RECENT = f"started_at > now() - INTERVAL {DAYS} DAY"
_CALLS = f"FROM spans FINAL WHERE counted AND {_RECENT}"


class Finding(NamedTuple):
    """One check: its name, whether it is `ok`, a `warning` or a `failure`, what was found, and what to do."""

    check: str
    status: str
    found: str
    fix: str = ""


def findings(store: Store) -> list[Finding]:
    """All checks of the last week's calls."""
    checks = (_of_all_calls, _unpriced, _dearer_elsewhere, _reported_twice, _not_understood)
    return [finding for found in all_of(*(partial(check, store) for check in checks)) for finding in found]


def _of_all_calls(store: Store) -> list[Finding]:
    [figures] = store.query(
        f"""
        SELECT count() AS calls, countIf(tokens_estimated) AS estimated,
            countIf({TOTAL_TOKENS} IS NULL AND status = 'ok') AS without_tokens,
            countIf(session_id = '') AS without_session, countIf(started_at > now() + INTERVAL 1 HOUR) AS ahead
        {_CALLS}
        """
    )
    return [
        Finding("calls", "ok", f"{figures['calls']:,} in the last {DAYS} days"),
        _share(
            "tokens",
            figures["estimated"] + figures["without_tokens"],
            figures,
            f"{figures['estimated']:,} calls have estimated tokens, {figures['without_tokens']:,} have none",
            "ask for usage in streams (OpenAI: stream_options={'include_usage': True})",
        ),
        _share(
            "sessions",
            figures["without_session"],
            figures,
            f"{figures['without_session']:,} calls belong to no session",
            "wrap conversations in `with assay.session(id)`, or set session.id on their spans",
        ),
        _share(
            "clocks",
            figures["ahead"],
            figures,
            f"{figures['ahead']:,} calls start in the future",
            "set the sender's clock",
        ),
    ]


def server_findings(health: Mapping[str, Any], store: Store) -> list[Finding]:
    """What the figures of GET /api/health say, and how much room the disk has."""
    found = [Finding("server", "failure", problem) for problem in health["problems"]]
    if not found:
        found = [Finding("server", "ok", f"Assay {health['version']} is well")]
    if ingest := health.get("ingest"):
        lags = f"settling is {health['settle']['lag_seconds']:.1f} s behind"
        found.append(Finding("queue", "ok", f"{ingest['pending_spans']:,} spans wait to be stored, {lags}"))
        refused = sum(ingest[f"refused_{what}"] for what in ("spans", "events", "requests"))
        found.append(
            Finding("refused", "warning", f"{refused:,} since the start, the last: {ingest['last_refusal']}", _REFUSED)
            if refused
            else Finding("refused", "ok", "nothing was refused since the start")
        )
    if quality := health.get("quality"):
        found += _scoring(quality)
    return found + [_room(row) for row in store.query("SELECT name, free_space, total_space FROM system.disks")]


_REFUSED = "the sender sends what cannot be stored; the last reason says what and where"


def _scoring(quality: Mapping[str, Any]) -> list[Finding]:
    lag = f"scores are {quality['lag_seconds']:.1f} s behind"
    found = [
        Finding("scoring", "warning", problem, "mend it in assay.toml, then restart") for problem in quality["problems"]
    ]
    found += [Finding("scoring", "warning", f"{name} rests: {why}", _RESTS) for name, why in quality["resting"].items()]
    return found or [Finding("scoring", "ok", lag)]


_RESTS = "the scorer failed again and again and is tried anew now and then; what it missed in the last hour follows"


def _room(disk: Mapping[str, Any]) -> Finding:
    free, share = disk["free_space"] / 2**30, disk["free_space"] / max(disk["total_space"], 1)
    status = "failure" if free < FULL_GIB else "warning" if share < SCARCE else "ok"
    fix = "" if status == "ok" else "make room: a full disk stops Assay from taking spans"
    return Finding("disk", status, f"{free:,.1f} GiB free ({share:.0%})", fix)


def _share(check: str, count: int, figures: dict[str, Any], found: str, fix: str) -> Finding:
    return Finding(check, "warning", f"{found} of {figures['calls']:,}", fix) if count else Finding(check, "ok", found)


def _unpriced(store: Store) -> list[Finding]:
    rows = store.query(
        f"""
        SELECT model, count() AS calls {_CALLS} AND cost_usd IS NULL AND status = 'ok'
            AND {INPUT_TOKENS} IS NOT NULL AND ({OUTPUT_TOKENS} IS NOT NULL OR kind = 'embedding')
        GROUP BY model ORDER BY calls DESC LIMIT 10
        """
    )
    return [
        Finding(
            "prices",
            "warning",
            f"{row['calls']:,} calls to {row['model'] or 'a model without a name'} have no price",
            f'in assay.toml: [prices."{row["model"]}"] input = …, output = … (US dollars per million tokens), '
            "then `assay reprice --since 7d`",
        )
        for row in rows
    ] or [Finding("prices", "ok", "every call has a price")]


def _dearer_elsewhere(store: Store) -> list[Finding]:
    rows = store.query(
        f"""
        SELECT model, count() AS calls, sum(cost_usd) AS ours, sum(theirs) AS reported FROM (
            SELECT model, cost_usd, toFloat64OrNull(attributes['{REPORTED_COST}']) AS theirs
            {_CALLS} AND mapContains(attributes, '{REPORTED_COST}')
        )
        WHERE abs(cost_usd - theirs) > {TOLERATED} * cost_usd
        GROUP BY model ORDER BY calls DESC LIMIT 10
        """
    )
    return [
        Finding(
            "costs",
            "warning",
            f"{row['calls']:,} calls to {row['model']} cost ${row['ours']:.6f} by our prices and "
            f"${row['reported']:.6f} by their senders'",
            "if your price differs from the public one, put it into assay.toml under [prices]",
        )
        for row in rows
    ] or [Finding("costs", "ok", f"no sender reports a cost that differs by more than {TOLERATED:.0%}")]


def _reported_twice(store: Store) -> list[Finding]:
    rows = store.query(
        f"""
        SELECT twice.scope_name AS other, once.scope_name AS counted, count() AS calls
        FROM (SELECT scope_name, duplicate_of FROM spans FINAL WHERE duplicate_of != '' AND {_RECENT}) AS twice
        JOIN (SELECT scope_name, span_id {_CALLS}) AS once ON twice.duplicate_of = once.span_id
        GROUP BY other, counted ORDER BY calls DESC LIMIT 10
        """
    )
    return [
        Finding(
            "counted once",
            "ok",
            f"{row['calls']:,} calls are told by {row['counted'] or 'one sender'} and by {row['other'] or 'another'}: "
            "each is counted once",
        )
        for row in rows
    ]


def _not_understood(store: Store) -> list[Finding]:
    rows = store.query(
        f"""
        SELECT scope_name, any(name) AS example, count() AS spans FROM spans FINAL
        WHERE kind = 'span' AND duplicate_of = '' AND {_RECENT}
            AND hasAny(mapKeys(attributes), ['gen_ai.request.model', 'gen_ai.usage.input_tokens', 'llm.model_name'])
        GROUP BY scope_name ORDER BY spans DESC LIMIT 10
        """
    )
    return [
        Finding(
            "dialects",
            "warning",
            f"{row['spans']:,} spans of {row['scope_name'] or 'an unnamed scope'} (such as {row['example']!r}) name a "
            "model but are not understood as calls",
            "tell us which instrumentation sends them; see docs/ARCHITECTURE.md for adding a dialect",
        )
        for row in rows
    ]
