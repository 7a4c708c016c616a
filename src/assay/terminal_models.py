"""How classical models, drift and the comparison with LLM calls look in a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from assay import figures
from assay.client.api.connection import Answer
from assay.terminal import table

UNKNOWN = "–"
NAMES = {
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "auroc": "AUROC",
    "log_loss": "Log loss",
    "brier": "Brier score",
    "ece": "Calibration error",
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R²",
}


def model_table(models: Iterable[Answer]) -> Table:
    """All classical models."""
    columns = ("Project", "Model", "Versions", "Predictions", "Labels", "Reference rows", "Errors", "p50", "p95")
    shown = table("Classical models", *columns, "Last asked")
    for one in models:
        rate = one["error_rate"]
        shown.add_row(
            Text(one["project"]),
            Text(one["model"]),
            Text(", ".join(version or "(none)" for version in one["versions"][:4])),
            f"{one['rows']:,}",
            f"{one['labels']:,}",
            f"{one['reference_rows']:,}",
            UNKNOWN if rate is None else f"{rate:.2%}",
            figures.duration(one["p50_latency_ms"]),
            figures.duration(one["p95_latency_ms"]),
            (one["last_at"] or UNKNOWN)[:16].replace("T", " "),
        )
    return shown


def performance_tables(measured: Answer, estimated: Answer) -> Group:
    """What labels say, and what the model's own probabilities do, side by side; then by group, where asked."""
    shown = table(_said_of_labels(measured), "Figure", "Measured", "95% interval", "n", "Estimated", "95% interval")
    for name, label in NAMES.items():
        one, other = measured["figures"].get(name), estimated["figures"].get(name)
        if one or other:
            shown.add_row(label, *_figure(one), _n(one), *_figure(other))
    parts: list[Any] = [shown]
    if measured["positive"]:
        parts.append(Text(f"Precision, recall and F1 {measured['average']} ({measured['positive_why']}).", "dim"))
    if estimated["problem"]:
        parts.append(Text(f"No estimate: {estimated['problem']}.", "dim"))
    elif estimated["figures"]:
        learned = f"{estimated['learned_from']['n']:,} {estimated['learned_from']['what']}"
        parts.append(Text(f"The estimate was learned from {learned}; it {estimated['assumption']}.", "dim"))
    if measured["groups"]:
        parts.append(_group_table(measured["groups"]))
    if measured["read"] < measured["rows"]:
        parts.append(Text(f"Read: a sample of {measured['read']:,} of {measured['rows']:,} predictions.", "dim"))
    return Group(*parts)


def drift_tables(found: Answer, shown_features: int = 40) -> Group:
    """A model's features, prediction and confidence against the reference."""
    title = f"Against {found['reference']['what']} ({found['reference']['n']:,}): {found['n']:,} predictions"
    parts: list[Any] = [feature_table(title, found["features"][:shown_features])]
    if len(found["features"]) > shown_features:
        parts.append(Text(f"... and {len(found['features']) - shown_features} more: --json has all.", "dim"))
    if found["joint"]:
        by = ", ".join(f"{one['feature']} {one['share']:.0%}" for one in found["joint"]["by"][:4])
        parts.append(Text(f"Jointly: {_area(found['joint']['auroc'])}; told by {by}"))
    return Group(*parts)


def conversation_drift_tables(found: Answer) -> Group:
    """What moved in LLM calls."""
    before, after = (f"{found[side]['calls']:,} calls" for side in ("before", "after"))
    parts: list[Any] = [feature_table(f"{after} against {before} before", found["features"])]
    for name in ("prompts", "responses"):
        told = found[name]
        parts.append(Text(f"{name.capitalize()}: {_area(told['auroc']) if told else 'too few to tell'}"))
    moved = [group for group in found["groups"] if group["moved"]]
    if moved:
        shown = table("Kinds of question that grew or shrank", "Question", "Before", "After", "Difference", "")
        for group in moved:
            shown.add_row(
                Text(group["name"][:80]),
                f"{group['before']:.1%}",
                f"{group['after']:.1%}",
                f"{group['difference']:+.1%} ({group['low']:+.1%} to {group['high']:+.1%})",
                group["moved"],
            )
        parts.append(shown)
    elif found["groups"]:
        parts.append(Text("No kind of question clearly grew or shrank."))
    return Group(*parts)


def feature_table(title: str, features: Iterable[Answer]) -> Table:
    """One line a feature, the drifted ones first."""
    shown = table(title, "Feature", "Kind", "n", "PSI", "Size", "JS", "KS", "Wasserstein", "p (Holm)", "")
    for one in features:
        shown.add_row(
            Text(one["feature"]),
            one["kind"],
            f"{one['n']:,}",
            *(_number(one[name]) if name != "size" else one["size"] for name in ("psi", "size", "jensen_shannon")),
            *(_number(one[name]) for name in ("ks", "wasserstein")),
            UNKNOWN if one["corrected"] is None else f"{one['corrected']:.2g}",
            Text("drifted", style="red") if one["drifted"] else "",
        )
    return shown


def quality_tables(found: Answer) -> Group:
    """What is wrong with each feature, and what failed."""
    title = f"{found['n']:,} predictions against {found['reference']['what']} ({found['reference']['n']:,})"
    shown = table(title, "Feature", "Kind", "Missing", "Reference", "What is wrong")
    for one in found["features"]:
        wrong = Text("; ".join(one["problems"]), style="yellow") if one["problems"] else Text("nothing", style="dim")
        shown.add_row(
            Text(one["feature"]), one["kind"] or UNKNOWN, _share(one["missing"]), _share(one["missing_before"]), wrong
        )
    parts: list[Any] = [shown]
    if found["errors"]:
        failed = table(f"Errors: {_share(found['error_rate'])} of the predictions", "Type", "Errors", "Last", "Message")
        for one in found["errors"]:
            when = one["last_at"][:16].replace("T", " ")
            failed.add_row(Text(one["error_type"] or "(none)"), f"{one['errors']:,}", when, Text(one["message"][:100]))
        parts.append(failed)
    return Group(*parts)


def comparison_table(found: Answer) -> Table:
    """The lab's table, filled from what was measured."""
    title = (
        f"{found['predictions']:,} predictions of {found['model']} beside {found['calls']:,} calls of {found['llm']}"
    )
    shown = table(title, "Aspect", "Classical", "LLM")
    for aspect in found["aspects"]:
        shown.add_row(aspect["name"], *(Text(_side(aspect, side)) for side in ("classical", "llm")))
    return shown


def _side(aspect: Answer, side: str) -> str:
    one = aspect[side]
    return figures.with_interval(one["says"], one["low"], one["high"], aspect["unit"])


def _said_of_labels(found: Answer) -> str:
    delay = found["delay"]
    late = f", which came {_length(delay['median_seconds'])} later in the median" if delay else ""
    return f"{found['rows']:,} predictions, {found['labelled']:,} with a label{late}"


def _group_table(groups: Iterable[Answer]) -> Table:
    rows = list(groups)
    names = [name for name in NAMES if any(name in group["figures"] for group in rows)]
    shown = table("By group", "Group", "Predictions", "Labelled", *(NAMES[name] for name in names))
    for group in rows:
        told = (" ".join(_figure(group["figures"].get(name))) for name in names)
        shown.add_row(Text(group["group"] or "(none)"), f"{group['n']:,}", f"{group['labelled']:,}", *told)
    return shown


def _figure(one: Answer | None) -> tuple[str, str]:
    if not one or one["value"] is None:
        return UNKNOWN, ""
    return _number(one["value"]), "" if one["low"] is None else f"({_number(one['low'])} to {_number(one['high'])})"


def _n(one: Answer | None) -> str:
    return f"{one['n']:,}" if one else ""


def _area(area: Answer) -> str:
    sure = f"{_number(area['low'])} to {_number(area['high'])}; 0.5: not at all"
    return f"a classifier tells them apart with AUROC {area['value']:.2f} ({sure})"


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.3f}" if abs(value) < 1000 else f"{value:,.4g}"


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.1%}"


def _length(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
