"""How answers look in a terminal. Texts of users are shown as they are: nothing in them is markup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from assay.client.api.connection import Answer
from assay.client.monitor import Monitor

_COLOURS = {"HIGH": "red", "MEDIUM": "yellow", "LOW": "cyan"}


_SIGNS = {"ok": Text("✓", style="green"), "warning": Text("!", style="yellow"), "failure": Text("✗", style="red")}


def print_report(console: Console, monitor: Monitor, **filters: Any) -> None:
    """The lab's report: usage summary, quality summary, alerts."""
    console.rule("LLM monitoring report")
    console.print(usage_table(monitor.usage(**filters)))
    console.print(quality_table(monitor.quality(**filters)["scores"]))
    alerts = monitor.alerts(**filters)
    console.print(alert_table(alerts) if alerts else "No alerts: all metrics within acceptable ranges")


def usage_table(usage: Answer) -> Table:
    """Conversations, cost, tokens and latency."""
    shown = table("Usage summary", "", "")
    rows = {
        "Total conversations": f"{usage['total_conversations']:,}",
        "Total cost": dollars(usage["total_cost_usd"]),
        "Unpriced calls": f"{usage['unpriced']:,}",
        "Total tokens": f"{usage['total_tokens']:,}",
        "Average latency": milliseconds(usage["avg_latency_ms"]),
        "95% faster than": milliseconds(usage["p95_latency_ms"]),
        "Cost per conversation": dollars(usage["avg_cost_per_conversation"]),
        "Errors": f"{usage['errors']:,}",
    }
    if usage.get("judge_calls"):
        rows["Judge, apart"] = f"{dollars(usage['judge_cost_usd'])} ({usage['judge_calls']:,} calls)"
    for name, value in rows.items():
        shown.add_row(name, value)
    return shown


def quality_table(scores: Mapping[str, Answer]) -> Table:
    """Each score's mean and range."""
    shown = table("Quality summary", "Score", "Mean", "Lowest", "Highest", "Conversations", "Not assessable")
    for name, score in scores.items():
        figures = (fraction(score[key]) for key in ("mean", "min", "max"))
        shown.add_row(name, *figures, str(score["n"]), str(score["not_assessable"]))
    return shown


def finding_table(findings: Iterable[Answer]) -> Table:
    """The doctor's findings, each with what to do about it."""
    shown = table("Assay doctor", "", "Check", "Found", "What to do")
    for finding in findings:
        shown.add_row(_SIGNS[finding["status"]], *(Text(finding[name]) for name in ("check", "found", "fix")))
    return shown


def bench_table(figures: Iterable[Answer]) -> Table:
    """Agreement of scorer sets with people, one file and set a row."""
    shown = table("Agreement with people", "File", "Set", "n", "Agreement", "Null", "Length", "Conv/s")
    shown.columns[0].no_wrap = True
    for one in figures:
        measure = next((name for name in ("accuracy", "auroc", "spearman") if one[name] is not None), "-")
        low, high = one.get(f"{measure}_ci") or (None, None)
        shown.add_row(
            Text(one["file"]),
            one["set"],
            f"{one['n']:,}",
            f"{measure} {fraction(one.get(measure))}" + ("" if low is None else f" ({low:.2f} to {high:.2f})"),
            f"{one['not_assessable']:.0%}",
            fraction(one["length_correlation"]),
            f"{one['conversations_per_second']:,.0f}",
        )
    return shown


def fit_table(fit: Answer) -> Table:
    """One fit: the shipped score beside the fitted one, on rows that were not learnt from."""
    kept, held = fit["n"], fit["n_held_out"]
    title = f"{fit['metric']}: {kept:,} labels ({fit['positives']:,} yes), {held:,} held out ({fit['how']})"
    shown = table(title, "", "As shipped", "Fitted")
    for name, title in _AGREEMENT.items():
        shown.add_row(title, *(_figure(fit[when][name]) for when in ("before", "after")))
    low, high = fit["threshold_interval"]
    shown.add_row("Threshold", "0.500", f"{fit['threshold']:.3f} ({low:.2f} to {high:.2f})")
    return shown


def fits_table(fits: Iterable[Answer]) -> Table:
    """Every version that was kept; ● marks those in use."""
    shown = table("Fits", "", "Project", "Metric", "Version", "Made", "Labels", "AUROC", "Threshold", "By")
    shown.columns[3].no_wrap = True
    for fit in fits:
        report = fit["report"]
        both = (fraction(report[when]["auroc"]["value"]) for when in ("before", "after")) if report else ()
        shown.add_row(
            "●" if fit["active"] else "",
            Text(fit["project"]),
            fit["metric"],
            fit["version"],
            fit["created_at"][:16].replace("T", " "),
            f"{report['n']:,}" if report else "-",
            " → ".join(both) or "-",
            fraction(fit["threshold"]),
            Text(fit["author"]),
        )
    return shown


_AGREEMENT = {"auroc": "AUROC", "auprc": "AUPRC", "balanced_accuracy": "Balanced accuracy", "kappa": "Kappa"}


def _figure(figure: Answer) -> str:
    if figure["value"] is None:
        return "-"
    low, high = figure["interval"]
    return f"{figure['value']:.3f} ({low:.2f} to {high:.2f})"


def backfill_progress(console: Console) -> Progress:
    """A bar with calls done, calls a second and the time that is left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("calls"),
        TimeRemainingColumn(),
        console=console,
    )


def alert_table(alerts: Iterable[Answer]) -> Table:
    """Alerts, gravest first."""
    shown = table("Alerts", "Severity", "Alert", "Prompt", "Call")
    for alert in alerts:
        severity = Text(alert["severity"], style=_COLOURS[alert["severity"]])
        shown.add_row(severity, alert["message"], Text(excerpt(alert["prompt"])), alert["span_id"])
    return shown


def incident_table(incidents: Iterable[Answer]) -> Table:
    """Incidents, newest first, with what was found and why nobody is told, if so."""
    shown = table("Incidents", "Incident", "Severity", "Phase", "Began (UTC)", "Rule", "Found")
    for one in incidents:
        phase = f"{one['phase']} (acknowledged)" if one["acknowledged"] else one["phase"]
        rule = f"{one['rule']} [{one['group']}]" if one["group"] else one["rule"]
        found = f"{one['message']}; {one['unsaid']}" if one["unsaid"] else one["message"]
        severity = Text(one["severity"], style=_COLOURS[one["severity"]])
        shown.add_row(one["incident_id"], severity, phase, one["began"][:19], Text(rule), Text(found))
    return shown


def rule_table(rules: Iterable[Answer]) -> Table:
    """The rules and how each is doing."""
    shown = table("Alert rules", "Rule", "Kind", "Severity", "Last judged", "Found")
    for rule in rules:
        state = rule["state"] or {}
        found = state.get("error") or state.get("message") or ""
        when = (state.get("judged_at") or "-")[:19] if rule["enabled"] else "switched off"
        shown.add_row(
            rule["name"], rule["kind"], Text(rule["severity"], style=_COLOURS[rule["severity"]]), when, Text(found)
        )
    return shown


def replay_table(replayed: Answer) -> Table:
    """What each rule would have done, and the limit with which it would have fired as seldom as asked."""
    title = f"Replay of {replayed['since'][:16]} to {replayed['until'][:16]}, {replayed['seconds']:.1f} s"
    shown = table(title, "Rule", "Kind", "Fired", "A week", "Firing", "Limit", "For at most as many as asked", "Last")
    for rule in replayed["rules"]:
        limit = f"{rule['setting']} = {rule['limit']:g}" if rule["setting"] else "-"
        suggested = f"{rule['setting']} = {rule['suggested']:g}" if rule["suggested"] is not None else "-"
        last = rule["episodes"][-1]["fired_at"][:16] if rule["episodes"] else "-"
        share = f"{rule['firing_share']:.1%}"
        row = (rule["rule"], rule["kind"], str(rule["fired"]), f"{rule['a_week']:.2f}", share, limit, suggested)
        shown.add_row(*row, Text(rule["error"] or last))
    return shown


def delivery_table(deliveries: Iterable[Answer]) -> Table:
    """The delivery log."""
    shown = table("Deliveries", "Due (UTC)", "Channel", "State", "Attempts", "About", "Last error")
    for one in deliveries:
        about = ", ".join(f"{told['event']} {told['rule']}" for told in one["incidents"]) or one["status"]
        shown.add_row(
            one["due_at"][:19], one["channel"], one["state"], str(one["attempts"]), Text(about), Text(one["error"])
        )
    return shown


def dollars(value: float | None) -> str:
    """US dollars, or "unknown"."""
    return "unknown" if value is None else f"${value:.4f}"


def milliseconds(value: float | None) -> str:
    """Milliseconds, or "unknown"."""
    return "unknown" if value is None else f"{value:,.0f} ms"


def fraction(value: float | None) -> str:
    """A score to three places, "-" where it is not known."""
    return "-" if value is None else f"{value:.3f}"


def excerpt(text: str, length: int = 50) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def table(title: str, *columns: str) -> Table:
    """An empty table; without names of columns it shows no head."""
    made = Table(title=title, title_justify="left", title_style="bold", show_header=any(columns))
    for column in columns:
        made.add_column(column)
    return made
