"""How answers about the scores' own worth look in a terminal: agreement with people, and consistency."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from assay.client.api.connection import Answer
from assay.terminal import excerpt, table


def agreement_table(scorers: Iterable[Answer]) -> Table:
    """Each scorer's agreement with people's labels, and the threshold that agrees best."""
    found = table("Agreement with people", "Score", "By", "Against", "n", "Rank agreement", "Kappa", "Best threshold")
    for one in scorers:
        measure = "auroc" if one["scale"] == "binary" else "spearman"
        found.add_row(
            Text(one["name"]),
            Text(one["scorer"] or one["source"]),
            Text(one["against"] + (" down" if one["direction"] == "lower is better" else "")),
            f"{one['n']:,}",
            f"{measure} {figure(one[measure])}",
            figure(one.get("kappa")),
            _suggested(one),
        )
    return found


def rater_table(raters: Iterable[Answer]) -> Table:
    """People's agreement with each other: what no scorer can be expected to pass."""
    found = table("Agreement of people with each other", "Name", "People", "Calls", "Pairs", "Agreement", "Alpha")
    for one in raters:
        measure = "kappa" if one["scale"] == "binary" else "spearman"
        counts = (f"{one[name]:,}" for name in ("raters", "calls", "pairs"))
        found.add_row(Text(one["name"]), *counts, f"{measure} {figure(one[measure])}", figure(one["alpha"]))
    return found


def consistency_table(by_model: Iterable[Answer]) -> Table:
    """How often and how far answers to the same prompt differ, one model and temperature a row."""
    found = table(
        "Consistency", "Model", "Temperature", "Prompts", "Calls", "Prompts that vary", "Two answers differ", "Spread"
    )
    for one in by_model:
        found.add_row(
            Text(one["model"] or "unknown"),
            "not given" if one["temperature"] is None else f"{one['temperature']:g}",
            f"{one['prompts']:,}",
            f"{one['calls']:,}",
            *(figure(one[name]) for name in ("inconsistent", "differing", "spread")),
        )
    return found


def inconsistent_table(prompts: Iterable[Answer]) -> Table:
    """The most inconsistent prompts, each with two answers that differ."""
    found = table("Most inconsistent prompts", "Prompt", "Calls", "Answers", "One answer", "Another")
    for one in prompts:
        answers = (Text(excerpt(example["response"])) for example in one["examples"])
        found.add_row(Text(excerpt(one["prompt"])), f"{one['calls']:,}", f"{one['answers']:,}", *answers)
    return found


def figure(found: Answer | None) -> str:
    """0.71 (0.64 to 0.78), or "-" where it is not known."""
    if found is None:
        return "-"
    return f"{found['value']:.2f}" + ("" if found["low"] is None else f" ({found['low']:.2f} to {found['high']:.2f})")


def _suggested(one: Answer) -> str:
    if one["scale"] != "binary":
        return "-"
    best = one["suggestion"]
    return f"{best['threshold']:.2f}: kappa {figure(best['kappa'])}" if best else one["reason"]
