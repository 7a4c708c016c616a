"""What rules would have done: run over stored history, each with when it fired and resolved, and how often.

The same judgements and the same steps as live, over the same series; only the whole of them at once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite

import msgspec
import numpy as np

from assay.alerts.evaluate import NO, UNKNOWN, YES, Judgement, States, judge, lookback_seconds, sentence
from assay.alerts.incidents import Step, steps
from assay.alerts.model_series import read
from assay.alerts.rules import AlertRule, BaselineRule, RuleBook, Severity, ThresholdRule
from assay.alerts.series import Series, sharing_calls, source_of
from assay.errors import AssayError
from assay.store.connect import Store

MAX_BUCKETS = 500_000
SHOWN_EPISODES = 200
TRIED = 512
WEEK = 7 * 86_400


class Episode(msgspec.Struct, frozen=True):
    """One time the rule would have fired; `resolved_at` is None where it still does."""

    group: str
    fired_at: datetime
    resolved_at: datetime | None
    message: str


class Point(msgspec.Struct, frozen=True):
    """What the rule looked at at a moment: its `value` of `n` calls with its interval, and what it is compared to.

    `usual` is the limit of a threshold, else what is usual; of a baseline the interval is that of what is expected.
    None is what is not known.
    """

    at: datetime
    value: float | None
    low: float | None
    high: float | None
    usual: float | None
    n: int


class Replayed(msgspec.Struct, frozen=True):
    """One rule over the history. `error` says why it could not be run.

    `suggested` is the most sensitive limit (for a baseline the `change`) with which it would have fired at most as
    often as asked; None where that kind has no such setting. `course` is that of `group`, which would have fired most
    or else has most calls: in each part of the time the moment that was nearest to firing; empty unless asked for.
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
    group: str = ""
    course: list[Point] = []
    error: str = ""


class Replay(msgspec.Struct, frozen=True):
    """All rules over [since, until)."""

    since: datetime
    until: datetime
    step_seconds: int
    seconds: float
    rules: list[Replayed]


def replay(
    store: Store, book: RuleBook, since: int, until: int, at_most_a_week: float = 1.0, *, points: int = 0
) -> Replay:
    """Run every enabled rule of the book over the stored history. Times are Unix seconds.

    Each tells its course in `points` at most. Raises AssayError.
    """
    began = time.perf_counter()
    step = book.engine.every
    since, until = since // step * step, until // step * step
    if not 0 < until - since <= MAX_BUCKETS * step:
        raise AssayError(
            f"cannot replay {(until - since) / 86_400:.0f} days in steps of {step} s: choose a later --since"
        )
    rules = [rule for rule in book.rules.values() if rule.enabled]
    first_call = min(_first_call(store), since)
    history = max((lookback_seconds(rule) for rule in rules), default=0)
    first = max(since - history, first_call) // step * step
    told = list[Replayed]()
    for sharing in sharing_calls(rules):
        try:
            found = read(store, sharing, first, until, step)
            told += [
                replayed(rule, found[source_of(rule)], since, until, at_most_a_week, points=points) for rule in sharing
            ]
        except AssayError as error:
            told += [Replayed(rule.name, rule.kind, rule.severity, error=str(error)) for rule in sharing]
    order = {rule.name: place for place, rule in enumerate(rules)}
    told.sort(key=lambda one: order[one.rule])
    return Replay(_moment(since), _moment(until), step, round(time.perf_counter() - began, 3), told)


def replayed(
    rule: AlertRule,
    by_group: Mapping[str, Series],
    since: int,
    until: int,
    at_most_a_week: float,
    shown: int = SHOWN_EPISODES,
    points: int = 0,
) -> Replayed:
    """One rule over the series of all its groups, with its first `shown` episodes and a course of so many points."""
    judged = {g: judge(rule, series, (until - since) // series.step) for g, series in by_group.items()}
    episodes, firing_seconds = list[Episode](), 0
    for group, judgement in judged.items():
        for fired, resolved in fired_and_resolved(_steps(rule, judgement, judgement.state)):
            message = sentence(rule, judgement, fired.bucket)
            episodes.append(Episode(group, _moment(fired.at), _moment(resolved.at) if resolved else None, message))
            firing_seconds += (resolved.at if resolved else until) - fired.at
    episodes.sort(key=lambda episode: episode.fired_at)
    weeks = (until - since) / WEEK
    setting, limit = _setting(rule)
    fired = Counter(episode.group for episode in episodes)
    group = max(judged, key=lambda name: (fired[name], float(by_group[name].n.sum()), name), default="")
    return Replayed(
        rule=rule.name,
        kind=rule.kind,
        severity=rule.severity,
        fired=len(episodes),
        a_week=round(len(episodes) / weeks, 2),
        firing_share=firing_seconds / (until - since) / max(len(judged), 1),
        groups=len(judged),
        calls=round(
            sum(float(series.n[(since - series.start) // series.step :].sum()) for series in by_group.values())
        ),
        episodes=episodes[:shown],
        setting=setting,
        limit=limit,
        suggested=_suggested(rule, list(judged.values()), at_most_a_week * weeks) if setting else None,
        group=group,
        course=_course(judged[group], points) if points and judged else [],
    )


def _course(judged: Judgement, points: int) -> list[Point]:
    size = len(judged.state)
    nearness = np.where(np.isnan(judged.margin) | np.isnan(judged.value), -np.inf, judged.margin)
    parts = np.array_split(np.arange(size), min(points, size)) if size else []
    return [_point(judged, int(part[np.argmax(nearness[part])])) for part in parts]


def _point(judged: Judgement, at: int) -> Point:
    figures = (float(column[at]) for column in (judged.value, judged.low, judged.high, judged.usual))
    value, low, high, usual = (figure if isfinite(figure) else None for figure in figures)
    return Point(_moment(judged.start + (at + 1) * judged.step), value, low, high, usual, int(judged.n[at]))


def fired_and_resolved(changes: list[Step]) -> list[tuple[Step, Step | None]]:
    """Each firing with its resolution, None for one still firing."""
    found = list[tuple[Step, Step | None]]()
    for change in changes:
        if change.phase == "firing":
            found.append((change, None))
        elif change.phase == "resolved" and found:
            found[-1] = (found[-1][0], change)
    return found


def _steps(rule: AlertRule, judged: Judgement, state: States) -> list[Step]:
    return steps(state, judged.start, judged.step, rule.hold_seconds, rule.resolve_after)


def _setting(rule: AlertRule) -> tuple[str, float | None]:
    if isinstance(rule, ThresholdRule):
        return ("above" if rule.above is not None else "below"), rule.limit
    return ("change", rule.change) if isinstance(rule, BaselineRule) else ("", None)


def _suggested(rule: AlertRule, judged: Sequence[Judgement], at_most: float) -> float | None:
    """The most sensitive limit that would have fired at most so often, found by halving between the margins met."""
    margins = [one.margin[np.isfinite(one.margin) & (one.state != UNKNOWN)] for one in judged]
    met = np.concatenate([np.zeros(0), *margins])
    if not len(met):
        return None
    # Limits are tried as they are told: rounding afterwards could let one page more through.
    candidates = [_told(value) for value in np.quantile(met, np.linspace(0, 1, TRIED)).tolist()]
    low, high = 0, len(candidates) - 1
    while low < high:
        middle = (low + high) // 2
        if _fired(rule, judged, candidates[middle]) <= at_most:
            high = middle
        else:
            low = middle + 1
    limit = candidates[low]
    if isinstance(rule, BaselineRule):
        return limit if limit > 0 else None
    return -limit if isinstance(rule, ThresholdRule) and rule.below is not None else limit


def _fired(rule: AlertRule, judged: Sequence[Judgement], limit: float) -> int:
    states = ((one, np.where(one.state == UNKNOWN, UNKNOWN, np.where(one.margin > limit, YES, NO))) for one in judged)
    return sum(len(fired_and_resolved(_steps(rule, one, state.astype(np.int8)))) for one, state in states)


def _told(value: float) -> float:
    """The value to three digits, rounded away so that the value itself is not beyond it."""
    if value == 0:
        return 0.0
    digits = 10.0 ** (np.floor(np.log10(abs(value))) - 2)
    return float(f"{np.ceil(value / digits) * digits:.6g}")


def _first_call(store: Store) -> int:
    """Of calls and predictions; 0 where there is none of one of them, so that nothing is cut off."""
    [row] = store.query("SELECT toUnixTimestamp(min(started_at)) AS first FROM spans WHERE counted")
    [model] = store.query("SELECT toUnixTimestamp(min(predicted_at)) AS first FROM predictions WHERE NOT reference")
    return int(min(row["first"], model["first"] or row["first"]))


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
