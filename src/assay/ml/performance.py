"""How good is a model? Measured where labels have come, estimated where they have not; over time and by segment.

Figures and intervals are those of `figures` and `estimate`; here windows are cut, and classes are told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.errors import AssayError
from assay.ml.estimate import ASSUMPTION, FEWEST_LABELLED, calibrated, estimated, estimated_accuracy, learned
from assay.ml.figures import FEWEST, Figure, auroc, classified, positive_class, probabilistic, regressed
from assay.ml.window import MOST_LABELLED, MOST_ROWS, Rows, Window, read_rows, task_of
from assay.store.connect import Store

VERSION = "version"
MOST_GROUPS = 12
QUARTERS = 4
LENGTHS = (60, 300, 900, 1800, 3600, 10_800, 21_600, 86_400, 604_800)
AIMED_AT = 30
_DAY = 86_400

Figures = dict[str, Figure]


class Classes(NamedTuple):
    """The classes in order, and the positive one's place (None of more than two) with why it is that."""

    names: tuple[str, ...]
    positive: int | None
    why: str


def performance(
    store: Store,
    window: Window,
    *,
    bucket_seconds: int | None = None,
    by: str | None = None,
    positive: str | None = None,
) -> dict[str, Any]:
    """What the labels that have come say: `figures` of all, `points` over time, and `groups` with `by`.

    `rows` were predicted, `labelled` of them have a label, which came `delay` after the prediction (median and p95, in
    seconds). `by` is "version" or a feature: its values, or its quarters where it is a number. Classification has
    accuracy, precision, recall, f1 (of the `positive` class of two, else macro), auroc, log_loss, brier, ece and
    `reliability`; regression has mae, rmse and r2. Raises NotFound, or AssayError for a feature that there is not.
    """
    task = task_of(store, window)
    of_feature = by not in (None, VERSION)
    rows = read_rows(store, window, MOST_ROWS if of_feature else MOST_LABELLED, features=of_feature)
    told = rows.taken(rows.labelled)
    classes = classes_of(told, positive)
    length = bucket_seconds or fitting(rows)
    return {
        "task": task,
        "rows": rows.total,
        "read": rows.n,
        "labelled": round(told.n / rows.n * rows.total) if rows.n else 0,
        "labelled_share": told.n / rows.n if rows.n else None,
        "failed": int(rows.failed.sum()),
        "delay": _delay(told),
        **_classes_told(task, classes),
        "figures": measured(told, task, classes),
        "bucket_seconds": length,
        "points": [
            {"bucket": _moment(start), **brief(part, task, classes)} for start, part in cut_by_time(rows, length)
        ],
        "groups": [{"group": name, **brief(part, task, classes)} for name, part in _grouped(rows, by)] if by else [],
    }


def estimate(
    store: Store, window: Window, *, bucket_seconds: int | None = None, positive: str | None = None
) -> dict[str, Any]:
    """What the model's own probabilities say of its performance, with or without labels: `figures` and `points`.

    What the probabilities are worth is learned from labelled reference rows, else from labelled predictions before the
    window (or of any time, where there are none before). `problem` says why there is no estimate. Where labels have
    come already, `measured` stands beside the estimate of the very same rows, so that one can see how good it is.
    """
    task = task_of(store, window)
    rows = read_rows(store, window, features=False)
    alive = rows.taken(~rows.failed)
    source, teachers = labelled_source(store, window)
    classes = classes_of(teachers, positive, alive)
    length = bucket_seconds or fitting(rows)
    told: dict[str, Any] = {
        "task": task,
        "rows": rows.total,
        "read": rows.n,
        "assumption": ASSUMPTION,
        "learned_from": {"what": source, "n": teachers.n},
        **_classes_told(task, classes),
        "bucket_seconds": length,
        "figures": {},
        "points": [],
        "compared": None,
        "problem": "",
    }
    if task != "classification":
        return told | {"problem": "only classification can be estimated: a regression tells no confidence"}
    if teachers.n < FEWEST_LABELLED:
        need = f"{FEWEST_LABELLED} labelled reference rows or predictions are needed, there are {teachers.n}"
        return told | {"problem": f"{need}: log a test set as reference with its labels"}
    estimator = _estimator(teachers, alive, classes)
    if estimator is None:
        return told | {"problem": "the model tells neither probabilities nor a confidence"}
    labelled = alive.taken(alive.labelled)
    points = [
        {"bucket": _moment(start), "n": part.n, **_told(estimator(part))}
        for start, part in cut_by_time(alive, length)
        if part.n >= FEWEST
    ]
    both = {"n": labelled.n, "measured": measured(labelled, task, classes), "estimated": _told(estimator(labelled))}
    return told | {
        "figures": _told(estimator(alive)) if alive.n >= FEWEST else {},
        "points": points,
        "compared": both if labelled.n >= FEWEST else None,
    }


def measured(rows: Rows, task: str, classes: Classes, *, whole: bool = True) -> dict[str, Any]:
    """All figures of labelled rows, as told; none for fewer than ten. `whole` has those that take longer, too."""
    if task == "regression":
        known = rows.taken(~np.isnan(rows.value) & ~np.isnan(rows.label_value))
        return _told(regressed(known.value, known.label_value)) if known.n >= FEWEST else {}
    if rows.n < FEWEST or len(classes.names) < 2:
        return {}
    predicted, true = _codes(rows.prediction, classes.names), _codes(rows.label, classes.names)
    found: Figures = classified(predicted, true, len(classes.names), classes.positive)
    probabilities = _probabilities(rows, classes.names)
    if probabilities is not None:
        found["auroc"] = auroc(probabilities, true)
    told = _told(found)
    if whole:
        chances = probabilities if probabilities is not None else np.zeros((rows.n, 0))
        more = probabilistic(chances, true, rows.confidence, predicted == true)
        told |= {name: one.told() if isinstance(one, Figure) else one for name, one in more.items()}
    return told


def brief(rows: Rows, task: str, classes: Classes) -> dict[str, Any]:
    """A bucket or group: how many rows and labels, and its quicker figures."""
    labelled = rows.taken(rows.labelled)
    return {"n": rows.n, "labelled": labelled.n, "figures": measured(labelled, task, classes, whole=False)}


def classes_of(rows: Rows, positive: str | None = None, more: Rows | None = None) -> Classes:
    """The classes that occur in labels, predictions and probabilities. Raises AssayError for a positive one that does
    not."""
    sources = [rows, *([more] if more is not None else [])]
    names = sorted({name for one in sources for name in (*one.label, *one.prediction, *one.classes) if name})
    if positive is not None and positive not in names and names:
        raise AssayError(f"there is no class {positive!r}: choose one of {', '.join(names[:20])}")
    if len(names) != 2:
        return Classes(tuple(names), names.index(positive) if positive in names else None, "told" if positive else "")
    chosen, why = positive_class(names, rows.label, positive)
    ordered = (next(name for name in names if name != chosen), chosen)
    return Classes(ordered, 1, why)


def cut_by_time(rows: Rows, seconds: int) -> Iterable[tuple[float, Rows]]:
    """The rows by bucket of so many seconds since the epoch, with the bucket's start."""
    starts = np.floor(rows.at / seconds) * seconds
    for start in np.unique(starts):
        yield float(start), rows.taken(starts == start)


def fitting(rows: Rows) -> int:
    """A length of bucket, in seconds, that cuts the rows into about thirty."""
    span = float(rows.at[-1] - rows.at[0]) if rows.n else 1.0
    return min(LENGTHS, key=lambda seconds: abs(np.log(max(span, 1.0) / seconds / AIMED_AT)))


def _grouped(rows: Rows, by: str | None) -> Iterable[tuple[str, Rows]]:
    if by == VERSION or by is None:
        yield from _by_text(rows, rows.version)
    elif by in rows.categories and (rows.categories[by] != "").any():
        yield from _by_text(rows, rows.categories[by])
    elif by in rows.numbers:
        yield from _by_quarter(rows, rows.numbers[by])
    else:
        known = sorted({*rows.numbers, *rows.categories})
        raise AssayError(f"cannot group by {by!r}: choose version or a feature, of {', '.join(known[:30]) or 'none'}")


def _by_text(rows: Rows, values: NDArray[Any]) -> Iterable[tuple[str, Rows]]:
    names, counts = np.unique(values.astype(str), return_counts=True)
    for place in np.argsort(-counts, kind="stable")[:MOST_GROUPS]:
        yield str(names[place]), rows.taken(values == names[place])


def _by_quarter(rows: Rows, values: NDArray[np.float64]) -> Iterable[tuple[str, Rows]]:
    known = values[np.isfinite(values)]
    if not len(known):
        return
    edges = np.unique(np.quantile(known, np.linspace(0, 1, QUARTERS + 1)))
    for number, (low, high) in enumerate(pairwise(edges)):
        last = number == len(edges) - 2
        own = (values >= low) & ((values <= high) if last else (values < high))
        yield f"{low:.4g} to {high:.4g}", rows.taken(own)
    if np.isnan(values).any():
        yield "missing", rows.taken(np.isnan(values))


def labelled_source(store: Store, window: Window) -> tuple[str, Rows]:
    """Labelled rows to learn from, and what they are in words; those of the last kind may be too few."""
    reference = read_rows(store, msgspec.structs.replace(window.as_reference(), segment=None), features=False)
    found = reference.taken(reference.labelled)
    if found.n >= FEWEST_LABELLED:
        return "labelled reference rows", found
    before = msgspec.structs.replace(window, since=None, until=window.since, segment=None)
    earlier = read_rows(store, before, features=False) if window.since else None
    told = earlier.taken(earlier.labelled) if earlier else found
    if told.n >= FEWEST_LABELLED:
        return "labelled predictions before the window", told
    rows = read_rows(store, msgspec.structs.replace(window, since=None, until=None, segment=None), features=False)
    return "all labelled predictions", rows.taken(rows.labelled)


def _estimator(teachers: Rows, rows: Rows, classes: Classes) -> Callable[[Rows], Figures] | None:
    reference = _probabilities(teachers, classes.names)
    if reference is not None and _probabilities(rows, classes.names) is not None and len(classes.names) >= 2:
        known = learned(reference, _codes(teachers.label, classes.names))

        def by_probabilities(part: Rows) -> Figures:
            raw = _probabilities(part, classes.names)
            predicted = _codes(part.prediction, classes.names)
            return {} if raw is None else estimated(known, raw, predicted, classes.positive)

        return by_probabilities
    sure = ~np.isnan(teachers.confidence)
    if sure.sum() < FEWEST_LABELLED or np.isnan(rows.confidence).all():
        return None
    calibration = calibrated(teachers.confidence[sure], (teachers.prediction == teachers.label)[sure])

    def by_confidence(part: Rows) -> Figures:
        confidence = part.confidence[~np.isnan(part.confidence)]
        return {"accuracy": estimated_accuracy(calibration, confidence)} if len(confidence) else {}

    return by_confidence


def _probabilities(rows: Rows, classes: tuple[str, ...]) -> NDArray[np.float64] | None:
    """(n, classes) in their order, what is not told being 0; None where any row tells none."""
    if not rows.n or not rows.classes or np.isnan(rows.probabilities).all(axis=1).any():
        return None
    places = {name: place for place, name in enumerate(rows.classes)}
    nothing = np.zeros(rows.n)
    columns = [rows.probabilities[:, places[name]] if name in places else nothing for name in classes]
    found = np.nan_to_num(np.stack(columns, axis=1))
    if len(classes) == 2 and len(rows.classes) == 1:  # one of two is all that was told
        own = [name in places for name in classes].index(True)
        found[:, 1 - own] = 1 - found[:, own]
    return found


def _codes(names: NDArray[Any], classes: tuple[str, ...]) -> NDArray[np.int64]:
    places = {name: place for place, name in enumerate(classes)}
    return np.fromiter((places.get(name, 0) for name in names), np.int64, len(names))


def _told(figures: Figures) -> dict[str, Any]:
    return {name: one.told() for name, one in figures.items()}


def _classes_told(task: str, classes: Classes) -> dict[str, Any]:
    if task == "regression":
        return {"classes": [], "positive": None, "positive_why": "", "average": ""}
    positive = classes.names[classes.positive] if classes.positive is not None else None
    average = f"of the class {positive!r}" if positive is not None else "macro: the plain mean over the classes"
    return {
        "classes": list(classes.names),
        "positive": positive,
        "positive_why": classes.why,
        "average": average,
    }


def _delay(rows: Rows) -> dict[str, float] | None:
    if not rows.n:
        return None
    late = np.maximum(rows.labelled_at - rows.at, 0)
    median, p95 = np.quantile(late, (0.5, 0.95))
    return {"median_seconds": float(median), "p95_seconds": float(p95)}


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
