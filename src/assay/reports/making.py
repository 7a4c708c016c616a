"""Make a report: ask every question once, of a range of time and of the range of equal length before it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from assay import figures
from assay.analytics.compare import Change, Verdict, compare, period_before
from assay.analytics.completeness import scored
from assay.analytics.costs import costs
from assay.analytics.errors import errors
from assay.analytics.groups import groups
from assay.analytics.selection import EARLIEST, LATENCIES, TAG, Selection
from assay.analytics.summaries import dearest, quality, usage
from assay.analytics.together import AT_A_TIME, both
from assay.analytics.trends import latencies, trends
from assay.analytics.worst import worst_calls
from assay.errors import AssayError
from assay.ingest.pricing import Prices
from assay.records import FILTERS
from assay.reports.content import TITLE, Drivers, Gap, Headline, Report, stamp
from assay.reports.models import beside
from assay.reports.questions import first_call, incidents_between
from assay.reports.recommend import recommendations
from assay.store.connect import Row, Store

SHOWN_DRIVERS = 8
KINDS = 10
"""Kinds of question that are told, those with most calls."""
DRIVERS = ("model", "project", "user_id")
"""Whose shares of the cost are told; of projects only where there are several."""
THUMB = "thumb"
"""What people click is no score of an answer: the page compares it with the scores."""


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """Where a report is made: Assay's version, the server's URL, its prices, and the figures of GET /api/health."""

    version: str
    url: str = ""
    prices: Prices | None = None
    health: Callable[[], dict[str, Any]] = dict


def report(
    store: Store,
    selection: Selection,
    made: Circumstances,
    now: datetime | None = None,
    title: str = TITLE,
    by: Sequence[str] = (),
) -> Report:
    """The report on these calls. An open range is closed: it begins with the first call, and ends now.

    `by` are dimensions whose shares of the cost are told beside those of DRIVERS. Raises AssayError for one there is
    not, and where the range ends before it begins.
    """
    at = now or datetime.now(UTC)
    asked = closed(store, selection, at)
    since, until = _bounds(asked)
    before = period_before(asked)
    used, used_before = both(lambda: usage(store, asked), lambda: usage(store, before))
    told = Report(
        title=title,
        made_at=at,
        version=made.version,
        since=since,
        until=until,
        before_since=before.since or since,
        filters=filters_of(asked),
        command=command(asked, by),
        url=made.url,
        usage=used,
        before=used_before if used_before["total_calls"] else None,
    )
    return told if told.empty else _filled(store, told, asked, before, made, by)


def closed(store: Store, selection: Selection, now: datetime) -> Selection:
    """The selection with both ends said, so that the report can be made again. Raises AssayError where they cross.

    An open end is the last whole second, and the beginning then a whole second too; given ends keep their milliseconds.
    """
    step = 1000 if selection.until else 1_000_000
    until = _whole(selection.until or now, step)
    since = _whole(
        selection.since or first_call(store, selection) or until - min(timedelta(days=1), until - EARLIEST), step
    )
    if since >= until:
        span = f"{stamp(since)} to {stamp(until)}"
        raise AssayError(f"a report from {span} covers no time: give --since an earlier moment than --until")
    return msgspec.structs.replace(selection, since=since, until=until)


def command(selection: Selection, by: Sequence[str] = ()) -> str:
    """What to type to make the report again."""
    since, until = _bounds(selection)
    options = [("since", stamp(since)), ("until", stamp(until))]
    for name, value in filters_of(selection).items():
        is_tag = name.startswith(TAG)
        options.append(
            ("tag", f"{name.removeprefix(TAG)}:{value}")
            if is_tag
            else (_OPTIONS.get(name, name.replace("_", "-")), value)
        )
    options += [("by", name) for name in by]
    return " ".join(["assay report", *(f"--{name}={shlex.quote(value)}" for name, value in options)])


_OPTIONS = {"session_id": "session", "user_id": "user", "error_type": "error-type"}


def filters_of(selection: Selection) -> dict[str, str]:
    """What narrows the selection, by name; a tag as `tag:KEY`."""
    named = {name: value for name in FILTERS if (value := getattr(selection, name)) is not None}
    slow = {name: str(value) for name in LATENCIES if (value := getattr(selection, name)) is not None}
    return named | slow | {f"{TAG}{key}": value for key, value in selection.tags}


def narrowed(filters: Mapping[str, str], since: datetime, until: datetime) -> Selection:
    """The selection of a range that these filters narrow: `filters_of` the other way round."""
    named: dict[str, Any] = {
        name: float(value) if name in LATENCIES else value
        for name, value in filters.items()
        if not name.startswith(TAG)
    }
    tags = tuple((name.removeprefix(TAG), value) for name, value in filters.items() if name.startswith(TAG))
    return Selection(since=since, until=until, tags=tags, **named)


def _filled(
    store: Store, told: Report, asked: Selection, before: Selection, made: Circumstances, by: Sequence[str]
) -> Report:
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        judged = pool.submit(_scores, store, asked)
        kinds = pool.submit(groups, store, asked, told.made_at)
        compared = pool.submit(compare, store, before, asked) if told.before else None
        over_time = pool.submit(trends, store, asked)
        shares = [pool.submit(_drivers, store, asked, told.usage, name) for name in dict.fromkeys([*DRIVERS, *by])]
        answers = pool.submit(scored, store, asked)
        judged_before = pool.submit(_scores, store, before)
        failed = pool.submit(errors, store, asked)
        costed = pool.submit(costs, store, made.prices, asked) if made.prices else None
        spread = pool.submit(latencies, store, asked)
        models = pool.submit(beside, store, asked, before)
        worst = pool.submit(worst_calls, store, asked, {name: row["source"] for name, row in judged.result().items()})
        bucket_seconds = over_time.result().bucket_seconds
        by_model = pool.submit(trends, store, asked, f"{bucket_seconds}s", "model", scores=False)
    changes = compared.result() if compared else []
    filled = msgspec.structs.replace(
        told,
        headlines=list(
            _headlines(told.usage, told.before, failed.result(), judged.result(), judged_before.result(), changes)
        ),
        scores=judged.result(),
        scores_before=judged_before.result(),
        bucket_seconds=bucket_seconds,
        points=over_time.result().points,
        by_model=by_model.result().points,
        drivers=[share.result() for share in shares],
        latencies=spread.result(),
        kinds=kinds.result()["groups"][:KINDS],
        errors=failed.result()["types"],
        costs=costed.result() if costed else None,
        incidents=incidents_between(store, told.since, told.until),
        changes=changes,
        worst=worst.result(),
        gaps=list(_gaps(told.usage, judged.result(), answers.result(), made.health())),
        models=models.result(),
    )
    return msgspec.structs.replace(filled, recommendations=recommendations(filled))


def _scores(store: Store, selection: Selection) -> dict[str, Row]:
    found = quality(store, selection)
    return {name: found[name] for name in sorted(found) if name != THUMB}


_COMPARED = {
    "avg_latency_ms": "latency_ms",
    "avg_cost_per_conversation": "cost_per_conversation_usd",
    "error_rate": "error_rate",
}
"""Headline figures by the names under which `compare` has them."""


def _headlines(
    now: Row,
    before: Row | None,
    failed: Row,
    scores: dict[str, Row],
    former: dict[str, Row],
    changes: list[Change],
) -> Iterable[Headline]:
    verdicts: dict[str, Verdict] = {change.metric: change.verdict for change in changes}

    def figure(key: str, name: str, unit: Any, note: str = "") -> Headline:
        return Headline(
            key=f"usage.{key}",
            name=name,
            unit=unit,
            value=now[key],
            before=before[key] if before else None,
            verdict=verdicts.get(_COMPARED.get(key, ""), "unknown"),
            note=note,
        )

    of_all = f"{figures.count(now['errors'])} of {figures.count(now['total_calls'])} calls"
    unpriced = f"without {figures.count(now['unpriced'])} of unknown price" if now["unpriced"] else ""
    yield figure("total_conversations", "Conversations", "count")
    yield _cost(figure("total_cost_usd", "Cost", "usd", unpriced), now, before)
    yield figure("avg_cost_per_conversation", "Cost a conversation", "usd")
    yield figure("total_tokens", "Tokens", "count")
    yield figure("avg_latency_ms", "Average latency", "ms", f"p95 {figures.milliseconds(now['p95_latency_ms'])}")
    rate = figure("error_rate", "Failed calls", "share", of_all)
    yield msgspec.structs.replace(rate, low=failed["low"], high=failed["high"])
    for name in ("relevance", "groundedness", "coherence", "toxicity"):
        if name in scores and scores[name]["mean"] is not None:
            yield _score(name, scores[name], former.get(name), verdicts.get(name, "unknown"))


def _cost(figure: Headline, now: Row, before: Row | None) -> Headline:
    """What has no priced call cost an unknown sum, not nothing."""
    return msgspec.structs.replace(
        figure,
        value=None if nothing_priced(now) else figure.value,
        before=None if before and nothing_priced(before) else figure.before,
    )


def nothing_priced(used: Row) -> bool:
    """Whether no call has a price, though some should."""
    return not used["total_cost_usd"] and 0 < used["unpriced"] >= used["total_calls"] - used["errors"]


def _score(name: str, row: Row, former: Row | None, verdict: Verdict) -> Headline:
    return Headline(
        key=f"scores.{name}.mean",
        name=figures.name(name),
        unit="score",
        value=row["mean"],
        before=former["mean"] if former else None,
        low=row["low"],
        high=row["high"],
        verdict=verdict,
        note=f"{figures.count(row['n'])} scored",
    )


def _drivers(store: Store, selection: Selection, used: Row, dimension: str) -> Drivers:
    rows, groups = dearest(store, selection, dimension, SHOWN_DRIVERS)
    if dimension != "model" and not any(row["group"] for row in rows):
        rows = []
    if dimension == "project" and len(rows) < 2:
        rows = []
    shown = [_with_share(row, used["total_cost_usd"]) for row in rows]
    return Drivers(dimension=dimension, rows=shown, others=groups - len(rows) if rows else 0)


def _with_share(row: Row, total: float) -> Row:
    if nothing_priced(row):
        return {**row, "total_cost_usd": None, "share": None}
    return {**row, "share": row["total_cost_usd"] / total if total else None}


def _gaps(used: Row, scores: dict[str, Row], answers: Row, health: dict[str, Any]) -> Iterable[Gap]:
    if used["unpriced"]:
        fix = "add the model's price to assay.toml, then run assay reprice"
        yield Gap(key="unpriced", says="have no known price", calls=used["unpriced"], of=used["total_calls"], fix=fix)
    if used["estimated"]:
        fix = "ask for usage in streams: their costs are estimates too"
        says = "have tokens estimated from their texts"
        yield Gap(key="estimated", says=says, calls=used["estimated"], of=used["total_calls"], fix=fix)
    for name, row in scores.items():
        if row["not_assessable"]:
            says = f"could not be assessed for {figures.name(name).lower()}"
            yield Gap(
                key=f"not_assessable.{name}",
                says=says,
                calls=row["not_assessable"],
                of=row["n"] + row["not_assessable"],
                fix="their reasons stand beside each conversation",
            )
    ingest = health.get("ingest") or {}
    refused = sum(ingest.get(f"refused_{what}", 0) for what in ("spans", "events", "requests"))
    if refused:
        says = "were refused since the start of the server, in all projects"
        yield Gap(key="refused", says=says, calls=refused, of=0, fix=str(ingest.get("last_refusal", "")))
    if answers["unscored"]:
        fix = "assay doctor says why; assay quality backfill scores them"
        yield Gap(key="unscored", says="are not scored", calls=answers["unscored"], of=answers["answered"], fix=fix)


def _bounds(selection: Selection) -> tuple[datetime, datetime]:
    if selection.since is None or selection.until is None:
        raise AssayError("a report needs a beginning and an end")
    return selection.since, selection.until


def _whole(moment: datetime, micros: int) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=moment.microsecond // micros * micros)
