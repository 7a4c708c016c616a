"""Alerting while the server runs: the engine judges, the courier delivers, the watch looks at Assay itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from assay.alerts.engine import Engine
from assay.alerts.notify import Courier
from assay.alerts.overspent import Spending
from assay.alerts.watch import Condition, Watch
from assay.analytics.budgets import budgets
from assay.config import Config
from assay.store.connect import Store, embedded_directory

STALLED_SECONDS = 50.0

Figures = Callable[[], tuple[bool, dict[str, Any]]]


class Alerting:
    """Judges and delivers until `stop`. `health` gives the figures of GET /api/health, without what is said here."""

    def __init__(self, store: Store, config: Config, url: str, health: Figures) -> None:
        self._enabled = config.alerts.enabled
        self._watch = Watch(embedded_directory(config.store))
        self._spending = Spending(lambda: budgets(store, config.budget, config.timezone) if config.budget else [])
        self._health = health
        self._standing: list[Condition] = []
        self.engine = Engine(store, config.alerts.rules, url, self._look)
        self.courier = Courier(store, lambda: self.engine.book, lambda: not self.problems)

    def start(self) -> None:
        """Begin, unless the settings say that another server watches this store's rules."""
        if self._enabled:
            self.engine.start()
            self.courier.start()

    def stop(self) -> None:
        """Finish the round and the message in hand, then end."""
        self.engine.stop()
        self.courier.stop()

    @property
    def problems(self) -> list[str]:
        """What is wrong with alerting, and which part of Assay stands still, for health."""
        if not self._enabled:
            return []
        stalled = self.engine.stalled_seconds
        late = f"watching alerts: no round has ended well for {stalled:.0f} s" if stalled > STALLED_SECONDS else ""
        stuck = [one.message for one in self._standing if one.rule in ("assay:stuck", "assay:disk-filling")]
        return [problem for problem in (self.engine.last_error, self.courier.last_error, late, *stuck) if problem]

    def _look(self, engine: Engine, now: float) -> list[Condition]:
        _, figures = self._health()
        own = set(self.problems)
        told = {**figures, "problems": [problem for problem in figures["problems"] if problem not in own]}
        errors = {name: state.error for name, state in engine.states.items()}
        self._standing = self._watch.look(told, dict(self.courier.failing_since), errors, now)
        return [*self._standing, *self._spending.look(now)]
