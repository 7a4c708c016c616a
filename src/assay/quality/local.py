"""The default set: scores on every conversation with no network, no GPU and no key."""

from __future__ import annotations

from assay.quality.coherence import Coherence, load_fluency
from assay.quality.groundedness import Groundedness
from assay.quality.refusal import Refusal
from assay.quality.relevance import Relevance
from assay.quality.scorer import Scorer
from assay.quality.toxicity import Toxicity, load_toxicity
from assay.quality.words import load_words


def local_scorers() -> tuple[Scorer, ...]:
    """relevance, coherence, both toxicities, groundedness and refusal, sharing one load of the word statistics."""
    words = load_words()
    toxicity = load_toxicity(words)
    return (
        Relevance(words),
        Coherence(words, load_fluency()),
        Toxicity(words, toxicity),
        Toxicity(words, toxicity, name="prompt_toxicity", field="prompt"),
        Groundedness(words),
        Refusal(words),
    )
