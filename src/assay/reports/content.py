"""What a report tells: every figure of it, for a range of time and the range of equal length before it.

`making` fills it from the questions in `analytics`, so its figures equal the page's and the API's; `render` turns it
into Markdown, HTML, PDF or JSON.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import msgspec

from assay.analytics.compare import Change, Verdict
from assay.analytics.worst import Worst
from assay.store.connect import Row

TITLE = "LLM monitoring summary report"


class Headline(msgspec.Struct, frozen=True, kw_only=True):
    """One figure at the top, with the one of the period before. `key` is where the API has it; None is unknown.

    `low` and `high` are its 95% interval, where it has one; `verdict` is that of `compare`, "unknown" where it has
    none; `note` says what qualifies it.
    """

    key: str
    name: str
    unit: Literal["count", "usd", "ms", "share", "score"]
    value: float | None
    before: float | None
    low: float | None = None
    high: float | None = None
    verdict: Verdict = "unknown"
    note: str = ""

    @property
    def change(self) -> float | None:
        """As a share of the figure before; of shares and scores as a difference. None where one is unknown."""
        if self.value is None or self.before is None:
            return None
        if self.unit in ("share", "score"):
            return self.value - self.before
        return self.value / self.before - 1 if self.before else None


class Drivers(msgspec.Struct, frozen=True, kw_only=True):
    """Where the money went, by one dimension: its `dearest` values with their `share` of the cost, dearest first.

    `others` counts the groups that are not shown.
    """

    dimension: str
    rows: list[Row]
    others: int


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """What is not known of some calls, or not here: how many of how many, and what to do about it."""

    key: str
    says: str
    calls: int
    of: int
    fix: str


class Modelled(msgspec.Struct, frozen=True, kw_only=True):
    """A classical model of the range, beside the report's calls: `compared` as the API has it, and its drift.

    `drift` is that of `GET /api/models/.../drift`, its features without the shapes.
    """

    project: str
    model: str
    compared: Row
    drift: Row


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that is told. Rows are the API's own; `before` is None where the period before had no call.

    `command` makes the report again: its figures are the same as long as nothing came in late, or was scored or priced
    anew.
    """

    title: str
    made_at: datetime
    version: str
    since: datetime
    until: datetime
    before_since: datetime
    filters: dict[str, str]
    command: str
    url: str
    usage: Row
    before: Row | None
    headlines: list[Headline] = []
    scores: dict[str, Row] = {}
    scores_before: dict[str, Row] = {}
    bucket_seconds: int = 0
    points: list[Row] = []
    by_model: list[Row] = []
    drivers: list[Drivers] = []
    latencies: list[Row] = []
    kinds: list[Row] = []
    errors: list[Row] = []
    costs: Row | None = None
    incidents: list[Row] = []
    changes: list[Change] = []
    worst: list[Worst] = []
    gaps: list[Gap] = []
    models: list[Modelled] = []
    recommendations: list[str] = []

    @property
    def clear_changes(self) -> list[Change]:
        """What certainly changed, for the worse first, then for the better."""
        return [one for verdict in ("worse", "better") for one in self.changes if one.verdict == verdict]

    @property
    def same(self) -> list[str]:
        """The names of the figures that show no clear change."""
        return [one.sentence.partition(":")[0] for one in self.changes if one.verdict == "same"]

    @property
    def empty(self) -> bool:
        """Whether there was no call at all: then there is no figure either."""
        return not self.usage["total_calls"]


def stamp(moment: datetime) -> str:
    """2026-11-23T08:00:00Z, with milliseconds where it has any."""
    precision = "milliseconds" if moment.microsecond else "seconds"
    return moment.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")
