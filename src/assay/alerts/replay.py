"""What rules would have done: run over stored history, each with when it fired and resolved, and how often.

The same judgements and the same steps as live, over the same series; only the whole of them at once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
import numpy as np

from assay.alerts.evaluate import NO, UNKNOWN, YES, Judgement, judge, lookback_seconds, sentence
from assay.alerts.incidents import Step, steps
from assay.alerts.rules import AlertRule, BaselineRule, RuleBook, Severity, ThresholdRule
from assay.alerts.series import Series, Source, read_series, source_of
from assay.errors import AssayError
from assay.store.connect import Store

MAX_BUCKETS = 500_000
SHOWN_EPISODES = 200
WEEK = 7 * 86_400


class Episode(msgspec.Struct, frozen=True):
    """One time the rule would have fired; `resolved_at` is None where it still does."""

    group: str
    fired_at: datetime
    resolved_at: datetime | None
    message: str


class Replayed(msgspec.Struct, frozen=True):
    """One rule over the history. `error` says why it could not be run.

    `suggested` is the limit (for a baseline the `change`) nearest to the rule's at which it would have fired at most
    as often as asked; None where that kind has none, or no limit does.
    """

    rule: str
    kind: str
    severity: Severity
    fired: int = 0
    a_week: float = 0.0
    firing_share: float = 0.0
    groups: int = 0
    calls: int = 0
    episodes: list[Episode] = []
    setting: str = ""
    limit: float | None = None
    suggested: float | None = None
    error: str = ""


class Replay(msgspec.Struct, frozen=True):
    """All rules over [since, until)."""

    since: datetime
    until: datetime
    step_seconds: int
    seconds: float
    rules: list[Replayed]


def replay(store: Store, book: RuleBook, since: int, until: int, at_most_a_week: float = 1.0) -> Replay:
    """Run every enabled rule of the book over the stored history. Times are Unix seconds. Raises AssayError."""
    began = time.perf_counter()
    step = book.engine.every
    since, until = since // step * step, until // step * step
    if not 0 < until - since <= MAX_BUCKETS * step:
        raise AssayError(f"cannot replay {(until - since) / 86_400:.0f} days in steps of {step} s: choose a later --since")
    rules = [rule for rule in book.rules.values() if rule.enabled]
    reach: dict[Source, int] = {}
    for rule in rules:
        source = source_of(rule)
        reach[source] = max(reach.get(source, 0), lookback_seconds(rule))
    first_call = _first_call(store)
    told = list[Replayed]()
    for source, history in reach.items():
        first = max(since - history, min(first_call, since)) // step * step
        sharing = [rule for rule in rules if source_of(rule) == source]
        try:
            series = read_series(store, source, first, until, step)
            told += [replayed(rule, series, since, until, at_most_a_week) for rule in sharing]
        except AssayError as error:
            told += [Replayed(rule.name, rule.kind, rule.severity, error=str(error)) for rule in sharing]
    order = {rule.name: place for place, rule in enumerate(rules)}
    told.sort(key=lambda one: order[one.rule])
    return Replay(_moment(since), _moment(until), step, round(time.perf_counter() - began, 3), told)


def replayed(rule: AlertRule, by_group: Mapping[str, Series], since: int, until: int, at_most_a_week: float) -> Replayed:
    """One rule over the series of all its groups."""
    judged = {group: (series, judge(rule, series)) for group, series in by_group.items()}
    episodes, firing_seconds = list[Episode](), 0
    for group, (series, judgement) in judged.items():
        for fired, resolved in fired_and_resolved(_steps(rule, series, judgement, since)):
            message = sentence(rule, judgement, fired.bucket)
            episodes.append(Episode(group, _moment(fired.at), _moment(resolved.at) if resolved else None, message))
            firing_seconds += (resolved.at if resolved else until) - fired.at
    episodes.sort(key=lambda episode: episode.fired_at)
    weeks = (until - since) / WEEK
    setting, limit = _setting(rule)
    return Replayed(
        rule=rule.name,
        kind=rule.kind,
        severity=rule.severity,
        fired=len(episodes),
        a_week=round(len(episodes) / weeks, 2),
        firing_share=firing_seconds / (until - since) / max(len(judged), 1),
        groups=len(judged),
        calls=round(sum(float(series.n[max((since - series.start) // series.step, 0) :].sum()) for series, _ in judged.values())),
        episodes=episodes[:SHOWN_EPISODES],
        setting=setting,
        limit=limit,
        suggested=_suggested(rule, judged, since, at_most_a_week * weeks) if setting else None,
    )


def fired_and_resolved(changes: list[Step]) -> list[tuple[Step, Step | None]]:
    """Each firing with its resolution, None for one still firing."""
    found = list[tuple[Step, Step | None]]()
    for change in changes:
        if change.phase == "firing":
            found.append((change, None))
        elif change.phase == "resolved" and found:
            found[-1] = (found[-1][0], change)
    return found


def _steps(rule: AlertRule, series: Series, judged: Judgement, since: int) -> list[Step]:
    return steps(judged.state, series.start, series.step, rule.hold_seconds, rule.resolve_after, since=since)


def _setting(rule: AlertRule) -> tuple[str, float | None]:
    if isinstance(rule, ThresholdRule):
        return ("above" if rule.above is not None else "below"), rule.limit
    return ("change", rule.change) if isinstance(rule, BaselineRule) else ("", None)


def _suggested(
    rule: AlertRule, judged: Mapping[str, tuple[Series, Judgement]], since: int, at_most: float
) -> float | None:
    """The least strict limit that would have fired at most so often, found by halving between the margins met."""
    margins = [judgement.margin[np.isfinite(judgement.margin) & (judgement.state != UNKNOWN)] for _, judgement in judged.values()]
    met = np.unique(np.concatenate([np.zeros(0), *margins]))
    if not len(met):
        return None
    # Rounding up would leave the last page in: limits are tried as they are told.
    candidates = [_told(value) for value in np.quantile(met, np.linspace(0, 1, 512)).tolist()]
    low, high = 0, len(candidates) - 1
    while low < high:
        middle = (low + high) // 2
        if _fired(rule, judged, since, candidates[middle]) <= at_most:
            high = middle
        else:
            low = middle + 1
    limit = candidates[low]
    if isinstance(rule, BaselineRule) and limit <= 0:
        return None
    return -limit if isinstance(rule, ThresholdRule) and rule.below is not None else limit


def _fired(rule: AlertRule, judged: Mapping[str, tuple[Series, Judgement]], since: int, limit: float) -> int:
    count = 0
    for series, judgement in judged.values():
        state = np.where(judgement.state == UNKNOWN, UNKNOWN, np.where(judgement.margin > limit, YES, NO))
        found = steps(state.astype(np.int8), series.start, series.step, rule.hold_seconds, rule.resolve_after, since=since)
        count += sum(change.phase == "firing" for change in found)
    return count


def _told(value: float) -> float:
    """The value to three digits, rounded away so that the value itself is not beyond it."""
    if value == 0:
        return 0.0
    digits = 10.0 ** (np.floor(np.log10(abs(value))) - 2)
    return float(f"{np.ceil(value / digits) * digits:.6g}")


def _first_call(store: Store) -> int:
    [row] = store.query("SELECT toUnixTimestamp(min(started_at)) AS first FROM spans WHERE counted")
    return int(row["first"])


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
