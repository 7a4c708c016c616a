"""`assay alerts`: what the newest calls broke, incidents, rules and their replay, silences, deliveries."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from assay.cli_options import Json, Model, Project, Since, StoreUrl, Url, asking, console, print_json, show
from assay.client.api.connection import Answer
from assay.client.monitor import Monitor
from assay.config import load_config
from assay.errors import AssayError
from assay.terminal import alert_table, delivery_table, incident_table, replay_table, rule_table

alerts = typer.Typer(help="The newest calls beyond the lab's limits; incidents, rules, replay, silences, deliveries.")

Rules = Annotated[Path | None, typer.Option(help="The rules file.  [default: that of the settings, alerts.toml]")]
Author = Annotated[str, typer.Option(help="Who says so.")]
Incident = Annotated[str, typer.Argument(help="An incident's id, as `assay alerts incidents` shows it.")]

TEST_SECONDS = 20.0


@alerts.callback(invoke_without_command=True)
def recent(
    context: typer.Context,
    url: Url = None,
    store: StoreUrl = None,
    since: Since = None,
    project: Project = None,
    model: Model = None,
    recent: Annotated[int, typer.Option(min=1, max=1000, help="How many of the newest calls to check.")] = 10,
) -> None:
    """Show which of the newest calls are too toxic, off the point, incoherent, slow or dear."""
    if context.invoked_subcommand is not None:
        return
    with asking(url, store) as monitor:
        found = monitor.alerts(since=since, project=project, model=model, recent=recent)
    console.print(alert_table(found) if found else f"No alerts among the last {recent} calls.")


@alerts.command()
def check(
    rules: Annotated[Path | None, typer.Argument(help="The rules file.  [default: that of the settings]")] = None,
) -> None:
    """Check a rules file: what is wrong, in which line, and what to do; exit code 1 where anything is."""
    from assay.alerts.rules import load_rules

    path = rules or load_config().alerts.rules
    if rules and not rules.exists():
        raise AssayError(f"there is no file {rules}")
    book = load_rules(path)
    for problem in sorted(book.problems, key=lambda problem: problem.line):
        console.print(Text(str(problem), style="red"), soft_wrap=True)
    kinds = ", ".join(f"{rule.name} ({rule.kind})" for rule in book.rules.values() if rule.enabled)
    console.print(f"{len(book.rules)} rules, {len(book.channels)} channels: {kinds}", soft_wrap=True, highlight=False)
    if book.problems:
        raise typer.Exit(1)


@alerts.command()
def incidents(
    url: Url = None,
    store: StoreUrl = None,
    phase: Annotated[list[str] | None, typer.Option(help="pending, firing, resolved or cleared; repeatable.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: Json = False,
) -> None:
    """Incidents, newest first."""
    with asking(url, store) as monitor:
        found = monitor.incidents(phase=phase, limit=limit)
    show(found, as_json, incident_table)


@alerts.command("show")
def show_incident(incident: Incident, url: Url = None, store: StoreUrl = None) -> None:
    """One incident in full as JSON: figures, worst calls, all that happened to it."""
    with asking(url, store) as monitor:
        print_json(monitor.incident(incident))


@alerts.command("rules")
def list_rules(url: Url = None, store: StoreUrl = None, as_json: Json = False) -> None:
    """The rules in force and how each is doing."""
    with asking(url, store) as monitor:
        told = monitor.rules()
    if as_json:
        return print_json(told)
    console.print(rule_table(told["rules"]))
    for problem in told["problems"]:
        console.print(Text(problem, style="red"), soft_wrap=True)
    return None


@alerts.command()
def replay(
    rules: Rules = None,
    url: Url = None,
    store: StoreUrl = None,
    since: Annotated[str, typer.Option(help="30d, 12h or an ISO 8601 time.")] = "30d",
    only: Annotated[list[str] | None, typer.Option(help="Only this rule; may be repeated.")] = None,
    at_most: Annotated[float, typer.Option(min=0, help="Suggest limits that fire at most so often a week.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Run rules over stored calls: when each would have fired and resolved. Nobody is told."""
    text = rules.read_text(encoding="utf-8") if rules else None
    with asking(url, store) as monitor:
        found = monitor.replay(text, since=since, only=only, at_most_a_week=at_most)
    if as_json:
        return print_json(found)
    console.print(replay_table(found))
    for problem in found["problems"]:
        console.print(Text(problem, style="red"), soft_wrap=True)
    return None


@alerts.command()
def acknowledge(
    incident: Incident, url: Url = None, store: StoreUrl = None, author: Author = "", text: str = ""
) -> None:
    """Say that somebody is at it: no reminders follow."""
    with asking(url, store) as monitor:
        monitor.acknowledge(incident, author=author, text=text)
    console.print(f"acknowledged {incident}", highlight=False)


@alerts.command()
def comment(
    incident: Incident,
    text: Annotated[str, typer.Argument(help="What is to be written down.")],
    url: Url = None,
    store: StoreUrl = None,
    author: Author = "",
) -> None:
    """Write something down beside an incident."""
    with asking(url, store) as monitor:
        monitor.comment(incident, text, author=author)
    console.print(f"commented on {incident}", highlight=False)


@alerts.command()
def silence(
    rule: Annotated[str, typer.Argument(help="Rules by name, * is a wildcard.")],
    until: Annotated[str, typer.Option(help="A length such as 2h, or an ISO 8601 time.")] = "4h",
    group: str = "",
    severity: str = "",
    url: Url = None,
    store: StoreUrl = None,
    author: Author = "",
    comment: str = "",
) -> None:
    """Tell nobody of incidents that match, for a while."""
    said = {"rule": rule, "group": group, "severity": severity, "author": author, "comment": comment}
    with asking(url, store) as monitor:
        told = monitor.silence(until, **said)
    console.print(f"silence {told['silence_id']} until {told['ends'][:19]} UTC", highlight=False)


@alerts.command()
def unsilence(silence: str, url: Url = None, store: StoreUrl = None) -> None:
    """End a silence now."""
    with asking(url, store) as monitor:
        monitor.end_silence(silence)
    console.print(f"ended {silence}", highlight=False)


@alerts.command("deliveries")
def list_deliveries(
    url: Url = None,
    store: StoreUrl = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: Json = False,
) -> None:
    """The delivery log, newest first."""
    with asking(url, store) as monitor:
        found = monitor.deliveries(limit)
    show(found, as_json, delivery_table)


@alerts.command("test")
def send_test(
    channel: Annotated[str | None, typer.Argument(help="A channel's name.  [default: all]")] = None,
    url: Url = None,
) -> None:
    """Send a test message, and wait for it to arrive; exit code 1 where one does not."""
    with asking(url, None) as monitor:
        wanted = {one["delivery_id"] for one in monitor.test_channels(channel)}
        found = _outcomes(monitor, wanted)
    console.print(delivery_table(found))
    if any(one["state"] != "sent" for one in found):
        raise typer.Exit(1)


def _outcomes(monitor: Monitor, wanted: set[str]) -> list[Answer]:
    deadline = time.monotonic() + TEST_SECONDS
    while True:
        found = [one for one in monitor.deliveries() if one["delivery_id"] in wanted]
        if all(one["state"] in ("sent", "failed", "gave_up") for one in found) or time.monotonic() > deadline:
            return found
        time.sleep(0.2)
