"""Scores that are given, fitted to people's labels and told anew, and costs that are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from assay.client.api.connection import Answer, Api, given
from assay.errors import AssayError


class Scores(Api):
    """Scores and prices, given anew."""

    def score(self, span_id: str, name: str, value: float | None = None, **more: str) -> Answer:
        """Store a score at once and answer with what was stored; `assay.score` does it in the background."""
        body = {"span_id": span_id, "name": name, "value": value, **more}
        return self._parsed(self._request("POST", "/scores", json=body))

    def fit(self, project: str = "default", *, rows: list[Answer] | None = None, **more: Any) -> Answer:
        """Fit scores to a project's labels, or to labelled rows: metric=, dry_run=, force=, author=. Takes seconds."""
        body = {"project": project, "rows": rows, **more}
        return self._parsed(self._request("POST", "/quality/fit", json=body, timeout=None))

    def fits(self, project: str | None = None) -> list[Answer]:
        """Every version that was fitted, of a project or of all; `active` ones are in use."""
        return self._get("/quality/fits", {"project": project})["fits"]

    def use_fit(self, version: str, project: str = "default", metric: str = "") -> list[Answer]:
        """Use a version that was fitted, or "shipped"; answers which metrics that changed."""
        body = {"project": project, "version": version, "metric": metric}
        return self._parsed(self._request("POST", "/quality/use", json=body))["used"]

    def thresholds(self, project: str = "default") -> list[Answer]:
        """A project's alert thresholds by metric, each with its basis: labels, quantile or lab."""
        return self._get("/quality/thresholds", {"project": project})["limits"]

    def backfill(self, **what: Any) -> Iterator[Answer]:
        """Score history anew: since=, until=, project=, scorers=[...], processes=, dask=, restart=.

        Tells how far it is: `done` and `total` calls, `scores` written. Left early, the same question goes on there.
        """
        lines = self._lines("POST", "/quality/backfill", json=given(what), timeout=None)
        for line in lines:
            if "error" in line:
                raise AssayError(line["error"])
            yield line

    def reprice(self, *, dry_run: bool = False, **filters: Any) -> Answer:
        """Recompute stored costs with the prices known now: since=, until=, project=. Waits as long as it takes."""
        asked = {**filters, "dry_run": str(dry_run).lower()}
        return self._parsed(self._request("POST", "/reprice", asked, timeout=None))
