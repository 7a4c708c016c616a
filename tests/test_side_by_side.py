"""Questions that a page asks side by side: taken in any order, and not asked any more once the page is left."""

from __future__ import annotations

from functools import partial
from threading import Event
from typing import Any

import pytest

from assay.dashboard.side_by_side import AT_A_TIME, asked, side_by_side
from assay.errors import AssayError
from conftest import eventually


def refuse() -> Any:
    raise AssayError("not today")


def test_answers_are_taken_in_any_order_and_an_error_only_where_it_is_taken() -> None:
    with asked({"one": lambda: 1, "refused": refuse, "two": lambda: 2}) as take:
        assert (take("two"), take("one"), take("two")) == (2, 1, 2)
        with pytest.raises(AssayError, match="not today"):
            take("refused")
    with pytest.raises(AssayError, match="not today"):
        side_by_side(one=lambda: 1, refused=refuse)
    assert side_by_side(one=lambda: 1, two=lambda: 2) == {"one": 1, "two": 2}


def test_who_leaves_the_page_waits_for_nothing_and_leaves_the_rest_unasked() -> None:
    began, gate = list[int](), Event()

    def answer(number: int) -> None:
        began.append(number)
        assert gate.wait(60)

    with asked({str(number): partial(answer, number) for number in range(2 * AT_A_TIME)}):
        eventually(lambda: len(began) == AT_A_TIME)
    gate.set()
    assert sorted(began) == list(range(AT_A_TIME))
