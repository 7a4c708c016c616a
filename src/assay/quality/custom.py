"""Scorers of your own: a Python function with a decorator, or an entry point in the group "assay.scorers".

    from assay.quality.custom import scorer

    @scorer("politeness")
    def politeness(conversation):
        return "please" in conversation.response.lower(), "says please, or does not"

`[quality] custom = ["my_scorers"]` names the modules; they are looked for in the working directory first.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable
from functools import update_wrapper
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from assay.quality.scorer import Conversation, Scorer, Verdict, unknown, version_of
from assay.records import SCORE_NAME

GROUP = "assay.scorers"

Answer = Verdict | float | bool | None | tuple[float | bool | None, str]
"""What a scoring function may answer: a value 0..1 (or True, False), with a reason if wanted; None: not assessable."""

Function = Callable[[Conversation], Any]


class CustomScorer:
    """A function as a Scorer. Calling it calls the function."""

    scorer = "custom"

    def __init__(self, function: Function, name: str, version: str) -> None:
        self.name = name
        self.version = version
        self._function = function
        update_wrapper(self, function)

    def __call__(self, conversation: Conversation) -> Answer:
        return self._function(conversation)

    def score(self, conversation: Conversation) -> Verdict:
        """The function's answer as a Verdict. Raises what the function raises."""
        return as_verdict(self._function(conversation))


def scorer(name: str, *, version: str = "") -> Callable[[Function], CustomScorer]:
    """Make a function of a Conversation the scorer `name`.

    `version` defaults to a hash of the function's source, so that verdicts of a changed function can be told apart.
    Raises ValueError where `name` is not a letter followed by up to 63 letters, digits, "_", "." or "-".
    """
    if not SCORE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a score: a letter, then letters, digits, '_', '.', '-', 64 in all")
    return lambda function: CustomScorer(function, name, version or _hash_of(function))


def as_verdict(answer: Answer) -> Verdict:
    """What a function answered, as a Verdict. A value that is none is left for `checked` to refuse."""
    if isinstance(answer, Verdict):
        return answer
    value, reason = answer if isinstance(answer, tuple) else (answer, "")
    if value is None:
        return unknown(reason or "not assessable")
    return Verdict(value=float(value) if isinstance(value, bool | int) else value, reason=reason)


def is_installed() -> bool:
    """Whether an installed package brings scorers."""
    return bool(entry_points(group=GROUP))


def custom_scorers(modules: Iterable[str]) -> tuple[tuple[Scorer, ...], list[str]]:
    """The scorers of these modules and of all entry points, and what kept others from being loaded."""
    found: dict[str, Scorer] = {}
    problems = list[str]()
    for where, load in _sources(modules):
        try:
            for one in load():
                if found.setdefault(one.name, one) is not one:
                    problems.append(f"{where}: a scorer named {one.name!r} is there already: give it another name")
        except Exception as error:
            problems.append(f"{where} cannot be loaded: {type(error).__name__}: {error}")
    return tuple(found.values()), problems


def _sources(modules: Iterable[str]) -> Iterable[tuple[str, Callable[[], list[Scorer]]]]:
    for module in modules:
        yield f"[quality] custom: module {module!r}", lambda module=module: _of_module(module)
    for entry in entry_points(group=GROUP):
        yield f"entry point {entry.name!r} ({entry.value})", lambda entry=entry: [_of_entry(entry)]


def _of_module(name: str) -> list[Scorer]:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    found = [member for member in vars(importlib.import_module(name)).values() if isinstance(member, CustomScorer)]
    if not found:
        raise ValueError("it has no function under @scorer(...)")
    return [*found]


def _of_entry(entry: EntryPoint) -> Scorer:
    """A Scorer object, a class of one, or a plain function, which takes the entry point's name."""
    loaded: Any = entry.load()
    made: Any = loaded() if inspect.isclass(loaded) else loaded
    return made if hasattr(made, "score") else scorer(entry.name)(made)


def _hash_of(function: Function) -> str:
    try:
        return version_of(inspect.getsource(function))
    except (OSError, TypeError):
        return version_of(getattr(function, "__qualname__", repr(function)))
