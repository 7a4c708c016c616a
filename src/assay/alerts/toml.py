"""TOML read table by table, so that each keeps its line and a mistake in one leaves the others whole."""

from __future__ import annotations

import re
import tomllib
from typing import Any, NamedTuple

from pydantic import BaseModel


class Problem(BaseModel, frozen=True):
    """What is wrong in which line (from 1) of which file, and what to do about it."""

    source: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.source}, line {self.line}: {self.message}"


class Block(NamedTuple):
    """One table of the file with its sub-tables. `kind` is its name, "" for what stands before the first table."""

    kind: str
    line: int
    values: dict[str, Any]
    lines: tuple[str, ...]

    def line_of(self, key: str) -> int:
        """The line in which the key is set; that of the table where it is not."""
        setting = re.compile(rf"\s*(?:{re.escape(key)}|\"{re.escape(key)}\")\s*[.=]|\s*\[+[^\]]*\.{re.escape(key)}\]")
        return next((self.line + i for i, line in enumerate(self.lines) if key and setting.match(line)), self.line)


def blocks(text: str, source: str) -> tuple[list[Block], list[Problem]]:
    """The tables of a TOML file in order, and the syntax errors of those that cannot be read."""
    found, problems = list[Block](), list[Problem]()
    for line, lines in _pieces(text):
        try:
            values = tomllib.loads("\n".join(lines))
        except tomllib.TOMLDecodeError as error:
            problems.append(_syntax(error, line, source))
            continue
        header = _HEADER.match(lines[0])
        if not header:
            found.append(Block("", line, values, lines))
            continue
        kind = header["name"]
        inner = values.get(kind, {})
        found.append(Block(kind, line, inner[0] if isinstance(inner, list) else inner, lines))
    return found, problems


_HEADER = re.compile(r"\s*\[\[?\s*(?P<name>[A-Za-z0-9_-]+)\s*\]\]?\s*(#.*)?$")


def _pieces(text: str) -> list[tuple[int, tuple[str, ...]]]:
    pieces = list[tuple[int, tuple[str, ...]]]()
    start, current = 1, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        # Within a text of several lines a bracket begins no table.
        inside = any("\n".join(current).count(quotes) % 2 for quotes in ('"""', "'''"))
        if _HEADER.match(line) and not inside:
            if current:
                pieces.append((start, tuple(current)))
            start, current = number, []
        current.append(line)
    return [*pieces, (start, tuple(current))] if current else pieces


def _syntax(error: tomllib.TOMLDecodeError, first: int, source: str) -> Problem:
    said = str(error)
    place = re.search(r"\(at line (\d+), column (\d+)\)", said)
    line = first + int(place[1]) - 1 if place else first
    reason = said[: place.start()].strip() if place else said.replace("(at end of document)", "").strip()
    return Problem(source=source, line=line, message=f"this is no TOML ({reason}): the table is left out until it is")
