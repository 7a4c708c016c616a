"""Questions whose figures add up over days: of days that are over they are kept (store/kept.py), the rest is read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from msgspec.structs import replace

from assay.analytics.selection import EARLIEST, LATEST, Dimension, Selection
from assay.analytics.states import in_two_steps
from assay.errors import StoreError
from assay.store.connect import Row, Store
from assay.store.kept import Kept

Source = tuple[str, dict[str, Any]]
"""What stands after FROM, and its parameters."""


def of_calls(selection: Selection) -> Source:
    """The selected calls, as rows of `spans`."""
    where, parameters = selection.of_calls()
    return f"spans FINAL WHERE {where}", parameters


def of_scores(by: Dimension | None, names: Sequence[str] = ()) -> Callable[[Selection], Source]:
    """The scores of the selected calls that have one of these names, if any are given (see Selection.scores_by)."""

    def rows(selection: Selection) -> Source:
        source, _, parameters = selection.scores_by(by, names)
        return source, parameters

    return rows


class Aggregates(NamedTuple):
    """`figures`, a SELECT list, over `rows` of a selection for each combination of `keys`, {name: SQL}.

    Both may need `parameters`.
    """

    figures: str
    keys: Mapping[str, str] = {}
    rows: Callable[[Selection], Source] = of_calls
    parameters: Mapping[str, Any] = {}


def ask(
    store: Store,
    selection: Selection,
    asked: Aggregates,
    sql: Callable[[str], str] = str,
    parameters: Mapping[str, Any] = {},
) -> list[Row]:
    """The rows of `sql`, which is given a SELECT of the aggregates and may need `parameters`. Raises StoreError."""
    if store.kept and (found := _with_kept(store.kept, selection, asked)):
        question, (summed, bound) = found
        try:
            return store.query(sql(summed), {**bound, **parameters})
        except StoreError:  # the calls themselves are still there
            store.kept.forget(question)
    source, bound = asked.rows(selection)
    return store.query(sql(_summed(asked, source)), {**bound, **asked.parameters, **parameters})


def _summed(asked: Aggregates, source: str) -> str:
    if len(asked.keys) < 3:
        told = ", ".join([*(f"{key} AS {name}" for name, key in asked.keys.items()), asked.figures])
        return f"SELECT {told} FROM {source}{_grouped_by(asked.keys)}"
    keyed = _keyed(asked.keys.values())
    named = ", ".join(f"{key} AS {name}" for key, name in zip(keyed, asked.keys, strict=True))
    inner = _by_one_number(keyed, asked.figures, source)
    return f"SELECT {named}, * EXCEPT ({', '.join(keyed)}) FROM ({inner})"


def _with_kept(kept: Kept, selection: Selection, asked: Aggregates) -> tuple[str, Source] | None:
    """The question by which sums are kept, and a SELECT of them and of the rest; None where nothing is kept."""
    days = kept.days(selection.since or EARLIEST, selection.until or LATEST)
    if not days:
        return None
    keyed = _keyed(asked.keys.values())
    states, merged = in_two_steps(asked.figures)

    def of_part(part: Selection) -> Source:
        source, parameters = asked.rows(part)
        return _by_one_number({"day": "toDate(started_at)", **keyed}, states, source), {
            **parameters,
            **asked.parameters,
        }

    def of_days(days: Iterable[str]) -> Source:
        return of_part(replace(selection, **_only(sorted(map(date.fromisoformat, days)))))

    question = _question(of_days([min(days)]))
    table = kept.table(question, days, of_days)
    if not table:
        return None
    rest, parameters = of_part(replace(selection, apart=(*map(date.fromisoformat, days),)))
    told = ", ".join([*(f"{key} AS {name}" for key, name in zip(keyed, asked.keys, strict=True)), merged])
    summed = f"""
        SELECT {told} FROM (
            SELECT * EXCEPT turn FROM {table.name}
            WHERE (day, turn) IN (SELECT arrayJoin(arrayZip({{kept_days:Array(Date)}}, {{turns:Array(UInt64)}})))
            UNION ALL {rest}
        ){_grouped_by(keyed)}"""
    return question, (summed, {**parameters, "kept_days": [*table.turns], "turns": [*table.turns.values()]})


def _only(days: list[date]) -> dict[str, Any]:
    """What a selection of these days is bound by."""
    first, end = days[0], days[-1] + timedelta(1)
    between = {first + timedelta(place) for place in range((end - first).days)}
    since, until = (datetime.combine(day, datetime.min.time(), UTC) for day in (first, end))
    return {"since": since, "until": until, "apart": (*sorted(between.difference(days)),)}


def _grouped_by(names: Iterable[str]) -> str:
    keys = ", ".join(names)
    return f" GROUP BY {keys}" if keys else ""


def _keyed(keys: Iterable[str]) -> dict[str, str]:
    return {f"key_{place}": key for place, key in enumerate(keys)}


def _by_one_number(keys: Mapping[str, str], figures: str, source: str) -> str:
    """Names repeat, so each block of rows hashes them once: half the time of grouping by the names themselves."""
    told = ", ".join(f"any({key}) AS {name}" for name, key in keys.items())
    number = " + ".join(f"{2 * place + 1} * cityHash64({key})" for place, key in enumerate(keys.values()))
    return f"SELECT {told}, {figures} FROM {source} GROUP BY {number}"


def _question(of_a_day: Source) -> str:
    sql, parameters = of_a_day
    others = {name: value for name, value in parameters.items() if name not in ("since", "until")}
    return hashlib.blake2b(repr((sql, sorted(others.items()))).encode(), digest_size=16).hexdigest()
