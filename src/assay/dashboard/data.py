"""What the pages share: which calls they are about, and the names that can be chosen from."""

from __future__ import annotations

from typing import Any

import msgspec

from assay.client.monitor import Monitor

Answer = dict[str, Any]

RANGES = ("15m", "1h", "6h", "24h", "7d", "30d", "all")

FILTERS = ("project", "model", "environment", "release", "user_id")


class Filter(msgspec.Struct, frozen=True):
    """The calls that a page is about: one of RANGES, and only some calls where a filter is set.

    `since` and `until`, in a form that the API takes, go before the range.
    """

    range: str = "24h"
    project: str | None = None
    model: str | None = None
    environment: str | None = None
    release: str | None = None
    user_id: str | None = None
    since: str = ""
    until: str = ""

    def asked(self) -> dict[str, Any]:
        """The same as filters of the API."""
        since = self.since or (None if self.range == "all" else self.range)
        return {"since": since, "until": self.until or None, **{name: getattr(self, name) for name in FILTERS}}

    def address(self) -> dict[str, str]:
        """The same as parts of a page's address."""
        named = {name: value for name in FILTERS if (value := getattr(self, name)) is not None}
        between = {name: value for name in ("since", "until") if (value := getattr(self, name))}
        return {**named, **({} if self.since else {"range": self.range}), **between}

    @property
    def time(self) -> str:
        """The time in words, such as "in the last 24h"."""
        if self.since or self.until:
            return " ".join(f"{word} {text}" for word, text in (("since", self.since), ("until", self.until)) if text)
        return "of any time" if self.range == "all" else f"in the last {self.range}"


class Names(msgspec.Struct, frozen=True):
    """The projects, models, environments and releases that the store has calls of, whenever they were.

    `first_at` is when its first call began, "" if there is none.
    """

    projects: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()
    first_at: str = ""

    def knows(self, other: Names) -> bool:
        """Whether `other` names nothing new."""
        return all(set(more) <= set(own) for own, more in zip(_kinds(self), _kinds(other), strict=True))

    def joined(self, other: Names) -> Names:
        """All names of both, in order."""
        both = (tuple(sorted({*own, *more})) for own, more in zip(_kinds(self), _kinds(other), strict=True))
        return Names(*both, first_at=other.first_at or self.first_at)


def names(monitor: Monitor) -> Names:
    """What can be filtered by. Raises AssayError."""
    told = monitor.names()
    kinds = (tuple(told[kind]) for kind in ("projects", "models", "environments", "releases"))
    return Names(*kinds, first_at=told["first_at"] or "")


def _kinds(names: Names) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    return names.projects, names.models, names.environments, names.releases
