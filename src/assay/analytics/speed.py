"""How quickly answers come: time to the first token, output tokens per second, whole latency."""

from __future__ import annotations

from typing import Any

from assay.analytics.metrics import COUNTS, selected
from assay.analytics.selection import Selection, dimension
from assay.analytics.sums import Aggregates, ask
from assay.store.connect import Store

MAX_GROUPS = 1000

_FIGURES = (
    "calls",
    "conversations",
    *COUNTS,
    "avg_latency_ms",
    "p50_latency_ms",
    "p95_latency_ms",
    "p99_latency_ms",
    "avg_time_to_first_token_ms",
    "p50_time_to_first_token_ms",
    "p95_time_to_first_token_ms",
    "avg_output_tokens_per_second",
    "p05_output_tokens_per_second",
    "p50_output_tokens_per_second",
)


def speed(store: Store, selection: Selection, group_by: str = "model") -> dict[str, Any]:
    """Percentiles over all conversations, and in `groups` for each value of a dimension, most conversations first.

    `p95_latency_ms`: 95% of conversations took less. `p95_time_to_first_token_ms`: the same of the wait for the first
    token, over the `timed_to_first_token` conversations that tell it (streams). `p05_output_tokens_per_second`: 5% of
    conversations were slower; output tokens by the whole time of the call, over the `timed_output` conversations that
    succeeded with known tokens. Figures are None where no conversation tells. Raises AssayError.
    """
    by = dimension(group_by)
    [whole] = ask(store, selection, Aggregates(selected(_FIGURES)))
    groups = ask(
        store,
        selection,
        Aggregates(selected(_FIGURES), {"group": by.sql}, parameters=by.parameters),
        lambda sums: f"{sums} ORDER BY conversations DESC, group LIMIT {MAX_GROUPS}",
    )
    return {"dimension": by.name, **whole, "groups": groups}
