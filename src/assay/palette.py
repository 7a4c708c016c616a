"""The colours of everything that is drawn, on the page and in reports.

Each has a contrast of 3:1 or more on both grounds of the page (GROUNDS), and no two come closer than 15 in CIE Lab for
readers with full sight, protanopes, deuteranopes and tritanopes, by the matrices of Machado et al. (2009). The page's
theme (dashboard/.streamlit/config.toml) repeats them; tests/test_theme.py holds all of this.
"""

from __future__ import annotations

BLUE, AMBER, RED, TEAL = "#2f7fd6", "#c98500", "#d1344f", "#00a383"
VIOLET, GREY, ROSE, BROWN = "#8a3cf0", "#6f7584", "#c07ab8", "#a5501d"

GROUNDS = {"light": "#ffffff", "dark": "#12171e"}

SCORE_COLOURS = {
    "relevance": BLUE,
    "coherence": AMBER,
    "toxicity": RED,
    "groundedness": TEAL,
    "factual_accuracy": VIOLET,
    "prompt_toxicity": ROSE,
    "refusal": GREY,
}
"""Each score has its colour on every chart; others share what is left."""

MODEL_COLOURS = (BLUE, AMBER, TEAL, VIOLET, RED, ROSE, BROWN, GREY)
