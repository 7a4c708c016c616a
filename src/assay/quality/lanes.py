"""Which scorers the settings ask for, in lanes: each lane has followers and processes of its own.

What is slow, or somebody else's code, must not delay the scores that every call gets: so the tiers that ship
with Assay, models of the onnx tier, and scorers of one's own go by separate lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from assay.config import Quality
from assay.errors import ConfigError
from assay.quality.custom import custom_scorers, is_installed
from assay.quality.local import local_scorers
from assay.quality.onnx.scorers import model_for, onnx_scorers
from assay.quality.scorer import Scorer
from assay.quality.sets import SHIPPED, scorers

Lane = Literal["quality", "onnx", "custom"]


class Loaded(NamedTuple):
    """The scorers of a lane, and what kept others from being loaded."""

    scorers: tuple[Scorer, ...]
    problems: Sequence[str] = ()


def lanes(settings: Quality) -> tuple[Lane, ...]:
    """The lanes that these settings need."""
    needed = list[Lane]()
    if settings.scorers != "off" or {"local", "lexical"} & set(settings.metrics.values()):
        needed.append("quality")
    if "onnx" in settings.metrics.values():
        needed.append("onnx")
    if settings.custom or is_installed():
        needed.append("custom")
    return tuple(needed)


def load(lane: Lane, settings: Quality) -> Loaded:
    """The scorers of one lane with their weights. A metric that no tier knows is a problem, not an error."""
    match lane:
        case "quality":
            return _shipped(settings)
        case "onnx":
            return _models(settings)
        case "custom":
            found, problems = custom_scorers(settings.custom)
            return _own(settings, found, problems)


def _shipped(settings: Quality) -> Loaded:
    chosen = dict.fromkeys(settings.metrics, "off") | {m: t for m, t in settings.metrics.items() if t != "onnx"}
    sets = {tier: {one.name: one for one in scorers(tier)} for tier in {settings.scorers, *chosen.values()} - {"off"}}
    found = [one for name, one in sets.get(settings.scorers, {}).items() if name not in chosen]
    problems = list[str]()
    for metric, tier in chosen.items():
        if one := sets.get(tier, {}).get(metric):
            found.append(one)
        elif tier != "off":
            names = ", ".join(sorted(sets[tier]))
            problems.append(f"[quality.metrics] {metric}: the {tier} tier has no such score; it has {names}")
    return Loaded(tuple(found), problems)


def _models(settings: Quality) -> Loaded:
    """One model a metric; a model that cannot be loaded costs its own metric only."""
    found = list[Scorer]()
    problems = list[str]()
    local = local_scorers()
    for metric in (metric for metric, tier in settings.metrics.items() if tier == "onnx"):
        try:
            found += onnx_scorers({metric: model_for(metric, settings.onnx)}, local)
        except ConfigError as error:
            problems.append(str(error))
    return Loaded(tuple(found), problems)


def _own(settings: Quality, found: Sequence[Scorer], problems: Sequence[str]) -> Loaded:
    """A score that ships may be replaced by one's own where it is switched off."""
    tiers = settings.metrics
    clashing = {one.name for one in found if one.name in SHIPPED and tiers.get(one.name) != "off"}
    off = {name for name, tier in tiers.items() if tier == "off" and name not in SHIPPED}
    clashes = [
        f"a scorer of your own is named {name!r} like one that ships: rename it, or switch that one off with "
        f'[quality.metrics] {name} = "off"'
        for name in sorted(clashing)
    ]
    return Loaded(tuple(one for one in found if one.name not in clashing | off), [*problems, *clashes])
