"""How much of what was answered is scored."""

from __future__ import annotations

from assay.analytics.selection import Selection
from assay.store.connect import Row, Store


def scored(store: Store, selection: Selection) -> Row:
    """`answered`: conversations that did not fail; `unscored`: those of them on which no scorer gave a verdict yet.

    "Not assessable" is a verdict too.
    """
    calls, parameters = selection.of_calls()
    scores, more = selection.of_scores()
    # By a hash: a quarter of the time of looking for the texts.
    [row] = store.query(
        f"""
        SELECT count() AS answered, countIf(cityHash64(project, span_id) NOT IN (
            SELECT cityHash64(project, target) FROM scores WHERE {scores} AND source = 'scorer')) AS unscored
        FROM spans FINAL WHERE {calls} AND kind = 'llm' AND status = 'ok'
        """,
        parameters | more,
    )
    return row
