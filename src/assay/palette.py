"""The colours of everything that is drawn, on the page and in reports.

They have a contrast of 3:1 or more on white and on Streamlit's dark ground. The four scores' own were chosen with
the colour-blindness matrices of Machado et al. (2009): no two of them come closer than 16 in CIE Lab for protanopes,
deuteranopes and tritanopes.
"""

from __future__ import annotations

BLUE, AMBER, RED, TEAL, VIOLET, GREY = "#2f7fd6", "#c98500", "#d1344f", "#00a383", "#9a6fd0", "#7a8794"
ROSE = "#e08fa5"

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

MODEL_COLOURS = (BLUE, AMBER, TEAL, VIOLET, RED, "#4f9494", "#b0803f", GREY)
