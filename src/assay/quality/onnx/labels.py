"""Which of a model's outputs speak for a score: by the names that config.json gives them, or by the settings.

In: a loaded model and its settings. Out: places of outputs. Raises ConfigError where names do not tell.
"""

from __future__ import annotations

import re

from assay.config import Onnx
from assay.errors import ConfigError
from assay.quality.onnx.model import OnnxModel

_SPEAKS_FOR = re.compile(r"(?:entail|support|consistent|faithful|grounded)", re.IGNORECASE)
_SPEAKS_AGAINST = re.compile(
    r"(?:hallucinat|baseless|(?:un|in|non|not?)[\W_]?(?:support|faithful|consistent|grounded))", re.IGNORECASE
)
"""How labels begin that say so."""
_NEUTRAL = re.compile(
    r"^(?:neutral|safe|clean|normal|ok|okay|none|neither|benign|harmless|(?:not?|non)[\W_]?\w+)$", re.IGNORECASE
)


def labels_for(model: OnnxModel, settings: Onnx) -> list[int]:
    """Those that say: entailed, supported."""
    return _chosen(model, settings, _SPEAKS_FOR)


def labels_against(model: OnnxModel, settings: Onnx) -> list[int]:
    """Those that say: hallucinated, unsupported."""
    return _chosen(model, settings, _SPEAKS_AGAINST)


def toxic_labels(model: OnnxModel, settings: Onnx) -> list[int]:
    """Places of the labels named in the settings, else of all but the neutral one, else the second of two."""
    named = _named(model, settings)
    if named:
        return named
    neutral = [at for at, label in enumerate(model.labels) if _NEUTRAL.match(label)]
    if neutral or model.independent or model.outputs == 1:
        return [at for at in range(len(model.labels)) if at not in neutral]
    if len(model.labels) == 2:
        return [0] if re.match("tox|hate|offens", model.labels[0], re.IGNORECASE) else [1]
    raise ConfigError(_choose(model))


def _chosen(model: OnnxModel, settings: Onnx, telling: re.Pattern[str]) -> list[int]:
    """Places of the labels that are named in the settings, else that tell by their name, else the second of two."""
    named = _named(model, settings)
    found = named or [at for at, label in enumerate(model.labels) if telling.match(label)]
    if not found and len(model.labels) == 2:
        return [1]
    if not found or len(found) == len(model.labels) > 1:
        raise ConfigError(_choose(model))
    return found


def _named(model: OnnxModel, settings: Onnx) -> list[int]:
    unknown = set(settings.labels) - set(model.labels)
    if unknown:
        raise ConfigError(f"{model.name} has no label {', '.join(sorted(unknown))}; it has: {', '.join(model.labels)}")
    return [at for at, label in enumerate(model.labels) if label in settings.labels]


def _choose(model: OnnxModel) -> str:
    return f"which labels of {model.name} speak for the score? Set `labels` to some of: {', '.join(model.labels)}"
