"""Budgets that are exceeded, or about to be, as conditions that the alert engine tells of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from assay.alerts.watch import Condition
from assay.analytics.budgets import BudgetState

LOOK_SECONDS = 60.0
"""Costs of an hour ago do not change: so often is often enough."""


class Spending:
    """Looks at the budgets at most once a minute. Not thread-safe."""

    def __init__(self, budgets: Callable[[], Sequence[BudgetState]]) -> None:
        self._budgets = budgets
        self._looked_at = float("-inf")
        self._known: list[Condition] = []

    def look(self, now: float) -> list[Condition]:
        """All budgets that are exceeded or at risk; `now` is in Unix seconds. Raises StoreError."""
        if now - self._looked_at >= LOOK_SECONDS:
            self._known = [_condition(state) for state in self._budgets() if state.state != "ok"]
            self._looked_at = now
        return self._known


def _condition(state: BudgetState) -> Condition:
    exceeded = state.state == "exceeded"
    rule = "assay:budget-exceeded" if exceeded else "assay:budget-at-risk"
    group = f"{state.name}={state.value}" if state.value else state.name
    return Condition(rule, group, "HIGH" if exceeded else "MEDIUM", state.sentence)
