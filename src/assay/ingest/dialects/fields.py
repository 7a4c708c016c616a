"""What every dialect needs to read attributes: counts, texts, JSON inside strings, message lists.

Senders disagree on types: a list arrives as an array or as a JSON string, a number as text. These
readers coerce to the type that is wanted and answer None (or "") for what cannot be read.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

Attributes = Mapping[str, Any]

_LARGEST_COUNT = 2**53
LONGEST_REPR = 200_000
"""Characters of Python notation that are parsed: its parser is slow and hungry."""


LONGEST_INDEX = 9
"""Digits of a number in a flat key; longer ones are names."""

SCRUBBED = "[Scrubbed due to"
"""How Logfire marks a value that it took away."""


def first(attributes: Attributes, *names: str) -> Any:
    """The first of these attributes that is there and not empty; the order is the precedence."""
    for name in names:
        value = attributes.get(name)
        if value is not None and value != "" and not (isinstance(value, str) and value.startswith(SCRUBBED)):
            return value
    return None


def text(attributes: Attributes, *names: str) -> str:
    """The first of these attributes as text, "" where there is none."""
    value = first(attributes, *names)
    return "" if value is None else as_text(value)


def count(attributes: Attributes, *names: str) -> int | None:
    """The first of these attributes as a non-negative integer; None where absent or absurd. 0 stays 0."""
    return as_count(first(attributes, *names))


def number(attributes: Attributes, *names: str) -> float | None:
    """The first of these attributes as a finite number, None where there is none."""
    return as_number(first(attributes, *names))


def as_text(value: Any) -> str:
    """A string as it is, anything else as JSON."""
    return value if isinstance(value, str) else to_json(value)


def as_count(value: Any) -> int | None:
    """A non-negative integer, None for what is absurd."""
    if type(value) is not int:
        value = as_number(value)
    return int(value) if value is not None and 0 <= value < _LARGEST_COUNT else None


def as_number(value: Any) -> float | None:
    """A finite number, None for what is none."""
    if value is None or isinstance(value, bool | list | dict):
        return None
    try:
        parsed = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return parsed if math.isfinite(parsed) else None


def as_flag(value: Any) -> bool | None:
    """A truth value; "False" is false."""
    return value.strip().lower() == "true" if isinstance(value, str) else None if value is None else bool(value)


def structured(value: Any) -> Any:
    """A value that may be JSON inside a string (even twice), or a Python repr, as data; other texts as they are."""
    if not isinstance(value, str) or value[:1] not in ("[", "{", '"'):
        return value
    try:
        data = msgspec.json.decode(value)
    except (ValueError, RecursionError):
        data = _leniently_parsed(value)
    return structured(data) if isinstance(data, str) and data != value else data


def _leniently_parsed(value: str) -> Any:
    """What only the standard library bears (NaN, half surrogate pairs), or Python's own notation, else the text."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass
    if len(value) > LONGEST_REPR or not ("'" in value or "None" in value or "True" in value):
        return value
    try:
        data = ast.literal_eval(value)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return value
    return data if isinstance(data, dict | list) else value


def to_json(value: Any) -> str:
    """Compact JSON; bytes and other strangers become text."""
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_shown)
    except RecursionError:
        return ""


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a list that may be JSON inside a string; [] where there are none."""
    data = structured(value)
    items = data if isinstance(data, list) else [data]
    return [item for item in items if isinstance(item, dict)]


Table = Mapping[str, tuple[str, ...]]
"""Columns of the `spans` table to the attributes that tell them, in the order of their precedence."""


def told(attributes: Attributes, table: Table) -> dict[str, Any]:
    """The columns that a table finds in these attributes, each in its own type; the others are left out."""
    columns: dict[str, Any] = {}
    for column, names in table.items():
        for name in names:
            if name in attributes and (value := first(attributes, name)) is not None:
                read = READERS.get(column, as_text)(value)
                if read is not None and read != "":
                    columns[column] = read
                    break
    return columns


READERS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(
        ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "max_tokens"),
        as_count,
    ),
    **dict.fromkeys(("temperature", "top_p", "time_to_first_token_ms"), as_number),
    "stream": as_flag,
}
"""How a column is read, where it is no text."""


def names_in(*tables: Table) -> frozenset[str]:
    """All attributes that these tables read."""
    return frozenset(name for table in tables for names in table.values() for name in names)


def blanks_filled(columns: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """The columns, with those of `more` where they are blank."""
    return {**more, **{name: value for name, value in columns.items() if value not in ("", None)}}


def within(item: Any, name: str) -> dict[str, Any]:
    """The object of this name inside an object, {} where there is none."""
    inner = item.get(name) if isinstance(item, dict) else None
    return inner if isinstance(inner, dict) else {}


def indexed(attributes: Attributes, prefix: str) -> list[dict[str, Any]]:
    """What flat keys such as `prefix.0.a.b` and `prefix.10.a` spell, in the order of their numbers.

    Numbers deeper in a key make lists too.
    """
    root: dict[str, Any] = {}
    start = prefix + "."
    for key, value in attributes.items():
        if key.startswith(start):
            *path, last = key[len(start) :].split(".")
            node = root
            for step in path:
                child = node.setdefault(step, {})
                if not isinstance(child, dict):
                    break
                node = child
            else:
                node[last] = value
    listed = _lists(root)
    return [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []


def _lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if node and all(key.isdecimal() and len(key) <= LONGEST_INDEX for key in node):
        return [_lists(node[key]) for key in sorted(node, key=int)]
    return {key: _lists(value) for key, value in node.items()}


def _shown(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
