"""What is asked about classical models: predictions, labels, how good they were, and what moved."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from assay.client.api.connection import SLOW_SECONDS, Answer, Api


class Models(Api):
    """Questions about classical models."""

    def models(self, **filters: Any) -> list[Answer]:
        """Classical models: project, model, versions, rows, labels, last_at, error_rate, latency."""
        return self._get("/models", filters)["models"]

    def model_performance(self, model: str, **filters: Any) -> Answer:
        """How good it was where labels have come: figures, points; by= version or a feature, positive=, segment=."""
        return self._of_model(model, "performance", filters)

    def model_estimate(self, model: str, **filters: Any) -> Answer:
        """How good it probably is before labels come, by its calibrated probabilities (CBPE)."""
        return self._of_model(model, "estimated", filters)

    def model_drift(self, model: str, **filters: Any) -> Answer:
        """How far features, prediction and confidence moved from the reference, or from versus_since= (_until=)."""
        return self._of_model(model, "drift", filters)

    def model_data_quality(self, model: str, **filters: Any) -> Answer:
        """Missing, infinite, out of range, new, constant or changed features, and errors by type."""
        return self._of_model(model, "data-quality", filters)

    def _of_model(self, model: str, question: str, filters: dict[str, Any]) -> Answer:
        return self._get(f"/models/{quote(model, safe='')}/{question}", filters, timeout=SLOW_SECONDS)

    def comparison(self, classical: str, **filters: Any) -> Answer:
        """`aspects` of a classical model beside LLM calls; classical_project=, classical_version=."""
        return self._get("/comparison", {**filters, "classical": classical}, timeout=SLOW_SECONDS)

    def predictions(self, **filters: Any) -> Answer:
        """One page of a classical model's predictions, newest first, with labels: `predictions` and `next_cursor`.

        Filters are project=, model=, model_version=, key=, prediction_id=, status=, since=, until=; reference=True asks
        for the rows that others are compared with. Also limit=, cursor=.
        """
        if "reference" in filters:
            filters["reference"] = str(filters["reference"]).lower()
        return self._get("/predictions", filters)

    def labels(self, **filters: Any) -> list[Answer]:
        """How many `labels` each model has, and how many are `unmet`: of no prediction that is stored."""
        return self._get("/labels", filters)["models"]
