"""From a condition that holds to an incident: pending, firing, resolved; one for each rule and group.

A pure function of the judgements and of what is known of the incident before; the store keeps what it answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

import msgspec
import numpy as np

from assay.alerts.evaluate import NO, YES, States

Phase = Literal["pending", "firing", "resolved", "cleared"]
"""A condition that holds for less than `for` is cleared without anybody hearing of it."""


class Step(msgspec.Struct, frozen=True):
    """One change of state of the incident that began at `began`; times are Unix seconds, `bucket` an index."""

    phase: Phase
    began: int
    at: int
    bucket: int


class Known(msgspec.Struct, frozen=True):
    """What the store says of the last incident of a rule and group: its phase, since when, and when it began."""

    phase: Phase
    began: int
    at: int


def steps(
    state: States,
    start: int,
    step: int,
    hold_seconds: int,
    resolve_after: int,
    known: Known | None = None,
    since: int = 0,
) -> list[Step]:
    """The changes of state in these buckets, of which those ending after `since` (and after what is known) count.

    Times are the ends of buckets; bucket i ends at start + (i + 1) * step.
    """
    phase: Phase = known.phase if known else "resolved"
    began = known.began if known else 0
    is_open = phase in ("pending", "firing")
    first = max((max(since, known.at if known else 0) - start) // step, 0)
    found = list[Step]()

    def at(bucket: int) -> int:
        return start + (bucket + 1) * step

    def reached(moment: int, begin: int) -> int:
        return max(begin, -((start + step - moment) // step))

    calm_since: int | None = None
    for begin, end, value in _runs(state, first):
        if value == YES:
            calm_since = None
            if not is_open:
                phase, began, is_open = "pending", at(begin), True
                found.append(Step("pending", began, began, begin))
            if phase == "pending" and (bucket := reached(began + hold_seconds, begin)) < end:
                phase = "firing"
                found.append(Step("firing", began, at(bucket), bucket))
        elif value == NO and is_open:
            calm_since = at(begin) if calm_since is None else calm_since
            bucket = begin if phase == "pending" else reached(calm_since + resolve_after, begin)
            if bucket < end:
                phase, is_open = ("cleared" if phase == "pending" else "resolved"), False
                found.append(Step(phase, began, at(bucket), bucket))
    return found


def _runs(state: States, first: int) -> Iterator[tuple[int, int, int]]:
    """Stretches of one state from bucket `first` on: begin, one after the end, state."""
    if first >= len(state):
        return
    changes = np.flatnonzero(np.diff(state[first:])) + first + 1
    for begin, end in pairwise([first, *changes.tolist(), len(state)]):
        yield begin, end, int(state[begin])


def incident_id(rule: str, group: str, began: int) -> str:
    """The same for the same incident, so that one found twice, with a crash in between, is stored once."""
    return hashlib.sha256(f"{rule}\0{group}\0{began}".encode()).hexdigest()[:16]
