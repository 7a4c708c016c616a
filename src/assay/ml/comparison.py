"""A classical model and an LLM side by side: the same questions of both, answered from what was measured.

In: a window of predictions and a selection of calls. Out: one row an aspect, each side with what is said of it and the
figures behind; what was not measured is unknown, and says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from assay import figures
from assay.analytics.consistency import consistency
from assay.analytics.errors import errors
from assay.analytics.selection import Selection
from assay.analytics.summaries import quality, usage
from assay.ml.conversations import Embed, conversation_drift
from assay.ml.drift import drift
from assay.ml.performance import estimate, performance
from assay.ml.window import Window, read_rows, task_of
from assay.quality.intervals import wilson
from assay.quality.words import Words
from assay.store.connect import Row, Store
from assay.store.spans import INPUT_TOKENS, OUTPUT_TOKENS

UNKNOWN = "unknown"
FEWEST_COSTS = 30
FIXED = 0.01
"""A cost that varies by less than this share of its mean (standard deviation) is called fixed."""
FOLLOWS = 0.9
"""Of the variance of costs: where tokens explain so much the cost is called token-based."""


class Side(msgspec.Struct, frozen=True):
    """What is said of one model, and the figure behind with its 95% interval and number of cases; None is unknown."""

    says: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None


class Aspect(msgspec.Struct, frozen=True):
    """One line of the comparison. `unit` is that of both values: "", "share", "ms", "usd" or "score"."""

    key: str
    name: str
    unit: str
    classical: Side
    llm: Side


def comparison(
    store: Store, window: Window, before: Selection, after: Selection, words: Words, embed: Embed
) -> dict[str, Any]:
    """`aspects`, the lab's table and more, of predictions and of the calls `after` (their drift is against `before`).

    Also `latencies` (percentiles of both in ms), how many `predictions` and `calls` there were, and the `drift` of the
    classical model as `ml.drift` tells it. Raises NotFound.
    """
    task = task_of(store, window)
    speed, used, moved = _speed(store, window), usage(store, after), drift(store, window)
    aspects = [
        Aspect("input", "Input type", "", *_inputs(store, window, after)),
        Aspect("output", "Output type", "", _classes(store, window, task), _responses(store, after)),
        Aspect("determinism", "Same input, different output", "share", *_determinism(store, window, after, words)),
        Aspect("cost_model", "Cost model", "", _cost_model(store, window), _token_costs(store, after)),
        Aspect("cost", "Cost per 1,000", "usd", _cost(speed), _cost_of_calls(used)),
        Aspect("latency", "Average latency", "ms", _latency(speed), _latency_of_calls(used)),
        Aspect("errors", "Error rate", "share", _failures(speed), _failed_calls(store, after)),
        Aspect("quality", "Main metrics", "score", _performs(store, window, task), _scores(store, after)),
        Aspect("drift", "Drift", "", _drifts(moved), _moved(store, before, after, embed)),
    ]
    return {
        "model": window.model,
        "task": task,
        "llm": after.model or "all models",
        "predictions": speed["n"],
        "calls": used["total_conversations"],
        "latencies": {
            "classical": {name: speed[name] for name in ("p50", "p95", "p99")},
            "llm": {name: used[f"{name}_latency_ms"] for name in ("p50", "p95", "p99")},
        },
        "aspects": aspects,
        "drift": moved,
    }


def _speed(store: Store, window: Window) -> Row:
    where, parameters = window.where()
    [row] = store.query(
        f"""
        SELECT count() AS n, countIf(status = 'error') AS failed, avgOrNull(latency_ms) AS mean,
            count(latency_ms) AS timed, quantiles(0.5, 0.95, 0.99)(ifNull(latency_ms, 0)) AS levels,
            avgOrNull(cost_usd) AS cost, count(cost_usd) AS priced
        FROM predictions FINAL WHERE {where}
        """,
        parameters,
    )
    levels = row.pop("levels")
    names = ("p50", "p95", "p99")
    return row | {name: level if row["timed"] else None for name, level in zip(names, levels, strict=True)}


def _inputs(store: Store, window: Window, calls: Selection) -> tuple[Side, Side]:
    rows = read_rows(store, window, 1000)
    texts = [name for name, values in rows.categories.items() if (values != "").any()]
    numbers = len({*rows.numbers} - {*texts})
    kinds = [_many(numbers, "number"), _many(len(texts), "category", "categories")]
    said = " and ".join(kind for kind in kinds if kind) if rows.n else ""
    row = _tokens(store, calls)
    asks = f"text, {row['prompt']:,.0f} tokens in the median" if row["prompts"] else "text" if row["n"] else UNKNOWN
    return Side(f"structured: {said}" if said else f"{UNKNOWN}: no features", n=rows.total), Side(asks, n=row["n"])


def _tokens(store: Store, calls: Selection) -> Row:
    where, parameters = calls.of_calls()
    [row] = store.query(
        f"""
        SELECT count() AS n, count({INPUT_TOKENS}) AS prompts, count({OUTPUT_TOKENS}) AS responses,
            quantile(0.5)(ifNull({INPUT_TOKENS}, 0)) AS prompt, quantile(0.5)(ifNull({OUTPUT_TOKENS}, 0)) AS response
        FROM spans FINAL WHERE {where} AND kind = 'llm' AND status = 'ok'
        """,
        parameters,
    )
    return row


def _classes(store: Store, window: Window, task: str) -> Side:
    where, parameters = window.where()
    [row] = store.query(
        f"SELECT count() AS n, uniqExact(prediction) AS classes, minOrNull(prediction_value) AS low,"
        f" maxOrNull(prediction_value) AS high FROM predictions FINAL WHERE {where} AND status = 'ok'",
        parameters,
    )
    if not row["n"]:
        return Side(UNKNOWN)
    if task == "regression":
        return Side("a number" + (f", {row['low']:.4g} to {row['high']:.4g}" if row["low"] is not None else ""))
    return Side(f"fixed classes: {row['classes']} seen")


def _responses(store: Store, calls: Selection) -> Side:
    row = _tokens(store, calls)
    if not row["n"]:
        return Side(UNKNOWN)
    return Side(
        f"generated text, {row['response']:,.0f} tokens in the median" if row["responses"] else "generated text"
    )


def _determinism(store: Store, window: Window, calls: Selection, words: Words) -> tuple[Side, Side]:
    """Of inputs that came more than once, the share whose outputs were not all the same."""
    where, parameters = window.where()
    [row] = store.query(
        f"""
        SELECT count() AS inputs, countIf(outputs > 1) AS differing FROM (
            SELECT uniqExact((prediction, ifNull(prediction_value, 0))) AS outputs FROM predictions FINAL
            WHERE {where} AND status = 'ok' AND input_hash != 0
            GROUP BY project, model_version, input_hash HAVING count() > 1)
        """,
        parameters,
    )
    groups = consistency(store, calls, words)["by_model"]
    prompts = sum(group["prompts"] for group in groups)
    varied = sum(round(group["inconsistent"]["value"] * group["prompts"]) for group in groups)
    return _repeated(row["inputs"], row["differing"], "inputs"), _repeated(prompts, varied, "prompts")


def _repeated(asked: int, differing: int, what: str) -> Side:
    if not asked:
        return Side(f"{UNKNOWN}: no {what.removesuffix('s')} came twice", n=0)
    share = differing / asked
    low, high = wilson(share, asked)
    sort = "deterministic so far" if not differing else "not deterministic"
    said = f"{sort}: {differing:,} of {asked:,} {what} that came more than once had different outputs"
    return Side(said, share, low, high, asked)


def _cost_model(store: Store, window: Window) -> Side:
    where, parameters = window.where()
    [row] = store.query(
        f"SELECT count(cost_usd) AS n, avgOrNull(cost_usd) AS mean, stddevPopOrNull(cost_usd) AS spread"
        f" FROM predictions FINAL WHERE {where}",
        parameters,
    )
    if not row["n"]:
        return Side(f"{UNKNOWN}: no cost was told", n=0)
    varies = row["spread"] / row["mean"] if row["mean"] else 0.0
    said = "fixed per prediction" if varies < FIXED else f"varies per prediction, by {varies:.0%} of its mean"
    return Side(said, n=row["n"])


def _token_costs(store: Store, calls: Selection) -> Side:
    """Token-based where tokens explain the costs of each model's calls (R2 of least squares)."""
    where, parameters = calls.of_calls()
    table = store.arrow(
        f"""
        SELECT model, toFloat64(cost_usd) AS cost,
            toFloat64({INPUT_TOKENS}) AS asked, toFloat64({OUTPUT_TOKENS}) AS said
        FROM spans FINAL WHERE {where} AND kind = 'llm' AND status = 'ok' AND cost_usd IS NOT NULL
            AND {INPUT_TOKENS} IS NOT NULL AND {OUTPUT_TOKENS} IS NOT NULL ORDER BY cityHash64(span_id) LIMIT 5000
        """,
        parameters,
    )
    if table.num_rows < FEWEST_COSTS:
        return Side(f"{UNKNOWN}: {table.num_rows} calls with a known price and tokens", n=table.num_rows)
    models = np.array(table.column("model").to_pylist(), object)
    cost, asked, said = (table.column(name).to_numpy().astype(float) for name in ("cost", "asked", "said"))
    left = total = 0.0
    for model in set(models):
        own = models == model
        x = np.stack([asked[own], said[own], np.ones(own.sum())], axis=1)
        fitted = x @ np.linalg.lstsq(x, cost[own], rcond=None)[0]
        left += float(((cost[own] - fitted) ** 2).sum())
        total += float(((cost[own] - cost[own].mean()) ** 2).sum())
    if total <= 0:
        return Side("the same for every call", n=table.num_rows)
    explained = 1 - left / total
    sort = "token-based" if explained >= FOLLOWS else "only partly by tokens"
    return Side(f"{sort}: tokens explain {explained:.0%} of how costs differ", n=table.num_rows)


def _cost(speed: Row) -> Side:
    if speed["cost"] is None:
        return Side(f"{UNKNOWN}: no cost was told", n=0)
    return Side(figures.dollars(speed["cost"] * 1000), speed["cost"] * 1000, n=speed["priced"])


def _cost_of_calls(used: Row) -> Side:
    mean = used["avg_cost_per_conversation"]
    if mean is None:
        return Side(f"{UNKNOWN}: no call with a known price", n=0)
    note = f", without {used['unpriced']:,} of unknown price" if used["unpriced"] else ""
    return Side(figures.dollars(mean * 1000) + note, mean * 1000, n=used["total_conversations"])


def _latency(speed: Row) -> Side:
    if speed["mean"] is None:
        return Side(f"{UNKNOWN}: no latency was told", n=0)
    return Side(_levels(speed["mean"], speed["p50"], speed["p95"]), speed["mean"], n=speed["timed"])


def _latency_of_calls(used: Row) -> Side:
    if used["avg_latency_ms"] is None:
        return Side(UNKNOWN, n=0)
    said = _levels(used["avg_latency_ms"], used["p50_latency_ms"], used["p95_latency_ms"])
    return Side(said, used["avg_latency_ms"], n=used["total_conversations"])


def _levels(mean: float, p50: float | None, p95: float | None) -> str:
    return f"{figures.duration(mean)} (p50 {figures.duration(p50)}, p95 {figures.duration(p95)})"


def _failures(speed: Row) -> Side:
    if not speed["n"]:
        return Side(UNKNOWN, n=0)
    return _rate(speed["failed"], speed["n"], *wilson(speed["failed"] / speed["n"], speed["n"]))


def _failed_calls(store: Store, calls: Selection) -> Side:
    found = errors(store, calls)
    if found["error_rate"] is None:
        return Side(UNKNOWN, n=0)
    return _rate(found["errors"], found["calls"], found["low"], found["high"])


def _rate(failed: int, of: int, low: float | None, high: float | None) -> Side:
    return Side(f"{failed / of:.2%} ({failed:,} of {of:,})", failed / of, low, high, of)


def _performs(store: Store, window: Window, task: str) -> Side:
    found = performance(store, window)
    names = ("mae", "r2") if task == "regression" else ("accuracy", "f1")
    told = found["figures"]
    if told:
        first = told[names[0]]
        said = ", ".join(f"{_metric(name)} {_figure(told[name]['value'])}" for name in names)
        return Side(f"{said} ({first['n']:,} labelled)", first["value"], first["low"], first["high"], first["n"])
    guessed = estimate(store, window)
    if not guessed["figures"]:
        return Side(f"{UNKNOWN}: {guessed['problem'] or 'no labels yet'}", n=0)
    first = guessed["figures"]["accuracy"]
    return Side(f"accuracy {_figure(first['value'])} (estimated, no labels yet)", *list(first.values()))


def _metric(name: str) -> str:
    return {"f1": "F1", "mae": "MAE", "r2": "R²"}.get(name, name)


def _figure(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:,.4g}"


def _scores(store: Store, calls: Selection) -> Side:
    found = quality(store, calls)
    order = [name for name in ("relevance", "groundedness", "coherence", "toxicity") if name in found]
    shown = [name for name in [*order, *sorted(found.keys() - set(order))] if found[name]["mean"] is not None][:3]
    if not shown:
        return Side(f"{UNKNOWN}: nothing is scored yet", n=0)
    first = found[shown[0]]
    said = ", ".join(f"{figures.name(name).lower()} {found[name]['mean']:.3f}" for name in shown)
    return Side(f"{said} ({first['n']:,} scored)", first["mean"], first["low"], first["high"], first["n"])


def _drifts(found: dict[str, Any]) -> Side:
    judged = [one for one in found["features"] if one.corrected is not None]
    if not judged:
        return Side(f"{UNKNOWN}: too few predictions, or nothing to hold them against", n=found["n"])
    joint = f"; a classifier tells {_apart(found['joint']['auroc'])}" if found["joint"] else ""
    names = ", ".join(one.feature for one in found["features"][:3] if one.drifted)
    said = f"{found['drifted']} of {len(judged)} features drifted" + (f" ({names})" if names else "")
    return Side(f"{said} against {found['reference']['what']}{joint}", found["drifted"] / len(judged), n=found["n"])


def _moved(store: Store, before: Selection, after: Selection, embed: Embed) -> Side:
    found = conversation_drift(store, before, after, embed)
    judged = [one for one in found["features"] if one.corrected is not None]
    if not judged and not found["prompts"]:
        return Side(f"{UNKNOWN}: too few calls in one of the periods", n=found["after"]["calls"])
    grew = [group["name"] for group in found["groups"] if group["moved"] == "grew"]
    parts = [f"{found['drifted']} of {len(judged)} of lengths, languages and scores drifted against the period before"]
    if found["prompts"]:
        parts.append(f"a classifier tells {_apart(found['prompts']['auroc'])} by their prompts")
    if grew:
        parts.append(f"{_many(len(grew), 'kind')} of question grew")
    return Side("; ".join(parts), found["drifted"] / len(judged) if judged else None, n=found["after"]["calls"])


def _apart(area: dict[str, Any]) -> str:
    return f"the two apart with AUROC {area['value']:.2f}"


def _many(count: int, one: str, several: Sequence[str] | str = "") -> str:
    return "" if not count else f"{count} {one if count == 1 else several or one + 's'}"
