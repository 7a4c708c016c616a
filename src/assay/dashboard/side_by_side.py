"""Ask several questions at a time: the store answers them side by side, so a page waits for the longest alone."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

AT_A_TIME = 4

Take = Callable[[str], Any]
"""The answer to the question of this name, once it is there. Raises what the question raised."""


@contextmanager
def asked(questions: Mapping[str, Callable[[], Any]]) -> Generator[Take]:
    """What is asked in this order, to be taken in any; at the end, what has not been asked yet never is."""
    pool = ThreadPoolExecutor(AT_A_TIME)
    try:
        answers = {name: pool.submit(question) for name, question in questions.items()}
        yield lambda name: answers[name].result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def side_by_side(**questions: Callable[[], Any]) -> dict[str, Any]:
    """All answers by the names of their questions. Raises what the first of them raised."""
    with asked(questions) as take:
        return {name: take(name) for name in questions}
