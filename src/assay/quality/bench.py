"""Measure scorer sets against people: what they agree on, what they cannot assess, what they cost.

In: a folder of .jsonl files, one row a line: `target` names the judged field (prompt or response), and
`label` (1 = good; for toxicity 1 = toxic), `score` (a grade) or `extra.pair` says what people found. The
file name up to the first hyphen is the metric. Out: one Figures per file and set.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from assay.config import Onnx
from assay.quality.agreement import auprc, auroc, interval, kendall, pair_wins, spearman
from assay.quality.fit.fitted import fitted_scorers
from assay.quality.fit.fitter import Fitter
from assay.quality.fit.labels import labelled_rows
from assay.quality.fit.learn import plain_text
from assay.quality.rows import BenchError, Row, read_rows
from assay.quality.scorer import Conversation, Scorer, Verdict, assess_all
from assay.quality.sets import scorers

Interval = tuple[float, float]
JUDGED_BY = {"groundedness": ("groundedness", "factual_accuracy")}
"""Names under which a set may have a metric; the metric's own name where it is not here."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How one set did on one file. `None`: not defined for these rows. `*_ci`: 95% bootstrap intervals.

    Agreement is that of the rows that were assessed; `not_assessable` is the share of the others.
    `length_correlation` is Spearman's of the value with the length of the judged text.
    `conversations_per_second` is for all scorers of the set together, per second of one core.
    """

    file: str
    set: str
    metric: str
    n: int
    auroc: float | None = None
    auprc: float | None = None
    spearman: float | None = None
    kendall: float | None = None
    accuracy: float | None = None
    auroc_ci: Interval | None = None
    auprc_ci: Interval | None = None
    spearman_ci: Interval | None = None
    kendall_ci: Interval | None = None
    accuracy_ci: Interval | None = None
    not_assessable: float
    length_correlation: float | None = None
    conversations_per_second: float


def bench(
    data: Path,
    set_names: Sequence[str],
    split: str = "",
    onnx: Mapping[str, Onnx] | None = None,
    *,
    fit: bool = False,
) -> Iterator[Figures]:
    """Figures of every file in `data` and every set, file by file; only rows of `split` where one is named.

    `onnx` says which models the set "onnx" is made of. With `fit`, also those of the local set fitted to each
    toxicity file: learnt from its rows of split "train" (or those of the file that ends in -train where this one
    ends in -test), measured on the others but copies.
    Raises BenchError where `data` has no .jsonl file or a line is not a row, ValueError for an unknown set.
    """
    paths = sorted(data.glob("*.jsonl"))
    if not paths:
        raise BenchError(
            f"no .jsonl file in {data}: name a folder of labelled rows (docs/quality.md lists public ones)"
        )
    loaded = {name: scorers(name, onnx) for name in set_names}
    fitter = Fitter() if fit else None
    for path in paths:
        rows = read_rows(path, split)
        for name, members in loaded.items() if rows else ():
            yield figures(path.stem, name, members, rows)
        if fitter and path.stem.startswith("toxicity-"):
            yield from _fitted(fitter, path, rows)


def _fitted(fitter: Fitter, path: Path, rows: list[Row]) -> Iterator[Figures]:
    """Figures of the local set fitted to a file, on its rows that were not learnt from."""
    sibling = path.with_name(f"{path.stem.removesuffix('-test')}-train.jsonl")
    source = sibling if path.stem.endswith("-test") and sibling.exists() else path
    train = [row for row in read_rows(source, "train") if row.label is not None]
    known = {plain_text(row.judged) for row in train}
    others = [row for row in rows if row.split != "train" and plain_text(row.judged) not in known]
    if train and others:
        found = labelled_rows(train, "toxicity")
        fits = [fitter.fit("", metric, labelled).fit for metric, labelled in found.items()]
        yield figures(path.stem, "local+fit", fitted_scorers(scorers("local"), fits), others)


def figures(file: str, set_name: str, members: Sequence[Scorer], rows: list[Row]) -> Figures:
    """One set's figures on the rows of one file."""
    metric = file.split("-", 1)[0]
    names = {scorer.name for scorer in members}
    # A judge is paid by the question: only the metric that the file is about.
    members = [one for one in members if one.scorer != "judge" or any(one.name in _judges(file, row) for row in rows)]
    conversations = [conversation(row, metric, names) for row in rows]
    started = time.process_time()
    verdicts = assess_all(members, conversations)
    spent = time.process_time() - started
    values = [_value(found, row, file) for found, row in zip(verdicts, rows, strict=True)]
    assessed = [(row, value) for row, value in zip(rows, values, strict=True) if value is not None]
    return Figures(
        file=file,
        set=set_name,
        metric=metric,
        n=len(rows),
        not_assessable=_rounded(1 - len(assessed) / len(rows)) or 0.0,
        length_correlation=_rounded(spearman([len(row.judged) for row, _ in assessed], [v for _, v in assessed])),
        conversations_per_second=round(len(rows) / max(spent, 1e-9), 1),
        **_agreement([row for row, _ in assessed], np.array([value for _, value in assessed])),
    )


def conversation(row: Row, metric: str, names: set[str]) -> Conversation:
    """A row as scorers see it. A set that cannot judge prompts for toxicity gets the prompt as the response."""
    if metric == "toxicity" and row.target == "prompt" and "prompt_toxicity" not in names:
        return Conversation(response=row.judged)
    context = (row.context,) if row.context else ()
    return Conversation(prompt=row.prompt or "", response=row.response or "", context=context)


def _value(verdicts: dict[str, Verdict], row: Row, file: str) -> float | None:
    """The value that the file's labels are about."""
    for name in _judges(file, row):
        if name in verdicts:
            return verdicts[name].value
    return None


def _judges(file: str, row: Row) -> tuple[str, ...]:
    metric = file.split("-", 1)[0]
    if file.endswith("-refusals"):
        return ("refusal",)
    if metric == "toxicity" and row.target == "prompt":
        return "prompt_toxicity", "toxicity"
    return JUDGED_BY.get(metric, (metric,))


def _agreement(rows: list[Row], values: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, Any]:
    """The figures that these labels, grades or pairs define, each with its interval."""
    found: dict[str, Any] = {}
    if rows and all(row.label is not None for row in rows):
        labels = np.array([row.label for row in rows])
        found |= _measured("auroc", lambda at: auroc(labels[at], values[at]), len(rows))
        found |= _measured("auprc", lambda at: auprc(labels[at], values[at]), len(rows))
        if all(row.pair is not None for row in rows):
            wins = pair_wins([json.dumps(row.pair) for row in rows], labels.tolist(), values.tolist())
            found |= _measured("accuracy", lambda at: float(wins[at].mean()) if len(at) else math.nan, len(wins))
    elif rows and all(row.score is not None for row in rows):
        grades = np.array([row.score for row in rows])
        found |= _measured("spearman", lambda at: spearman(grades[at], values[at]), len(rows))
        found |= _measured("kendall", lambda at: kendall(grades[at], values[at]), len(rows))
    return found


def _measured(name: str, statistic: Callable[[Any], float], cases: int) -> dict[str, Any]:
    value = _rounded(statistic(np.arange(cases)))
    if value is None:
        return {}
    low, high = interval(statistic, cases)
    return {name: value, f"{name}_ci": (round(low, 4), round(high, 4))}


def _rounded(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
