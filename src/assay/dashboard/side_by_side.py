"""Ask several questions at a time: the store answers them side by side, so a page waits for the longest alone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

AT_A_TIME = 4


def side_by_side(**questions: Callable[[], Any]) -> dict[str, Any]:
    """The answers by the names of their questions. Raises what the first of them raised."""
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        asked = {name: pool.submit(question) for name, question in questions.items()}
        return {name: answer.result() for name, answer in asked.items()}
