"""Every figure of calls by its name, as SQL over rows of `spans`: one definition for trends, tables and rankings.

Figures of nothing are NULL, but counts of nothing are 0. Sums leave out what is not known, and are NULL where nothing
is. Latency, time to first token and speed are of conversations (kind llm).
"""

from __future__ import annotations

from collections.abc import Iterable

from assay.errors import AssayError

SCORE = "score:"
"""Before the name of a score that has the name of a metric."""

# Named in full: inside a statement that gives a figure the name of a column, the bare name would be the figure.
INPUT = "ifNull(spans.input_tokens, spans.estimated_input_tokens)"
OUTPUT = "ifNull(spans.output_tokens, spans.estimated_output_tokens)"
_WAIT = "spans.time_to_first_token_ms"
_CONVERSATION = "spans.kind = 'llm'"
_SPEED = f"{OUTPUT} / (spans.latency_ms / 1000)"
_TIMED = f"{_CONVERSATION} AND spans.status = 'ok' AND spans.latency_ms > 0 AND {OUTPUT} > 0"


def _quantiles(name: str, value: str, condition: str, *levels: int) -> dict[str, str]:
    # All from one aggregate, which the engine computes once.
    every = f"quantilesIf({', '.join(str(level / 100) for level in levels)})({value}, {condition})"
    return {
        f"p{level:02d}_{name}": f"if(isNaN({every}[{place}]), NULL, {every}[{place}])"
        for place, level in enumerate(levels, 1)
    }


METRICS: dict[str, str] = {
    "calls": "count()",
    "conversations": f"countIf({_CONVERSATION})",
    "sessions": "uniqCombinedIf(spans.session_id, spans.session_id != '')",
    "users": "uniqCombinedIf(spans.user_id, spans.user_id != '')",
    "errors": "countIf(spans.status = 'error')",
    "error_rate": "if(count() = 0, NULL, countIf(spans.status = 'error') / count())",
    "cost_usd": "sumOrNull(spans.cost_usd)",
    "input_cost_usd": "sumOrNull(spans.input_cost_usd)",
    "output_cost_usd": "sumOrNull(spans.output_cost_usd)",
    "unpriced": "countIf(spans.cost_usd IS NULL AND spans.status = 'ok')",
    "input_tokens": f"sumOrNull({INPUT})",
    "output_tokens": f"sumOrNull({OUTPUT})",
    "total_tokens": f"if(count({INPUT}) + count({OUTPUT}) = 0, NULL,"
    f" sum(ifNull({INPUT}, 0)) + sum(ifNull({OUTPUT}, 0)))",
    "cache_read_tokens": "sumOrNull(spans.cache_read_tokens)",
    "cache_hit_share": f"if(count(spans.cache_read_tokens) = 0, NULL,"
    f" sum(ifNull(spans.cache_read_tokens, 0)) / nullIf(sum(ifNull({INPUT}, 0)), 0))",
    "avg_latency_ms": f"avgOrNullIf(spans.latency_ms, {_CONVERSATION})",
    **_quantiles("latency_ms", "spans.latency_ms", _CONVERSATION, 50, 90, 95, 99),
    "avg_time_to_first_token_ms": f"avgOrNullIf({_WAIT}, {_CONVERSATION})",
    **_quantiles("time_to_first_token_ms", _WAIT, _CONVERSATION, 50, 90, 95, 99),
    "avg_output_tokens_per_second": f"avgOrNullIf({_SPEED}, {_TIMED})",
    **_quantiles("output_tokens_per_second", _SPEED, _TIMED, 5, 50, 95),
}
"""What each figure is, by name."""

COUNTS = {
    "timed_to_first_token": f"countIf({_CONVERSATION} AND {_WAIT} IS NOT NULL)",
    "timed_output": f"countIf({_TIMED})",
}
"""How many conversations stand behind figures that not all of them have."""


def selected(names: Iterable[str]) -> str:
    """What stands after SELECT for these figures of METRICS and COUNTS, each under its name."""
    known = METRICS | COUNTS
    return ", ".join(f"{known[name]} AS {name}" for name in names)


def unknown(name: str, scores: Iterable[str] = ()) -> AssayError:
    """The error for a name that is no metric's, which names all metrics and these scores."""
    told = ", ".join(scores)
    also = f"; or of the scores {told}" if told else "; there are no scores yet"
    return AssayError(f"there is no metric {name!r}: choose of {', '.join(METRICS)}{also}")
