"""From a condition that holds to an incident: pending, firing, resolved; one for each rule and group.

A pure function of the judgements and of what is known of the incident before; the store keeps what it answers.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec
import numpy as np

from assay.alerts.evaluate import NO, UNKNOWN, YES, States

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
    state: States, start: int, step: int, hold_seconds: int, resolve_after: int, known: Known | None = None, since: int = 0
) -> list[Step]:
    """The changes of state in these buckets, of which those ending after `since` (and after what is known) count.

    Times are the ends of buckets; bucket i ends at start + (i + 1) * step.
    """
    found = list[Step]()
    phase: Phase = known.phase if known else "resolved"
    began = known.began if known else 0
    after = max(since, known.at if known else 0)
    first = max((after - start) // step, 0)
    is_open = phase in ("pending", "firing")
    if not is_open and not np.any(state[first:] == YES):
        return found
    calm_since: int | None = None
    for bucket in range(first, len(state)):
        at, now = start + (bucket + 1) * step, int(state[bucket])
        if at <= after or now == UNKNOWN and not is_open:
            continue
        if now == YES:
            calm_since = None
            if not is_open:
                phase, began, is_open = "pending", at, True
                found.append(Step("pending", began, at, bucket))
            if phase == "pending" and at - began >= hold_seconds:
                phase = "firing"
                found.append(Step("firing", began, at, bucket))
        elif now == NO and is_open:
            calm_since = at if calm_since is None else calm_since
            if phase == "pending" or at - calm_since >= resolve_after:
                phase = "cleared" if phase == "pending" else "resolved"
                found.append(Step(phase, began, at, bucket))
                is_open = False
    return found


def incident_id(rule: str, group: str, began: int) -> str:
    """The same for the same incident, however often it is found: a crash between finding and storing repeats nothing."""
    return hashlib.sha256(f"{rule}\0{group}\0{began}".encode()).hexdigest()[:16]
