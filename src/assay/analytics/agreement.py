"""How well scorers and judges agree with people on the same calls, and people with each other.

In: what people said of calls through `assay.score`, `POST /api/scores` or the page. People's scores of a name are
compared with what scorers gave under that name, thumbs (name "thumb", 1 up, 0 down) with every score.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.analytics.selection import Selection
from assay.analytics.together import both
from assay.quality.agreement import Statistic, cohen_kappa, interval, krippendorff_alpha, spearman
from assay.quality.cutoff import Figure, agreement
from assay.quality.intervals import t_quantile
from assay.store.connect import Row, Store

THUMB = "thumb"
LOWER_IS_BETTER = frozenset({"toxicity", "prompt_toxicity", "refusal"})
"""Scores that are high where an answer is bad: they should be high where the thumb is down."""

THRESHOLD = 0.5
MAX_LABELS = 50_000
"""So many of the newest labels are read."""

_MAX_RATERS = 20
_BOOTSTRAPPED = 2000

# Sources and starts are part of the sorting key, so they may go before FINAL: of all scores these alone are read whole.
_LABELS = """
    SELECT project, target, name, author, value, started_at FROM scores FINAL
    PREWHERE source = 'human' WHERE {where} AND value IS NOT NULL
    ORDER BY started_at DESC, target, name, author LIMIT {{most:UInt32}}"""


def agreement_with_people(store: Store, selection: Selection, threshold: float = THRESHOLD) -> dict[str, Any]:
    """`scorers`: the agreement of each scorer with people; `raters`: of people with each other; `cut`: whether
    older labels were left out beyond the newest 50,000.

    Yes/no labels (0 and 1 only) of several people on a call are taken by majority, ties left out; other values by
    their mean. Yes/no gives AUROC, and Cohen's kappa and a suggestion of a threshold; other values Spearman's rank
    correlation. Intervals are 95%, from resampling calls.
    """
    where, parameters = selection.of_scores()
    labels = _LABELS.format(where=where)
    asked = {**parameters, "most": MAX_LABELS, "thumb": THUMB}
    people = store.query(
        f"SELECT name, count() AS labels, countIf(value NOT IN (0, 1)) AS graded FROM ({labels}) GROUP BY name", asked
    )
    graded = {row["name"] for row in people if row["graded"]}
    compared, judged_twice = (
        both(lambda: _compared(store, where, labels, asked), lambda: _judged_twice(store, labels, asked))
        if people
        else ([], [])
    )
    return {
        "threshold": threshold,
        "labels": sum(row["labels"] for row in people),
        "cut": sum(row["labels"] for row in people) >= MAX_LABELS,
        "scorers": [_of_scorer(row, threshold, graded) for row in compared],
        "raters": [_of_raters(row, row["name"] in graded) for row in judged_twice],
    }


def _compared(store: Store, where: str, labels: str, asked: dict[str, Any]) -> list[Row]:
    """One row a scorer and what it is compared with: values and people's mean values on the same calls."""
    return store.query(
        f"""
        SELECT scored.name AS name, scored.source AS source, scored.scorer AS scorer, said.name AS against,
            groupArray(scored.value) AS values, groupArray(said.value) AS labels
        FROM (
            SELECT project, target, name, source, scorer, value FROM scores FINAL
            PREWHERE source != 'human' AND started_at IN (SELECT started_at FROM ({labels}))
            WHERE {where} AND value IS NOT NULL
        ) AS scored
        INNER JOIN (
            SELECT project, target, name, avg(value) AS value FROM ({labels}) GROUP BY project, target, name
        ) AS said ON scored.project = said.project AND scored.target = said.target
        WHERE said.name = scored.name OR said.name = {{thumb:String}}
        GROUP BY name, source, scorer, against
        ORDER BY against = {{thumb:String}}, name, source DESC, scorer
        """,
        asked,
    )


def _of_scorer(row: Row, threshold: float, graded: set[str]) -> Row:
    values, labels = np.array(row.pop("values"), float), np.array(row.pop("labels"), float)
    lower = row["against"] == THUMB and row["name"] in LOWER_IS_BETTER
    told = {**row, "direction": "lower is better" if lower else "same as people"}
    if row["against"] == THUMB and not lower:
        told["direction"] = "higher is better"
    if row["against"] in graded:
        return told | {"scale": "graded", "n": len(values), "spearman": _plain(_spearman(labels, values))}
    decided = labels != 0.5
    yes = (labels[decided] > 0.5) != lower
    found = agreement(yes, values[decided], threshold)
    return told | {"scale": "binary", "n": int(decided.sum()), "ties": int((~decided).sum()), **_plain(found)}


def _spearman(labels: NDArray[np.float64], values: NDArray[np.float64]) -> Figure | None:
    found = spearman(labels, values)
    if not np.isfinite(found):
        return None
    if len(values) > _BOOTSTRAPPED:
        # Bonett and Wright (2000); at this size it agrees with the bootstrap, and is quick.
        half = t_quantile(len(values)) * np.sqrt((1 + found**2 / 2) / (len(values) - 3))
        middle = np.arctanh(np.clip(found, -1 + 1e-12, 1 - 1e-12))
        return Figure(found, float(np.tanh(middle - half)), float(np.tanh(middle + half)))
    low, high = interval(lambda drawn: spearman(labels[drawn], values[drawn]), len(values))
    return Figure(found, *_ends(low, high))


def _judged_twice(store: Store, labels: str, asked: dict[str, Any]) -> list[Row]:
    """One row a name: the labels of each call that several people judged, each in the order of their authors."""
    return store.query(
        f"""
        SELECT name, groupArray(said) AS calls, length(arrayDistinct(flatten(groupArray(authors)))) AS raters
        FROM (
            SELECT name, arraySort(groupArray({_MAX_RATERS})((author, value))) AS pairs,
                arrayMap(pair -> pair.1, pairs) AS authors, arrayMap(pair -> pair.2, pairs) AS said
            FROM ({labels}) GROUP BY project, target, name HAVING length(pairs) > 1
        )
        GROUP BY name ORDER BY name
        """,
        asked,
    )


def _of_raters(row: Row, graded: bool) -> Row:
    """Kappa or Spearman over all pairs of raters of a call, the first of each pair by the order of names; alpha."""
    calls = [np.array(said, float) for said in row.pop("calls")]
    pairs = np.concatenate([np.column_stack([said[i] for i in np.triu_indices(len(said), 1)]) for said in calls])
    units = np.array([(len(said), said.sum(), (said**2).sum()) for said in calls])
    counts = np.array([len(said) * (len(said) - 1) // 2 for said in calls])
    starts = np.cumsum(counts) - counts

    def likeness(drawn: NDArray[np.intp]) -> float:
        within = np.arange(counts[drawn].sum()) - np.repeat(np.cumsum(counts[drawn]) - counts[drawn], counts[drawn])
        first, second = pairs[np.repeat(starts[drawn], counts[drawn]) + within].T
        return spearman(first, second) if graded else cohen_kappa(first > 0.5, second > 0.5)

    def alpha(drawn: NDArray[np.intp]) -> float:
        return krippendorff_alpha(units[drawn])

    told = {**row, "scale": "graded" if graded else "binary", "calls": len(calls), "pairs": len(pairs)}
    return told | {
        "spearman" if graded else "kappa": _plain(_bootstrapped(likeness, len(calls))),
        "alpha": _plain(_bootstrapped(alpha, len(calls))),
    }


def _bootstrapped(statistic: Statistic, cases: int) -> Figure | None:
    value = statistic(np.arange(cases))
    if not np.isfinite(value):
        return None
    return Figure(value, *_ends(*interval(statistic, cases)))


def _ends(low: float, high: float) -> tuple[float | None, float | None]:
    return (low, high) if np.isfinite(low) and np.isfinite(high) else (None, None)


def _plain(told: Any) -> Any:
    return msgspec.to_builtins(told)
