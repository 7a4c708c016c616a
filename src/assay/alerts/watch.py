"""Assay watches itself: ingest, settling, scoring, disk, delivery and the rules, as conditions that hold or do not.

In: the figures of GET /api/health, asked every few seconds. Out: what is wrong now, as incidents and as problems that
turn health red. A part that stands still is told by its position: it has work, and has not moved for 45 seconds.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from assay.alerts.rules import Severity

STUCK_SECONDS = 45.0
REFUSED_SECONDS = 300.0
FAILING_SECONDS = 30.0
UNDELIVERED_SECONDS = 60.0
DISK_HOURS = 24.0
LEAST_FREE_SHARE = 0.03
_SAMPLES = 720


class Condition(NamedTuple):
    """Something that is wrong with a part of Assay at this moment."""

    rule: str
    group: str
    severity: Severity
    message: str


class Watch:
    """Remembers enough of the last minutes to tell what stands still and where figures lead. Not thread-safe."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._moved: dict[str, tuple[float, float]] = {}
        self._refused: deque[tuple[float, int]] = deque(maxlen=_SAMPLES)
        self._failing: dict[str, float] = {}
        self._free: deque[tuple[float, int]] = deque(maxlen=_SAMPLES)

    def look(
        self,
        figures: Mapping[str, Any],
        undelivered: Mapping[str, float],
        rule_errors: Mapping[str, str],
        now: float,
    ) -> list[Condition]:
        """All conditions that hold now.

        `figures` are health's, `undelivered` since when (Unix seconds) each channel fails, `rule_errors` what is wrong
        with each rule.
        """
        return [
            *self._refusals(figures.get("ingest") or {}, now),
            *self._stuck(figures, now),
            *self._failures(figures.get("problems") or [], now),
            *self._disk(now),
            *(
                Condition(
                    "assay:delivery-failing", channel, "HIGH", f"nothing arrives at {channel}: see the delivery log"
                )
                for channel, since in undelivered.items()
                if now - since >= UNDELIVERED_SECONDS
            ),
            *(Condition("assay:rule-failing", name, "MEDIUM", error) for name, error in rule_errors.items() if error),
        ]

    def _refusals(self, ingest: Mapping[str, Any], now: float) -> Iterable[Condition]:
        names = ("refused_spans", "refused_events", "refused_requests")
        count = sum(int(ingest.get(name, 0)) for name in names)
        while len(self._refused) > 1 and now - self._refused[0][0] > REFUSED_SECONDS:
            self._refused.popleft()
        before = self._refused[0][1] if self._refused else count
        self._refused.append((now, count))
        if count > before:
            why = str(ingest.get("last_refusal", ""))[:300]
            yield Condition(
                "assay:ingest-refused", "", "MEDIUM", f"{count - before:,} refused in 5 minutes; last: {why}"
            )

    def _stuck(self, figures: Mapping[str, Any], now: float) -> Iterable[Condition]:
        newest = (figures.get("ingest") or {}).get("last_commit_at")
        for part, said in _lags(figures):
            if not newest or said <= 0:
                self._moved.pop(part, None)
                continue
            position = round(newest - said, 6)
            reached, since = self._moved.get(part, (position - 1, now))
            self._moved[part] = (position, now) if position > reached + 0.001 else (reached, since)
            if now - self._moved[part][1] >= STUCK_SECONDS:
                stood = now - self._moved[part][1]
                yield Condition(
                    "assay:stuck", part, "HIGH", f"{part} has stood still for {stood:.0f} s with work to do"
                )

    def _failures(self, problems: Iterable[str], now: float) -> Iterable[Condition]:
        parts = {problem.partition(":")[0][:60]: problem for problem in problems}
        self._failing = {part: self._failing.get(part, now) for part in parts}
        for part, problem in parts.items():
            if now - self._failing[part] >= FAILING_SECONDS:
                yield Condition("assay:part-failing", part, "HIGH", problem[:500])

    def _disk(self, now: float) -> Iterable[Condition]:
        if self._directory is None:
            return
        try:
            usage = shutil.disk_usage(self._directory)
        except OSError:
            return
        self._free.append((now, usage.free))
        first, free = self._free[0]
        gone, hours = free - usage.free, (now - first) / 3600
        left = usage.free * hours / gone if gone > 0 and hours > 0.25 else float("inf")
        if usage.free < LEAST_FREE_SHARE * usage.total or left < DISK_HOURS:
            when = f", full in {left:.1f} h at this rate" if left < DISK_HOURS else ""
            yield Condition("assay:disk-filling", "", "HIGH", f"{usage.free / 1e9:.1f} GB free{when}")


def _lags(figures: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    yield "settling", float((figures.get("settle") or {}).get("lag_seconds") or 0)
    quality = figures.get("quality") or {}
    for lane, told in (quality.get("lanes") or {}).items():
        yield f"scoring {lane}", float(told.get("lag_seconds") or 0)
