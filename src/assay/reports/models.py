"""Classical models in a report: the comparison with the report's calls, and what drifted."""

from __future__ import annotations

import msgspec

from assay.analytics.selection import Selection
from assay.ml.comparison import comparison
from assay.ml.conversations import shipped_embedding
from assay.ml.models import models
from assay.ml.window import Window
from assay.quality.words import load_words
from assay.reports.content import Modelled
from assay.store.connect import Store

MODELS = 2
"""Those with most predictions are told."""


def beside(store: Store, calls: Selection, before: Selection) -> list[Modelled]:
    """The classical models that predicted in the range (and project) of these calls, each compared with them."""
    used = [row for row in models(store, calls.project, calls.since, calls.until) if row["rows"]][:MODELS]
    return [_modelled(store, row["project"], row["model"], calls, before) for row in used]


def _modelled(store: Store, project: str, model: str, calls: Selection, before: Selection) -> Modelled:
    window = Window(model=model, project=project, since=calls.since, until=calls.until)
    found = comparison(store, window, before, calls, load_words(), shipped_embedding())
    drift = found.pop("drift")
    features = [msgspec.structs.replace(one, shape=None) for one in drift["features"]]
    return Modelled(project=project, model=model, compared=found, drift={**drift, "features": features})
