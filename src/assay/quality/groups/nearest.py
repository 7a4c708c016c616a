"""Into which group a prompt falls: that with the nearest centre, if it is near enough."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from assay.quality.words import Floats
from assay.store.prompt_groups import Group


class Nearest:
    """The groups of one project, ready to be compared with vectors."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._ids = [group.id for group in groups]
        self._centroids: Floats = np.array([group.centroid for group in groups], np.float32)
        self._least: Floats = np.array([group.least for group in groups], np.float32)

    def __call__(self, vectors: Floats) -> list[str]:
        """The id of each vector's group, "" for none."""
        if not self._ids:
            return [""] * len(vectors)
        alike = vectors @ self._centroids.T
        best = alike.argmax(1)
        near = alike[np.arange(len(vectors)), best] >= self._least[best]
        return [
            self._ids[place] if is_near else "" for place, is_near in zip(best.tolist(), near.tolist(), strict=True)
        ]
