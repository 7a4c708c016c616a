"""The two summaries every report starts with: what was used, and how good it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assay.analytics.means import FIGURES, SAMPLE, SHOWN_FIRST, SUMS, with_interval
from assay.analytics.selection import Dimension, Selection, dimension
from assay.analytics.sums import Aggregates, ask, of_scores
from assay.analytics.together import both
from assay.store.connect import Row, Store
from assay.store.spans import INPUT_TOKENS, OUTPUT_TOKENS

MAX_GROUPS = 1000

_SPENT = f"""
    count() AS total_calls,
    countIf(status = 'error') AS errors,
    sum(ifNull(cost_usd, 0)) AS total_cost_usd,
    countIf(cost_usd IS NULL AND status = 'ok') AS unpriced,
    sum(ifNull({INPUT_TOKENS}, 0)) AS input_tokens,
    sum(ifNull({OUTPUT_TOKENS}, 0)) AS output_tokens,
    input_tokens + output_tokens AS total_tokens,
    avgOrNullIf(latency_ms, kind = 'llm') AS avg_latency_ms"""

_USAGE = f"""
    countIf(kind = 'llm') AS total_conversations, {_SPENT},
    if(total_calls = 0, NULL, errors / total_calls) AS error_rate,
    uniqCombinedIf(cityHash64(session_id), session_id != '') AS sessions,
    uniqCombinedIf(cityHash64(user_id), user_id != '') AS users,
    avgOrNullIf(cost_usd, kind = 'llm') AS avg_cost_per_conversation,
    countIf(tokens_estimated) AS estimated,
    sum(ifNull(cache_read_tokens, 0)) AS cache_read_tokens,
    sum(ifNull(reasoning_tokens, 0)) AS reasoning_tokens,
    quantilesIf(0.5, 0.95, 0.99)(latency_ms, kind = 'llm') AS latency_quantiles,
    avgOrNullIf(time_to_first_token_ms, kind = 'llm') AS avg_time_to_first_token_ms"""

_SUMS = f"countIf(value IS NULL) AS unknown, {SUMS}"


def usage(store: Store, selection: Selection, group_by: str | None = None) -> Row:
    """Conversations, tokens, US dollars and milliseconds over the selection.

    `total_conversations` counts calls of kind llm; `total_calls`, cost and tokens include embeddings.
    Averages are over calls where the figure is known and None where there is none. `unpriced` counts
    calls that succeeded and have no known price: they are not in `total_cost_usd`. `estimated` counts calls whose
    tokens were not reported but counted from their texts. What Assay's own judge cost stands apart, in `judge_calls`
    and `judge_cost_usd`, and is in none of the other figures. With `group_by`, `groups` has the same figures for each
    value (`group`) of a dimension, most expensive first. Raises AssayError for an unknown one.
    """
    where, parameters = selection.of_judge_calls()
    [judge] = store.query(
        f"SELECT count() AS judge_calls, sum(ifNull(cost_usd, 0)) AS judge_cost_usd FROM spans FINAL WHERE {where}",
        parameters,
    )
    if group_by is None:
        [row] = ask(store, selection, Aggregates(_USAGE))
        return _named_quantiles(row) | judge
    by = dimension(group_by)
    whole, groups = both(
        lambda: ask(store, selection, Aggregates(_USAGE)),
        lambda: ask(
            store,
            selection,
            Aggregates(_USAGE, {"group": by.sql}, parameters=by.parameters),
            lambda sums: f"{sums} ORDER BY total_cost_usd DESC, total_calls DESC, group LIMIT {MAX_GROUPS}",
        ),
    )
    return _named_quantiles(whole[0]) | judge | {"groups": [_named_quantiles(row) for row in groups]}


def dearest(store: Store, selection: Selection, group_by: str, limit: int) -> tuple[list[Row], int]:
    """The groups of `usage` that cost most, each with what it cost, its calls and their errors, tokens and latency.

    And how many groups there are in all. Raises AssayError.
    """
    by = dimension(group_by)
    rows = ask(
        store,
        selection,
        Aggregates(_SPENT, {"group": by.sql}, parameters=by.parameters),
        lambda sums: (
            f"SELECT *, count() OVER () AS groups FROM ({sums})"
            f" ORDER BY total_cost_usd DESC, total_calls DESC, group LIMIT {limit:d}"
        ),
    )
    groups = [row.pop("groups") for row in rows]
    return rows, max(groups, default=0)


def quality(store: Store, selection: Selection, names: Sequence[str] = ()) -> dict[str, Row]:
    """By score name: n, mean with its 95% interval (low, high), spread, and how many could not be assessed.

    The figures are of one `source`: of scorers where they gave this score, else of other tools, judges or people.
    `by_source` has the same of each source. The interval allows for calls of one session being alike; it is None
    where there are fewer than two sessions. `names` keeps those scores only.
    """
    return _by_name(*_quality(store, selection, None, names)).get("", {})


def quality_by(
    store: Store, selection: Selection, group_by: str, names: Sequence[str] = ()
) -> dict[str, dict[str, Row]]:
    """`quality` for each value of a dimension. Raises AssayError."""
    return _by_name(*_quality(store, selection, dimension(group_by), names))


def _quality(
    store: Store, selection: Selection, by: Dimension | None, names: Sequence[str]
) -> tuple[list[Row], list[Row]]:
    """Means and spreads, each by group, name and source."""
    rows, group = of_scores(by, names), selection.scores_by(by, names)[1]
    keys = {"group": group, "name": "name", "source": "source"}
    means = Aggregates(_SUMS, keys | SAMPLE, rows)
    spreads = Aggregates("quantiles(0.05, 0.5, 0.95)(value) AS quantiles", keys, rows)
    return both(
        lambda: ask(
            store,
            selection,
            means,
            lambda sums: (
                f"SELECT group, name, source, sum(unknown) AS not_assessable, {FIGURES} FROM ({sums})"
                f" GROUP BY group, name, source ORDER BY group, name, source LIMIT {10 * MAX_GROUPS}"
            ),
        ),
        lambda: ask(store, selection, spreads),
    )


def _named_quantiles(row: Row) -> Row:
    p50, p95, p99 = (_finite(value) for value in row.pop("latency_quantiles"))
    return {**row, "p50_latency_ms": p50, "p95_latency_ms": p95, "p99_latency_ms": p99}


def _by_name(means: list[Row], spreads: list[Row]) -> dict[str, dict[str, Row]]:
    """By group, then name."""
    spread = {(row["group"], row["name"], row["source"]): row["quantiles"] for row in spreads}
    groups: dict[str, dict[str, dict[str, Row]]] = {}
    for row in means:
        group, name, source = (row.pop(key) for key in ("group", "name", "source"))
        p05, p50, p95 = (_finite(value) for value in spread.get((group, name, source), [None] * 3))
        by_source = groups.setdefault(group, {}).setdefault(name, {})
        by_source[source] = {**with_interval(row), "p05": p05, "p50": p50, "p95": p95}
    return {group: {name: _shown(by_source) for name, by_source in names.items()} for group, names in groups.items()}


def _shown(by_source: dict[str, Row]) -> Row:
    source = min(by_source, key=SHOWN_FIRST.index)
    return {"source": source, **by_source[source], "by_source": by_source}


def _finite(value: Any) -> float | None:
    return None if value is None or value != value else float(value)
