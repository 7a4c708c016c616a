"""The page's colours: readable on both grounds, told apart by every eye, and the same everywhere."""

from __future__ import annotations

import itertools
import math
import tomllib
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

from assay import palette
from assay.palette import AMBER, BLUE, BROWN, GREY, GROUNDS, RED, ROSE, TEAL, VIOLET

COLOURS = (BLUE, AMBER, RED, TEAL, VIOLET, GREY, ROSE, BROWN)

EYES = {
    "full sight": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
"""Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB."""

XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
WHITE = [0.9505, 1.0, 1.089]


@pytest.mark.parametrize("sight", EYES)
def test_every_eye_tells_the_colours_apart(sight: str) -> None:
    for one, other in itertools.combinations(COLOURS, 2):
        assert math.dist(lab(one, sight), lab(other, sight)) >= 15, (one, other)


@pytest.mark.parametrize("kind", GROUNDS)
def test_the_theme_repeats_the_palette_and_all_of_it_can_be_read(kind: str) -> None:
    theme = settings()["theme"]
    own: dict[str, str] = theme[kind]
    grounds = [own["backgroundColor"], own["secondaryBackgroundColor"]]

    assert own["backgroundColor"] == GROUNDS[kind]
    assert tuple(theme["chartCategoricalColors"]) == palette.MODEL_COLOURS
    assert {value for name, value in theme.items() if name.endswith("Color")} <= set(COLOURS)
    assert min(contrast(colour, GROUNDS[kind]) for colour in COLOURS) >= 3
    texts = [value for name, value in own.items() if name.endswith(("TextColor", "textColor")) or name == "linkColor"]
    assert len(texts) == 10
    assert min(contrast(text, ground) for text in texts for ground in grounds) >= 4.5


def test_the_page_follows_the_readers_system_and_fetches_no_font() -> None:
    theme = settings()["theme"]

    assert "base" not in theme
    assert not {"font", "fontFaces", "headingFont", "codeFont"} & set(theme)
    assert settings()["browser"]["gatherUsageStats"] is False


def settings() -> dict[str, Any]:
    return tomllib.loads((files("assay.dashboard") / ".streamlit/config.toml").read_text())


def linear(colour: str) -> list[float]:
    shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    return [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]


def contrast(one: str, other: str) -> float:
    """WCAG 2.2: from 1 to 21."""
    darker, lighter = sorted(float(np.dot(XYZ[1], linear(colour))) for colour in (one, other))
    return (lighter + 0.05) / (darker + 0.05)


def lab(colour: str, sight: str) -> tuple[float, float, float]:
    seen = np.clip(np.array(EYES[sight]) @ linear(colour), 0, 1)
    x, y, z = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in np.array(XYZ) @ seen / WHITE)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)
