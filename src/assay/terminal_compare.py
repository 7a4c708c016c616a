"""How comparisons and budgets look in a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from assay.client.api.connection import Answer
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


_STATES = {"ok": Text("ok", style="green"), "at risk": Text("at risk", style="yellow")}


def budget_table(budgets: Iterable[Answer]) -> Table:
    """Each budget: spent, share, forecast with its range, and when it is exceeded."""
    shown = table("Budgets", "Budget", "Of", "Period", "Spent", "Amount", "Share", "By the end (95%)", "", "Exceeded")
    for one in budgets:
        low, high = one["low"], one["high"]
        sure = "" if low is None else f" (${low:,.2f} to ${high:,.2f})"
        shown.add_row(
            Text(one["name"]),
            Text(one["value"] or "-"),
            one["period"],
            f"${one['spent_usd']:,.2f}" + (f" + {one['unpriced']:,} unpriced calls" if one["unpriced"] else ""),
            f"${one['amount_usd']:,.2f}",
            f"{one['share']:.0%}",
            f"${one['forecast_usd']:,.2f}{sure}",
            _STATES.get(one["state"], Text(one["state"], style="red")),
            (one["exceeded_at"] or "-")[:16].replace("T", " "),
        )
    return shown


def figure(value: float | None, unit: str) -> str:
    """A figure with its unit, "-" where there is no data."""
    if value is None:
        return "-"
    form = {"ms": "{:,.0f} ms", "usd": "${:,.4f}", "share": "{:.2%}", "count": "{:,.0f}"}
    return form.get(unit, "{:.3f}").format(value)


def _range(selected: Answer) -> str:
    """A selection in words: its filters, then its range of time (UTC)."""
    filters = [f"{name} {value}" for name, value in selected.items() if name not in ("since", "until", "tags")]
    filters += [f"tag {key}:{value}" for key, value in selected.get("tags", ())]
    since, until = (selected.get(bound, "")[:16].replace("T", " ") for bound in ("since", "until"))
    return ", ".join([*filters, f"{since or 'the beginning'} to {until or 'now'}"])
