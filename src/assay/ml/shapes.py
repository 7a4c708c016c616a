"""A reference as histograms, so that any later window of predictions can be counted into the same bins by the store.

Rules about drift read counts only (never rows): what a window of any length holds is a sum over its buckets.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from assay.ml.distances import category_counts, decile_edges, known_categories, number_counts
from assay.ml.drift import Column, Kind, compared, reference_of
from assay.ml.figures import Floats, Ints
from assay.ml.window import Window
from assay.store.connect import Store

WIDTH = 64
"""Codes a column has room for: ten bins of numbers and the missing, or thirty categories and the rest."""
FEWEST_REFERENCE = 100


class Binned(msgspec.Struct, frozen=True):
    """One column of the reference: how values are counted (by `edges`, or by `categories`), and its own counts."""

    name: str
    kind: Kind
    edges: tuple[float, ...]
    categories: tuple[str, ...]
    counts: tuple[float, ...]


class Shapes(msgspec.Struct, frozen=True):
    """All columns of a reference, and what it is in words."""

    what: str
    columns: tuple[Binned, ...]


def shapes_of(store: Store, window: Window) -> Shapes | None:
    """The shapes of what the window's model is held against; None where that has fewer than 100 rows."""
    reference = reference_of(store, window)
    if reference.rows.n < FEWEST_REFERENCE:
        return None
    return Shapes(reference.what, tuple(map(binned, compared(reference.rows, reference.rows))))


def counted(
    store: Store, shapes: Shapes, window: Window, within: str, parameters: dict[str, Any], step: int
) -> tuple[Ints, Ints]:
    """How many rows each bucket has, as (bucket, rows), and how many fall into each bin, as (bucket, code, rows).

    `within` is a further condition. A code is the column's place times WIDTH, plus the bin.
    """
    where, own = window.where()
    asked = {**parameters, **own}
    codes = ", ".join(_code(place, column, asked) for place, column in enumerate(shapes.columns))
    rows = f"SELECT * FROM predictions FINAL WHERE {where} AND {within} AND status = 'ok'"
    bucket = f"intDiv(toUnixTimestamp(predicted_at), {step}) AS bucket"
    sizes = store.arrow(f"SELECT {bucket}, count() AS n FROM ({rows}) GROUP BY bucket ORDER BY bucket", asked)
    bins = store.arrow(
        f"SELECT bucket, code, count() AS n FROM (SELECT {bucket}, arrayJoin([{codes}]) AS code FROM ({rows}))"
        " WHERE code >= 0 GROUP BY bucket, code ORDER BY bucket, code",
        asked,
    )
    return _columns(sizes, "bucket", "n"), _columns(bins, "bucket", "code", "n")


def as_codes(shapes: Shapes, columns: list[Column]) -> Ints:
    """(code, rows) of values that are at hand: the same counts as the store makes."""
    found: list[tuple[int, int]] = []
    for place, (binned, column) in enumerate(zip(shapes.columns, columns, strict=True)):
        counts = _counts(binned, column.current)
        found += [(place * WIDTH + number, int(count)) for number, count in enumerate(counts) if count]
    return np.array(found, np.int64).reshape(-1, 2)


def binned(column: Column) -> Binned:
    if column.kind == "number":
        edges = tuple(decile_edges(column.reference).tolist())
        empty = Binned(column.name, column.kind, edges, (), ())
    else:
        empty = Binned(column.name, column.kind, (), tuple(known_categories(column.reference)), ())
    return msgspec.structs.replace(empty, counts=tuple(_counts(empty, column.reference).tolist()))


def _counts(binned: Binned, values: Any) -> Floats:
    if binned.kind == "number":
        return number_counts(values, np.array(binned.edges))
    return category_counts(values, list(binned.categories))


def _code(place: int, column: Binned, asked: dict[str, Any]) -> str:
    """SQL for the code of a row's value; -1 where the row has no such column."""
    asked[f"name_{place}"] = column.name
    name, base = f"{{name_{place}:String}}", place * WIDTH
    text, number, has_text, has_number = (
        f"categories[{name}]",
        f"numbers[{name}]",
        f"mapContains(categories, {name})",
        f"mapContains(numbers, {name})",
    )
    if column.name.startswith("("):  # prediction and confidence are columns of the table
        text, has_text = "prediction", "1"
        number = (
            "ifNull(toFloat64(confidence), nan)" if "confidence" in column.name else "ifNull(prediction_value, nan)"
        )
        has_number = "0" if column.kind == "category" else "1"
    if column.kind == "number":
        asked[f"edges_{place}"] = list(column.edges)
        missing = len(column.edges) + 1
        bin = f"if(isNaN({number}), {missing}, arrayCount(edge -> edge <= {number}, {{edges_{place}:Array(Float64)}}))"
        return f"if({has_number}, toInt32({base} + {bin}), -1)"
    asked[f"known_{place}"] = list(column.categories)
    known, rest = f"{{known_{place}:Array(String)}}", len(column.categories)
    # A missing category stands among the numbers, as NaN; a number in its place is none of the known ones.
    spot = f"indexOf({known}, if({has_text}, {text}, if(isNaN({number}), '', '\\0')))"
    bin = f"if({spot} = 0, {rest}, {spot} - 1)"
    return f"if({has_text} OR {has_number}, toInt32({base} + {bin}), -1)"


def _columns(table: Any, *names: str) -> Ints:
    return np.stack([table.column(name).to_numpy().astype(np.int64) for name in names], axis=1)
