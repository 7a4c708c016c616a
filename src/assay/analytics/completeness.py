"""How much of what was answered is scored."""

from __future__ import annotations

from assay.analytics.selection import Selection
from assay.analytics.sums import Aggregates, Source, ask
from assay.store.connect import Row, Store


def scored(store: Store, selection: Selection) -> Row:
    """`answered`: conversations that did not fail; `unscored`: those of them on which no scorer gave a verdict yet.

    "Not assessable" is a verdict too.
    """
    [row] = ask(store, selection, Aggregates("count() AS answered, countIf(NOT judged) AS unscored", rows=_answered))
    return row


def _answered(selection: Selection) -> Source:
    calls, parameters = selection.of_calls()
    scores, more = selection.of_scores()
    # By a hash: a quarter of the time of looking for the texts.
    source = f"""(
        SELECT started_at, cityHash64(project, span_id) IN (
            SELECT cityHash64(project, target) FROM scores WHERE {scores} AND source = 'scorer') AS judged
        FROM spans FINAL WHERE {calls} AND kind = 'llm' AND status = 'ok')"""
    return source, parameters | more
