"""Queries that do not need each other's answers, asked side by side: the store has several connections."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

AT_A_TIME = 4

A = TypeVar("A")
B = TypeVar("B")


def both(one: Callable[[], A], other: Callable[[], B]) -> tuple[A, B]:
    """The answers of both. Raises what one of them raised, once both have ended."""
    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(other)
        return one(), later.result()


def all_of(*questions: Callable[[], A]) -> list[A]:
    """The answers in the order of their questions. Raises what the first of them raised."""
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        asked = [pool.submit(question) for question in questions]
        return [answer.result() for answer in asked]
