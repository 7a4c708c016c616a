"""How answers about use look in a terminal: usage, trends, rankings, sessions, errors, costs and speed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from assay.client.api.connection import Answer
from assay.terminal import excerpt, fraction, milliseconds, table, usage_table


def usage_tables(usage: Answer) -> RenderableType:
    """The summary, and a row for each group where it was asked for."""
    if "groups" not in usage:
        return usage_table(usage)
    columns = {
        "total_calls": "Calls",
        "total_cost_usd": "Cost",
        "unpriced": "Unpriced",
        "total_tokens": "Tokens",
        "avg_latency_ms": "Average latency",
        "p95_latency_ms": "95% faster than",
        "error_rate": "Errors",
    }
    return Group(usage_table(usage), _figures("By group", usage["groups"], columns, "Group"))


def trend_table(trends: Answer) -> Table:
    """A row a bucket (and group), a column a figure; a score with its interval."""
    points = trends["points"]
    names = [name for name in points[0] if name not in ("bucket", "group") and not _is_bound(name, points[0])]
    lead = [f"Begin ({trends['tz']})", *(["Group"] if "group" in points[0] else [])]
    shown = _table("Trends", *lead, *names, text=len(lead))
    for point in points:
        group = [Text(point["group"] or "-")] if "group" in point else []
        begin = datetime.fromisoformat(point["bucket"]).astimezone(ZoneInfo(trends["tz"]))
        shown.add_row(f"{begin:%Y-%m-%d %H:%M}", *group, *(_trend(point, name) for name in names))
    if trends["cut"]:
        shown.caption = "Older rows were left out."
    return shown


def top_table(top: Answer) -> Table:
    """A ranking, with each one's share of the whole."""
    title = f"Top by {top['by']}: {len(top['top']):,} of {top['values']:,} values of {top['dimension']}"
    shown = _table(title, "", "Share", "Calls", "Cost", "Tokens", "95% faster than", "Errors")
    for row in top["top"]:
        shown.add_row(
            Text(excerpt(row["group"], 60)),
            percent(row["share"]),
            *(_shown(name, row[name]) for name in ("calls", "cost_usd", "total_tokens", "p95_latency_ms", "errors")),
        )
    if top["without"]:
        shown.caption = f"{top['without']:,} of {top['calls']:,} calls name no {escape(top['dimension'])}."
    return shown


def session_table(page: Answer) -> Table:
    """Sessions, one a row."""
    lead = ("Session", "Project", "Last call (UTC)", "Users")
    shown = _table("Sessions", *lead, "Calls", "Cost", "Tokens", "Length", "Errors", "Worst score", text=len(lead))
    for one in page["sessions"]:
        worst = one["worst"]
        shown.add_row(
            Text(one["session_id"]),
            Text(one["project"]),
            one["last_at"][:16].replace("T", " "),
            Text(", ".join(one["users"]) or "-"),
            *(_shown(name, one[name]) for name in ("calls", "cost_usd", "total_tokens")),
            duration(one["seconds"]),
            f"{one['errors']:,}",
            Text(f"{worst['name']} {fraction(worst['value'])}" if worst else "-"),
        )
    if page["next_cursor"]:
        shown.caption = "There are more: --limit, or --cursor with next_cursor of --json."
    return shown


def thread_table(session: Answer) -> Table:
    """One session's calls in order; a line parts traces."""
    facts = f"{session['calls']:,} calls, {dollars(session['cost_usd'])}, {duration(session['seconds'])}"
    columns = ("Start (UTC)", "Model", "Prompt", "Answer", "Cost", "Took", "Scores")
    shown = _table(f"Session {session['session_id']}: {facts}", *columns, text=len(columns))
    for trace in session["traces"]:
        for call in trace["calls"]:
            failed = call["status"] == "error"
            answer = (call["error_message"] or call["error_type"]) if failed else call["response"]
            scores = ", ".join(f"{name} {fraction(value)}" for name, value in call["scores"].items())
            shown.add_row(
                call["started_at"][:19].replace("T", " "),
                Text(call["model"] or "-"),
                Text(excerpt(call["prompt"])),
                Text(excerpt(answer), "red" if failed else ""),
                dollars(call["cost_usd"]),
                milliseconds(call["latency_ms"]),
                Text(scores or "-"),
            )
        shown.add_section()
    if session["next_cursor"]:
        shown.caption = "There are more calls: --limit, or --cursor with next_cursor of --json."
    return shown


def error_tables(errors: Answer) -> RenderableType:
    """The rate, each type of error, and the groups where they were asked for."""
    rate = f"{errors['errors']:,} of {errors['calls']:,} calls failed: {_rate(errors)}"
    shown = _table(rate, "Error", "Calls", "Share", "First (UTC)", "Last (UTC)", "Models", "Newest message", "Its call")
    for name in ("Error", "First (UTC)", "Last (UTC)", "Models", "Newest message", "Its call"):
        next(column for column in shown.columns if column.header == name).justify = "left"
    for one in errors["types"]:
        models = ", ".join(f"{model['model'] or 'unknown'} ({model['errors']:,})" for model in one["models"])
        shown.add_row(
            Text(one["error_type"] or "not named"),
            f"{one['errors']:,}",
            percent(one["share"]),
            *(one[name][:16].replace("T", " ") for name in ("first_at", "last_at")),
            Text(models),
            Text(excerpt(one["message"], 80)),
            one["span_id"],
        )
    if "groups" not in errors:
        return shown if errors["types"] else Text(rate)
    groups = _table("By group", "Group", "Calls", "Errors", "Error rate (95% interval)")
    for one in errors["groups"]:
        groups.add_row(Text(one["group"] or "-"), f"{one['calls']:,}", f"{one['errors']:,}", _rate(one))
    return Group(shown, groups) if errors["types"] else Group(Text(rate), groups)


def cost_tables(costs: Answer) -> RenderableType:
    """The split, the groups where they were asked for, and the models without a price."""
    columns = {
        "cost_usd": "Cost",
        "share": "Share",
        "input_cost_usd": "Input",
        "output_cost_usd": "Output",
        "cache_saved_usd": "Saved by caching",
        "cache_hit_share": "Cached input",
        "calls": "Calls",
        "unpriced": "Unpriced",
    }
    groups = costs.get("groups", [])
    parts: list[Table] = [_figures("Costs", [{**costs, "group": "All", "share": None}, *groups], columns, "")]
    if costs["unpriced_models"]:
        missing = _table("No price is known of", "Model", "Provider", "Calls", text=2)
        for one in costs["unpriced_models"]:
            missing.add_row(Text(one["model"] or "not named"), Text(one["provider"] or "-"), f"{one['calls']:,}")
        parts.append(missing)
    return Group(*parts)


def what_if_tables(found: Answer) -> RenderableType:
    """A row a model: what the same calls did cost, and would have; what is left out, and what is assumed."""
    columns = ("Model", "Calls", "Did cost", "Would cost", "Difference", "Factor", "Left out")
    shown = _table("What if another model had taken these calls", *columns)
    for one in found["models"]:
        left_out = one["only_then"] + one["only_now"] + one["unknown"]
        shown.add_row(
            Text(excerpt(one["model"], 60)),
            f"{one['calls']:,}",
            *(_shown(name, one[name]) for name in ("now_usd", "then_usd", "difference_usd")),
            "-" if one["ratio"] is None else f"{one['ratio']:.2f}",
            f"{left_out:,}" if left_out else "-",
        )
    problems = [Text(one["problem"], style="yellow") for one in found["models"] if one["problem"]]
    assumed = [Text(f"Assumed: {line}", style="dim") for line in found["assumes"]]
    return Group(shown, *problems, *assumed)


def speed_table(speed: Answer) -> Table:
    """Percentiles over all conversations, and for each group."""
    columns = {
        "conversations": "Conversations",
        "p50_latency_ms": "Half faster than",
        "p95_latency_ms": "95% faster than",
        "p50_time_to_first_token_ms": "First token, half",
        "p95_time_to_first_token_ms": "First token, 95%",
        "p50_output_tokens_per_second": "Tokens/s, half",
        "p05_output_tokens_per_second": "Tokens/s, slowest 5%",
    }
    return _figures(f"Speed by {speed['dimension']}", [{**speed, "group": "All"}, *speed["groups"]], columns, "")


def _figures(title: str, rows: Iterable[Answer], columns: dict[str, str], first: str) -> Table:
    shown = _table(title, first, *columns.values())
    shown.columns[0].no_wrap = True
    for row in rows:
        shown.add_row(Text(excerpt(row["group"], 60) or "-"), *(_shown(name, row[name]) for name in columns))
    return shown


def _table(title: str, *columns: str, text: int = 1) -> Table:
    """A table whose first columns are text, and the others figures. Names of users' making are no markup."""
    shown = table(escape(title), *map(escape, columns))
    for column in shown.columns[text:]:
        column.justify = "right"
    return shown


def _trend(point: Answer, name: str) -> str:
    if f"{name}_n" not in point:
        return _shown(name, point[name])
    low, high = point[f"{name}_low"], point[f"{name}_high"]
    return fraction(point[name]) + ("" if low is None else f" ({low:.2f} to {high:.2f})")


def _is_bound(name: str, point: Answer) -> bool:
    stem, _, bound = name.rpartition("_")
    return bound in ("n", "low", "high") and f"{stem}_n" in point


def _rate(row: Answer) -> str:
    interval = "" if row["low"] is None else f" ({row['low']:.2%} to {row['high']:.2%})"
    return percent(row["error_rate"]) + interval


def _shown(name: str, value: Any) -> str:
    """A figure in the unit that its name tells; "-" where it is not known."""
    unit = next((of for ending, of in _UNITS.items() if name.endswith(ending)), None)
    if value is None:
        return "-"
    return unit(value) if unit else f"{value:,}" if isinstance(value, int) else fraction(value)


def percent(share: float | None) -> str:
    """12.34%, "-" where it is not known."""
    return "-" if share is None else f"{share:.2%}"


def dollars(value: float | None) -> str:
    """US dollars to four figures, "unknown" where no price is known."""
    if value is None:
        return "unknown"
    sign, amount = "-" if value < 0 else "", abs(value)
    return f"{sign}${amount:,.2f}" if amount >= 100 else f"{sign}${amount:.4f}"


def duration(seconds: float) -> str:
    """0.8 s, 2 min 5 s, 3 h 20 min, 2 d 4 h."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    for size, unit, smaller, name in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} {int(seconds % size // smaller)} {name}"
    return ""


_UNITS: dict[str, Callable[[Any], str]] = {
    "_usd": dollars,
    "_ms": milliseconds,
    "_rate": percent,
    "share": percent,
    "_per_second": "{:,.1f}".format,
}
