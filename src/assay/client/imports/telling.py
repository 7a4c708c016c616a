"""What the readers of other tools' files share: ids and times that are the same each time, and lines for the server."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, NamedTuple

from assay.errors import AssayError

Line = dict[str, Any]
"""What POST /api/import takes for one span: `sent` or `stored`, and `scores`."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HEXADECIMAL = re.compile("[0-9a-fA-F]+")


class Refused(AssayError):
    """A record that cannot become a call; the message says why."""


class Context(NamedTuple):
    """What an import was told: the calls' project, the zone of times without one, when the file was written."""

    project: str
    zone: tzinfo | None
    modified_ns: int


def told_span(context: Context, *, scope: str, **span: Any) -> Line:
    """A span as some sender told it. Without `start_ns` it starts when the file was written."""
    timeless = span.get("start_ns") is None
    start = context.modified_ns if timeless else span["start_ns"]
    end = max(span.get("end_ns") or start, start)
    resource = {"assay.project": context.project, **given(span.pop("resource", {}))}
    sent = {**span, "start_ns": start, "end_ns": end, "resource": resource, "scope_name": scope}
    return {"sent": sent, **({"timeless": True} if timeless else {})}


def hexadecimal(text: str, digits: int) -> str:
    """The id if it is one of this length, else one that always comes out the same for this text."""
    if len(text) == digits and _HEXADECIMAL.fullmatch(text) and text.strip("0"):
        return text.lower()
    return made_id(digits, text)


def made_id(digits: int, *parts: Any) -> str:
    """An id of its own for these parts, the same each time."""
    told = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:digits]


def unix_ns(value: Any, zone: tzinfo | None, field: str) -> int | None:
    """Unix nanoseconds of a time: ISO 8601, a datetime, or a number of s, ms, us or ns; None for none.

    `zone` is that of times without one, None this machine's. Raises Refused.
    """
    if value is None or value == "" or value != value:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _scaled(value)
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone) if zone else moment.astimezone()
        return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
    except (ValueError, OverflowError, TypeError):
        raise Refused(f"{field} {str(value)[:60]!r} is no time: ISO 8601 or a Unix time is expected") from None


def _scaled(value: float) -> int:
    """By its size: seconds until 2286 have ten digits, milliseconds thirteen, and so on."""
    for below, factor in ((1e11, 10**9), (1e14, 10**6), (1e17, 10**3)):
        if abs(value) < below:
            return value * factor if isinstance(value, int) else round(value * factor)
    return int(value)


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not there."""
    return {name: value for name, value in fields.items() if value is not None and value != "" and value == value}


def text_of(value: Any) -> str:
    """A text as it is, other values as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def structured(value: Any) -> Any:
    """What a JSON text spells, other values as they are."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def whole(value: Any) -> int | None:
    """The value as a number of something, None where it is none."""
    try:
        return int(float(value)) if value not in (None, "") else None
    except (ValueError, TypeError, OverflowError):
        return None


def real(value: Any) -> float | None:
    """The value as a finite number, None where it is none."""
    try:
        number = float(value) if value not in (None, "") else None
    except (ValueError, TypeError):
        return None
    return number if number is not None and abs(number) < float("inf") else None
