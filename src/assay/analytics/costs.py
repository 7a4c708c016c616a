"""What calls cost, split: input and output, what caching saved, and for whom the money went."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any

from assay.analytics.metrics import INPUT, METRICS, selected
from assay.analytics.selection import Dimension, Selection, dimension
from assay.analytics.sums import Aggregates, ask
from assay.ingest.pricing import Prices, Saving
from assay.store.connect import Row, Store

MAX_GROUPS = 1000
MAX_MODELS = 200

_FIGURES = f"""
    {selected(("calls", "cost_usd", "input_cost_usd", "output_cost_usd", "unpriced"))},
    countIf(spans.cost_usd IS NOT NULL) AS priced,
    sumOrNull(spans.cost_usd - spans.input_cost_usd - spans.output_cost_usd) AS other_cost_usd,
    {selected(("input_tokens", "output_tokens", "cache_read_tokens", "cache_hit_share"))},
    sumOrNull(spans.cache_write_tokens) AS cache_write_tokens"""

_CACHED = "spans.cost_usd IS NOT NULL AND (spans.cache_read_tokens > 0 OR spans.cache_write_tokens > 0)"
_RATE = f"provider, model, toDate(started_at), length(arrayFilter(start -> {INPUT} > start, {{starts:Array(UInt64)}}))"


def costs(store: Store, prices: Prices, selection: Selection, group_by: str | None = None) -> dict[str, Any]:
    """What the selected calls cost in US dollars; with `group_by` also `groups`, dearest first, with their `share`.

    `cost_usd` is `input_cost_usd` + `output_cost_usd` + `other_cost_usd` (fees for requests), over the `priced` calls;
    None where none is. `unpriced` counts calls that succeeded and have no known price, `unpriced_models` names them.

    `cache_hit_share` is cached input tokens by input tokens. `cache_saved_usd` is what the priced calls would have cost
    more with no token read from a cache or written to one: tokens by the difference of the prices of their day. Below
    0 where writing cost more than reading saved. `cache_unknown` counts calls with cached tokens of which that cannot
    be told (the price depends on the time of day, or is no longer known); they are left out. Both are None where no
    call tells of a cache, and the former where no call has a price. Raises AssayError.
    """
    by = dimension(group_by) if group_by else None
    [whole] = ask(store, selection, Aggregates(_FIGURES))
    cached = whole["cache_read_tokens"] or whole["cache_write_tokens"]
    rates = _rates(store, prices, selection) if cached else {}
    saved = _saved(store, prices, selection, None, rates) if cached else {}
    unpriced = _unpriced(store, selection) if whole["unpriced"] else []
    answer = _with_saved(whole, saved.get("")) | {"unpriced_models": unpriced}
    if by is None:
        return answer
    groups = ask(
        store,
        selection,
        Aggregates(_FIGURES, {"group": by.sql}, parameters=by.parameters),
        lambda sums: f"{sums} ORDER BY cost_usd DESC NULLS LAST, calls DESC, group LIMIT {MAX_GROUPS}",
    )
    saved = _saved(store, prices, selection, by, rates) if cached else {}
    return answer | {
        "dimension": by.name,
        "groups": [
            _with_saved(row, saved.get(row["group"])) | {"share": _share(row["cost_usd"], whole["cost_usd"])}
            for row in groups
        ],
    }


def _rates(store: Store, prices: Prices, selection: Selection) -> dict[int, Saving]:
    """What a cached token saves, by a hash of all that its price depends on; what is not known is left out."""
    where, parameters = selection.of_calls()
    rows = store.query(
        f"""
        SELECT cityHash64({_RATE}) AS rate, any(provider) AS of_provider, any(model) AS of_model,
            any(toDate(started_at)) AS day, max({INPUT}) AS most
        FROM spans FINAL WHERE {where} AND {_CACHED} GROUP BY rate
        """,
        {**parameters, "starts": prices.tier_starts},
    )
    found: dict[int, Saving] = {}
    for row in rows:
        day = datetime.combine(row["day"], time(), UTC).timestamp()
        saving = prices.saving(row["of_provider"], row["of_model"], day, row["most"] or 0)
        if saving:
            found[row["rate"]] = saving
    return found


def _saved(
    store: Store, prices: Prices, selection: Selection, by: Dimension | None, rates: dict[int, Saving]
) -> dict[str, Row]:
    """By group ("" for the whole): US dollars saved, and the calls with cached tokens of which it is not known."""
    where, parameters = selection.of_calls()
    rows = store.query(
        f"""
        SELECT group, sumOrNullIf(saved, NOT isNaN(saved)) AS cache_saved_usd, countIf(isNaN(saved)) AS cache_unknown
        FROM (
            SELECT {by.sql if by else "''"} AS group, cityHash64({_RATE}) AS rate,
                transform(rate, {{rates:Array(UInt64)}}, {{read:Array(Float64)}}, nan) AS by_read,
                transform(rate, {{rates:Array(UInt64)}}, {{write:Array(Float64)}}, nan) AS by_write,
                by_read * ifNull(spans.cache_read_tokens, 0) + by_write * ifNull(spans.cache_write_tokens, 0) AS saved
            FROM spans FINAL WHERE {where} AND {_CACHED}
        )
        GROUP BY group
        """,
        {
            **parameters,
            **(by.parameters if by else {}),
            "starts": prices.tier_starts,
            # An empty array has no type of its own; no hash is 0 but by a miracle.
            "rates": [0, *rates],
            "read": [float("nan"), *(saving.read for saving in rates.values())],
            "write": [float("nan"), *(saving.write for saving in rates.values())],
        },
    )
    return {row.pop("group"): row for row in rows}


def _with_saved(row: Row, saved: Row | None) -> Row:
    """Nothing was saved where caches were told of and not used; without a price that is not known."""
    told = row["cache_read_tokens"] is not None or row["cache_write_tokens"] is not None
    nothing = {"cache_saved_usd": 0.0 if told and row["priced"] else None, "cache_unknown": 0 if told else None}
    return row | (saved or nothing)


def _unpriced(store: Store, selection: Selection) -> list[Row]:
    return ask(
        store,
        selection,
        Aggregates(f"{METRICS['unpriced']} AS calls", {"provider": "provider", "model": "model"}),
        lambda sums: f"SELECT * FROM ({sums}) WHERE calls > 0 ORDER BY calls DESC, provider, model LIMIT {MAX_MODELS}",
    )


def _share(cost: float | None, whole: float | None) -> float | None:
    return cost / whole if cost is not None and whole else None
