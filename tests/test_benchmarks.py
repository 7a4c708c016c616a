"""Benchmarks are run by hand: that each still begins is seen here."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SHARED = ("browsing", "measuring", "texts")


@pytest.mark.parametrize("script", sorted(path.stem for path in BENCHMARKS.glob("*.py") if path.stem not in SHARED))
def test_a_benchmark_says_how_it_is_run(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(sys, "argv", [f"{script}.py", "--help"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(BENCHMARKS / f"{script}.py"), run_name="__main__")
    assert capsys.readouterr().out.startswith("usage:")


@pytest.mark.parametrize(("span", "questions"), [("24h", 9), ("all", 8)])
def test_a_page_that_is_timed_asks_all_its_questions(
    span: str, questions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    pages = runpy.run_path(str(BENCHMARKS / "queries.py"))["PAGES"]
    asked = list[str]()

    class Told:
        def __getattr__(self, question: str) -> Any:
            return lambda *_, **__: asked.append(question) or {"calls": [], "points": [], "problems": []}

    pages[f"overview page, {span}"](Told())
    assert len(asked) == questions
