"""What the charts of the pages have in common: axes with units, one height, legends below."""

from __future__ import annotations

from typing import Any

import altair as alt

HEIGHT = 260

_TIME_FORMATS = {
    "milliseconds": "%H:%M:%S",
    "seconds": "%H:%M:%S",
    "minutes": "%H:%M",
    "hours": "%H:%M",
    "date": "%d %b",
    "day": "%d %b",
    "week": "%d %b",
    "month": "%d %b",
    "year": "%d %b %Y",
}


def time_axis(field: str) -> alt.X:
    """Moments of the reader's clock, the date where a day begins."""
    return alt.X(
        f"{field}:T", title=None, axis=alt.Axis(format=_TIME_FORMATS, tickCount=6, labelOverlap=True, grid=False)
    )


def time_tooltip(field: str) -> alt.Tooltip:
    """The begin of a point's bucket of time."""
    return alt.Tooltip(f"{field}:T", title="From", format="%d %b %H:%M:%S")


def dollar_axis(**more: Any) -> alt.Axis:
    """US dollars, as few digits as tell them apart."""
    return alt.Axis(format="$~g", tickCount=5, **more)


def legend(columns: int) -> alt.Legend:
    """Below the chart, so that a narrow page keeps its width for the data."""
    return alt.Legend(
        orient="bottom",
        columns=columns,
        labelLimit=125,
        offset=10,
        symbolType="circle",
        symbolSize=90,
        symbolOpacity=1,
    )


def finished(chart: Any, height: int = HEIGHT) -> Any:
    """The chart in its frame."""
    return chart.properties(height=height, padding={"left": 0, "top": 4, "right": 8, "bottom": 0})


def rows_height(rows: int) -> int:
    """For a chart with a line a row."""
    return 26 * rows + 34
