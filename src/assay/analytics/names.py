"""What calls can be filtered by: the names that the store has calls of."""

from __future__ import annotations

from assay.store.connect import Row, Store

MOST = 500
"""So many names of each kind."""

_KINDS = {"projects": "project", "models": "model", "environments": "environment", "releases": "release"}


def names(store: Store, most: int = MOST) -> Row:
    """`projects`, `models`, `environments` and `releases` of all counted calls, whenever they were, by the alphabet.

    "" is among them where calls have none. At most `most` of each. Rows that were replaced since are not left out,
    which makes it quick: a name may be one that no call bears any more. `first_at` is the start of the first call, or
    None.
    """
    found = ", ".join(f"arraySort(groupUniqArray({most:d})({column})) AS {kind}" for kind, column in _KINDS.items())
    [row] = store.query(f"SELECT {found}, minOrNull(started_at) AS first_at FROM spans WHERE counted")
    return row
