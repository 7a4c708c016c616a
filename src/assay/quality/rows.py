"""Labelled rows: one judged text a line of a .jsonl file, as docs/quality.md describes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from assay.errors import AssayError


class BenchError(AssayError):
    """Rows that cannot be measured on; the message names file and line."""


class Row(msgspec.Struct, frozen=True):
    """One judged text and what people said of it."""

    target: Literal["prompt", "response"]
    prompt: str | None = ""
    response: str | None = ""
    context: str | None = ""
    label: int | None = None
    score: float | None = None
    split: str = ""
    extra: dict[str, Any] | None = None

    @property
    def judged(self) -> str:
        """The text that people judged."""
        return (self.prompt if self.target == "prompt" else self.response) or ""

    @property
    def pair(self) -> Any:
        """What joins it with the row it was compared with, or None."""
        return (self.extra or {}).get("pair")


def read_rows(path: Path, split: str = "") -> list[Row]:
    """The rows of a file, of one split where it is named. Raises BenchError for a line that is none."""
    found: list[Row] = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found.append(msgspec.json.decode(line, type=Row))
        except msgspec.MsgspecError as error:
            raise BenchError(f"{path.name}, line {number} is not a row of labelled data: {error}") from error
    return [row for row in found if not split or row.split == split]
