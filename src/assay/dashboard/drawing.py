"""A chart in two parts: its specification, which depends on its shape alone, and the rows that it draws.

Altair takes 20 to 75 ms of CPU to build and check a specification (benchmarks/charts.py), so those of the shapes that
were drawn last are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, ParamSpec, cast

import altair as alt
import pandas as pd
import streamlit as st

SHAPES = 64
"""So many specifications of one kind of chart are kept."""

_ROWS = "rows"

Specification = dict[str, Any]
Shape = ParamSpec("Shape")


class Chart(NamedTuple):
    """A Vega-Lite specification that names its data, and the rows of each name."""

    specification: Specification
    rows: dict[str, Sequence[dict[str, Any]]]


def chart(specification: Specification, rows: Sequence[dict[str, Any]], **more: Sequence[dict[str, Any]]) -> Chart:
    """The chart of these rows; `more` are those of other names, where there are any."""
    return Chart(specification, {_ROWS: rows, **{name: others for name, others in more.items() if others}})


def marks(name: str = _ROWS) -> alt.Chart:
    """What a specification says of the rows of this name begins here."""
    return alt.Chart(alt.NamedData(name))


def specified(build: Callable[Shape, Any]) -> Callable[Shape, Specification]:
    """The specification of the Altair chart that `build` makes of a shape, made once a shape."""

    @lru_cache(maxsize=SHAPES)
    def made(*shape: Shape.args, **named: Shape.kwargs) -> Specification:
        specification: Specification = build(*shape, **named).to_dict()
        specification.pop("config", None)  # Altair's own sizes: the page has its own
        return specification

    return cast(Callable[Shape, Specification], made)


def draw(drawn: Chart, key: str, alt_text: str, *, selection: str | None = None) -> Any:
    """Show a chart; what is selected, where it has a selection of this name."""
    datasets = {name: pd.DataFrame(rows) for name, rows in drawn.rows.items()}
    selecting: Any = {"on_select": "rerun", "selection_mode": selection} if selection else {}
    return st.vega_lite_chart(spec={**drawn.specification, "datasets": datasets}, key=key, alt=alt_text, **selecting)
