"""A SELECT list of aggregates in two steps: as states of parts, and of the states as a whole."""

from __future__ import annotations

import re

_AGGREGATE = re.compile(r"\b(?:count|sum|avg|min|max|quantiles|uniqCombined)(?:OrNull)?(?:If)?(?=\()")


def in_two_steps(figures: str) -> tuple[str, str]:
    """The states of the aggregates of a list, named state_0 and so on; and the list made of those.

    `sum(cost_usd) / count() AS mean` is made of `sumState(cost_usd) AS state_0, countState() AS state_1` as
    `sumMerge(state_0) / countMerge(state_1) AS mean`.
    """
    states = dict[str, str]()
    merged, place = "", 0
    while found := _AGGREGATE.search(figures, place):
        levels, end = "", _closed(figures, found.end())
        if figures[end : end + 1] == "(":
            levels, start, end = figures[found.end() : end], end, _closed(figures, end)
            values = figures[start:end]
        else:
            values = figures[found.end() : end]
        state = states.setdefault(f"{found[0]}State{levels}{values}", f"state_{len(states)}")
        merged += f"{figures[place : found.start()]}{found[0]}Merge{levels}({state})"
        place = end
    return ", ".join(f"{sql} AS {name}" for sql, name in states.items()), merged + figures[place:]


def _closed(text: str, start: int) -> int:
    """Behind the bracket that closes the one at `start`."""
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if not depth:
            return place + 1
    raise ValueError(f"a bracket is not closed in {text!r}")
