"""How far drift of a classical model can be trusted: false alarms in quiet windows, and what is found in moved ones.

Windows are drawn from one simulated source: normal, heavy-tailed, discrete and categorical features, some of them
correlated. Each is judged as the page does it, by the default rule `features-drifted` (over the same counts that the
store would make) and by the domain classifier. Below: the rules about accuracy, measured and estimated, on windows of
a model whose accuracy stays, or falls; and how often estimates hold the realised accuracy. Nothing is stored.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from assay.alerts.evaluate import judge as judged_by_rule
from assay.alerts.rules import AlertRule, default_rules
from assay.alerts.series import NO_BINS, Series
from assay.ml.drift import Column, joint_drift, judge, measured
from assay.ml.estimate import calibrated, estimated_accuracy
from assay.ml.shapes import Shapes, as_codes, binned
from measuring import show

FEATURES = 20
REFERENCE = 2000
STEP = 30
QUIET, TRIFLE = "quiet", "a trifle: 1 feature by 0.05 sd"

Rows = dict[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=200, help="quiet windows of each size")
    parser.add_argument("--moved", type=int, default=50, help="windows of each kind that moved")
    parser.add_argument("--joint", type=int, default=10, help="of those so many also meet the domain classifier")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    rows = [
        _judged(rng, name, move, size, options.windows if name == QUIET else options.moved, options.joint)
        for size in (300, 1000, 10_000)
        for name, move in MOVES.items()
        if size < 10_000 or name in (QUIET, TRIFLE)
    ]
    show("windows called drifted", rows, features=FEATURES, reference=REFERENCE, seed=options.seed)
    rows = [
        _accuracy(rng, drop, size, options.moved if drop else options.windows)
        for size in (100, 300, 1000)
        for drop in (0.0, 0.05, 0.1, 0.2)
    ]
    show("windows whose accuracy is called fallen", rows, seed=options.seed)


def _source(rng: np.random.Generator, size: int) -> Rows:
    common = rng.normal(size=size)
    found: Rows = {}
    for i in range(FEATURES):
        match i % 4:
            case 0:
                found[f"normal {i}"] = 0.7 * common + 0.7 * rng.normal(size=size)
            case 1:
                found[f"tailed {i}"] = rng.lognormal(0, 1, size)
            case 2:
                found[f"count {i}"] = rng.poisson(3, size).astype(float)
            case _:
                names = np.array(["a", "b", "c", "d", "e"], object)
                found[f"category {i}"] = rng.choice(names, size, p=[0.4, 0.25, 0.2, 0.1, 0.05])
    return found


def _shift(sd: float, features: int = 1) -> Callable[[np.random.Generator, Rows], Rows]:
    def moved(_: np.random.Generator, rows: Rows) -> Rows:
        return rows | {f"normal {4 * i}": rows[f"normal {4 * i}"] + sd for i in range(features)}

    return moved


def _missing(share: float) -> Callable[[np.random.Generator, Rows], Rows]:
    def moved(rng: np.random.Generator, rows: Rows) -> Rows:
        gone = rng.random(len(rows["tailed 1"])) < share
        return rows | {"tailed 1": np.where(gone, np.nan, rows["tailed 1"])}

    return moved


def _mixed(rng: np.random.Generator, rows: Rows) -> Rows:
    size = len(rows["category 3"])
    return rows | {"category 3": rng.choice(np.array(["a", "b", "c", "d", "e"], object), size)}


def _untied(rng: np.random.Generator, rows: Rows) -> Rows:
    return rows | {name: rng.permutation(rows[name]) for name in rows if name.startswith("normal")}


MOVES: dict[str, Callable[[np.random.Generator, Rows], Rows]] = {
    QUIET: lambda _, rows: rows,
    TRIFLE: _shift(0.05),
    "1 feature by 0.5 sd": _shift(0.5),
    "1 feature by 1 sd": _shift(1.0),
    "5 features by 0.3 sd": _shift(0.3, 5),
    "a category's shares become even": _mixed,
    "10% of a feature missing": _missing(0.1),
    "correlation gone, each feature the same": _untied,
}


def _judged(rng: np.random.Generator, name: str, move: Any, size: int, windows: int, joint: int) -> dict[str, Any]:
    rule = default_rules().rules["features-drifted"]
    page = by_rule = together = 0
    for number in range(windows):
        # A reference of its own for each: else one odd reference would stand behind all.
        reference = _source(rng, REFERENCE)
        columns = _columns(reference, move(rng, _source(rng, size)))
        page += any(one.drifted for one in judge(list(map(measured, columns))))
        by_rule += _fires(rule, columns, size)
        if number < joint:
            told = joint_drift(columns)
            together += bool(told and told["auroc"]["low"] > 0.5)
    return {
        "window": name,
        "rows": size,
        "windows": windows,
        "page %": 100 * page / windows,
        "rule %": 100 * by_rule / windows,
        "joint %": 100 * together / joint,
    }


def _columns(reference: Rows, current: Rows) -> list[Column]:
    return [
        Column(name, "category" if values.dtype == object else "number", values, current[name])
        for name, values in reference.items()
    ]


def _fires(rule: AlertRule, columns: list[Column], size: int) -> bool:
    shapes = Shapes("simulated", tuple(map(binned, columns)))
    codes = as_codes(shapes, columns)
    bins = np.concatenate([np.zeros((len(codes), 1), np.int64), codes], axis=1)
    rows = np.zeros((5, 1))
    rows[0] = size
    return bool(judged_by_rule(rule, Series(0, STEP, *rows, bins, shapes), 1).state[-1] == 1)


def _accuracy(rng: np.random.Generator, drop: float, size: int, windows: int) -> dict[str, Any]:
    """A model that is right in 85% of the cases, and in fewer by `drop`: as its confidence says (for estimates)."""
    rules = {name: default_rules().rules[name] for name in ("accuracy-fell", "accuracy-probably-fell")}
    fell = guessed = held = 0
    for _ in range(windows):
        sure, right = _sure(rng, 1000, 0.0)
        usual = right.mean()
        calibration = calibrated(sure, right)
        sure, right = _sure(rng, size, drop)
        fell += _beyond(rules["accuracy-fell"], usual - right.astype(float))
        chance = calibration.of(sure)
        # As in alerts/model_series.py: each case holds by its chance.
        squares = usual**2 + (1 - 2 * usual) * chance
        guessed += _beyond(rules["accuracy-probably-fell"], usual - chance, squares)
        estimate = estimated_accuracy(calibration, sure)
        held += estimate.low <= right.mean() <= estimate.high  # type: ignore[operator]
    return {
        "accuracy falls by": drop,
        "rows": size,
        "windows": windows,
        "accuracy-fell %": 100 * fell / windows,
        "accuracy-probably-fell %": 100 * guessed / windows,
        "estimate holds the realised %": 100 * held / windows,
    }


def _sure(rng: np.random.Generator, size: int, drop: float) -> tuple[np.ndarray, np.ndarray]:
    """Confidence that is too high by half its distance from 1, and whether each prediction is right."""
    share = 0.85 - drop
    chance = np.clip(rng.beta(8 * share, 8 * (1 - share), size), 0.02, 0.98)
    return 1 - (1 - chance) / 2, rng.random(size) < chance


def _beyond(rule: AlertRule, values: np.ndarray, squares: np.ndarray | None = None) -> bool:
    squared = (values**2 if squares is None else squares).sum()
    rows = np.array([[len(values)], [values.sum()], [squared], [values.max()], [0]], float)
    return bool(judged_by_rule(rule, Series(0, STEP, *rows, NO_BINS), 1).state[-1] == 1)


if __name__ == "__main__":
    main()
