"""The default set: four scores on every conversation with no network, no GPU and no key."""

from __future__ import annotations

from assay.quality.coherence import Coherence, load_fluency
from assay.quality.groundedness import Groundedness
from assay.quality.relevance import Relevance
from assay.quality.scorer import Scorer
from assay.quality.toxicity import Toxicity, load_toxicity
from assay.quality.words import load_words


def local_scorers() -> tuple[Scorer, ...]:
    """relevance, coherence, toxicity and groundedness, sharing one load of the word statistics."""
    words = load_words()
    return (
        Relevance(words),
        Coherence(words, load_fluency()),
        Toxicity(load_toxicity()),
        Groundedness(words),
    )
