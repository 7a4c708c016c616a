"""Which scorers a set is made of. A set is loaded once, by who runs it, and handed on as an argument."""

from __future__ import annotations

from collections.abc import Mapping

from assay.config import Onnx
from assay.quality.judge.judge import judge_scorers
from assay.quality.lexical import lexical_scorers
from assay.quality.local import local_scorers
from assay.quality.onnx.scorers import onnx_scorers
from assay.quality.scorer import Scorer

SETS = ("lexical", "local", "onnx", "judge")

SHIPPED = frozenset(
    ("relevance", "coherence", "toxicity", "prompt_toxicity", "groundedness", "refusal", "factual_accuracy")
)
"""The scores of all sets together."""


def scorers(set_name: str, onnx: Mapping[str, Onnx] | None = None) -> tuple[Scorer, ...]:
    """The scorers of a named set with their weights loaded (0.1 s for "local", nothing for "lexical").

    `onnx` is [quality.onnx], one model a metric, for the set "onnx"; without it that set is relevance by MiniLM. The
    judge's settings are read where they are.
    Raises ValueError for a name that is not in SETS, ConfigError for a model that cannot be loaded.
    """
    match set_name:
        case "lexical":
            return lexical_scorers()
        case "local":
            return local_scorers()
        case "onnx":
            return onnx_scorers(onnx or {}, local_scorers())
        case "judge":
            return judge_scorers()
        case _:
            raise ValueError(f"no scorer set {set_name!r}; there are: {', '.join(SETS)}")
