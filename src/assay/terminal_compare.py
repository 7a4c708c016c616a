"""How comparisons and budgets look in a terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from assay.client.monitor import Answer
from assay.terminal import table

_VERDICTS = {
    "better": Text("better", style="green"),
    "worse": Text("worse", style="red"),
    "same": Text("same", style="dim"),
    "unknown": Text(""),
}


def compare_table(compared: Answer) -> Table:
    """Each figure in both selections, and what is to be said of their difference."""
    before, after = (_range(compared[side]) for side in ("before", "after"))
    shown = table(f"{after} compared with {before}", "Figure", "Before", "After", "", "What changed (95% interval)")
    for change in compared["changes"]:
        figures = (figure(change[side], change["unit"]) for side in ("before", "after"))
        shown.add_row(Text(change["metric"]), *figures, _VERDICTS[change["verdict"]], Text(change["sentence"]))
    return shown


def figure(value: float | None, unit: str) -> str:
    """A figure with its unit, "-" where there is no data."""
    if value is None:
        return "-"
    form = {"ms": "{:,.0f} ms", "usd": "${:,.4f}", "share": "{:.2%}", "count": "{:,.0f}"}
    return form.get(unit, "{:.3f}").format(value)


def _range(selected: Answer) -> str:
    """A selection in words: its filters, then its range of time (UTC)."""
    filters = [f"{name} {value}" for name, value in selected.items() if name not in ("since", "until")]
    since, until = (selected.get(bound, "")[:16].replace("T", " ") for bound in ("since", "until"))
    return ", ".join([*filters, f"{since or 'the beginning'} to {until or 'now'}"])
