"""A daily budget that is never exceeded: each call's worst case is set aside before it is made.

In: the judge's calls as spans, each with its worst case as its cost. Out: whether there is room. The ledger is the
store itself: a span is written before its call and written anew with the true cost after it, so a call whose answer
never came, also through a crash, stays counted at its worst case, and a restart or another process sees the same sum.
"""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from assay.ingest.pricing import Prices, Tokens
from assay.records import Span, UnixMicros
from assay.store.connect import Store
from assay.store.judgements import spent_by_judge

DAY_MICROS = 86_400 * 10**6
WRAPPING_TOKENS = 200
"""Tokens that a provider may add around the messages and the schema."""


class Ledger(Protocol):
    """Keeps the judge's calls; a span written again replaces itself."""

    def write(self, span: Span) -> None:
        """Keep a call with its cost. Raises StoreError."""
        ...

    def spent(self, since: UnixMicros, until: UnixMicros) -> float:
        """US dollars of the calls that began in [since, until). Raises StoreError."""
        ...


class StoreLedger:
    """The judge's calls in the store. `write` stores spans anew in place of their former rows."""

    def __init__(self, store: Store, write: Callable[[Sequence[Span]], None]) -> None:
        self._store = store
        self._write = write

    def write(self, span: Span) -> None:
        """Keep a call; it is on disk when this returns."""
        self._write([span])

    def spent(self, since: UnixMicros, until: UnixMicros) -> float:
        """What the store knows to be spent or set aside."""
        return spent_by_judge(self._store, since, until)


class RunLedger:
    """Costs of one run, in memory: the budget is that of the whole run."""

    def __init__(self) -> None:
        self._costs: dict[str, float] = {}

    def write(self, span: Span) -> None:
        """Keep a call's cost."""
        self._costs[span.span_id] = span.cost_usd or 0.0

    def spent(self, since: UnixMicros, until: UnixMicros) -> float:  # noqa: ARG002
        """All of it, whenever it was."""
        return sum(self._costs.values())


class Budget:
    """US dollars a UTC day. Safe to use from several threads, and from several processes over one store."""

    def __init__(self, daily_usd: float, ledger: Ledger) -> None:
        self.daily_usd = daily_usd
        self._ledger = ledger
        self._lock = threading.Lock()

    def reserve(self, span: Span) -> bool:
        """Set aside a call's `cost_usd` on the day on which it begins; False where there is no room.

        Raises StoreError.
        """
        with self._lock:
            if self.spent_on_day_of(span.started_at) + (span.cost_usd or 0) > self.daily_usd:
                return False
            self._ledger.write(span)
            if self.spent_on_day_of(span.started_at) <= self.daily_usd:
                return True
            # Another process took the room at the same moment; whoever sees too much gives way.
            self._ledger.write(msgspec.structs.replace(span, cost_usd=0.0, error_message="no room in the budget"))
            return False

    def settle(self, span: Span) -> None:
        """Put the true cost in place of what was set aside. Raises StoreError; then the worst case stays."""
        self._ledger.write(span)

    def spent_on_day_of(self, moment: UnixMicros) -> float:
        """Spent and set aside on the UTC day of a moment. Raises StoreError."""
        day = moment - moment % DAY_MICROS
        return self._ledger.spent(day, day + DAY_MICROS)


def worst_case(prices: Prices, provider: str, model: str, at: float, body: str, most_output: int) -> float | None:
    """US dollars that a request can cost at most, None where no price is known.

    A token stands for at least one byte of text in every vocabulary that falls back to bytes, so the bytes of the whole
    request are more than its tokens; vocabularies that fold text first (NFKC) see the folded one.
    """
    folded = unicodedata.normalize("NFKC", body)
    tokens = max(len(body.encode()), len(folded.encode())) + WRAPPING_TOKENS
    cost = prices.cost(provider, model, at, Tokens(tokens, most_output))
    return None if cost is None else cost.total
