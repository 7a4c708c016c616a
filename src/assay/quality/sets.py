"""Which scorers a set is made of. A set is loaded once, by who runs it, and handed on as an argument."""

from __future__ import annotations

from assay.quality.lexical import lexical_scorers
from assay.quality.local import local_scorers
from assay.quality.scorer import Scorer

SETS = {"lexical": lexical_scorers, "local": local_scorers}

SHIPPED = frozenset(
    ("relevance", "coherence", "toxicity", "prompt_toxicity", "groundedness", "refusal", "factual_accuracy")
)
"""The scores of all sets together."""


def scorers(set_name: str) -> tuple[Scorer, ...]:
    """The scorers of a named set with their weights loaded (0.1 s for "local", nothing for "lexical").

    Raises ValueError for a name that is not in SETS.
    """
    if set_name not in SETS:
        raise ValueError(f"no scorer set {set_name!r}; there are: {', '.join(sorted(SETS))}")
    return SETS[set_name]()
