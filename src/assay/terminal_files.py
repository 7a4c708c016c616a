"""What an import tells a person: what became of each file, and why lines were refused."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

SHOWN = 20


def import_summary(found: list[dict[str, Any]]) -> RenderableType:
    """A table of the files, warnings, and the first refusals with their lines."""
    table = Table("file", "format", *(Column(name, justify="right") for name in _COUNTS))
    for one in found:
        table.add_row(
            Text(one["file"], overflow="fold"),
            one["format"],
            *(f"{one[name]:,}" for name in _COUNTS),
        )
    return Group(table, *(line for one in found for line in _said(one)))


_COUNTS = ("records", "stored", "known", "scores", "refused")


def _said(one: dict[str, Any]) -> list[Text]:
    said = [Text(f"{one['file']}: {one['warning']}", style="yellow")] if one["warning"] else []
    said += [_refusal(one["file"], reason) for reason in one["reasons"][:SHOWN]]
    if (rest := one["refused"] - SHOWN) > 0:
        said.append(Text(f"{one['file']}: {rest:,} more refused; --json tells of each"))
    return said


def _refusal(file: str, reason: dict[str, Any]) -> Text:
    place = f", line {reason['line']}" if reason["line"] else ""
    return Text(f"{file}{place}: {reason['reason']}", style="red")
