"""`assay groups`: the kinds of question that an application gets; `assay similar`: calls that ask something alike."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from assay.cli_options import Json, Model, Project, Since, StoreUrl, Until, Url, asking, console, print_json, show
from assay.errors import AssayError
from assay.terminal_groups import change_table, group_table, score_table, similar_table, template_table

groups = typer.Typer(help="Kinds of question: share, cost, latency, errors, quality, and which got worse.")


@groups.callback(invoke_without_command=True)
def listed(
    context: typer.Context,
    url: Url = None,
    store: StoreUrl = None,
    since: Since = None,
    until: Until = None,
    project: Project = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """List the kinds of question, those with most calls first. With --since also what changed against before."""
    if context.invoked_subcommand is not None:
        return
    with asking(url, store) as monitor:
        found = monitor.groups(since=since, until=until, project=project, model=model)
    if as_json:
        print_json(found)
        return
    if found["problem"]:
        console.print(f"{found['problem'][0].upper()}{found['problem'][1:]}.", soft_wrap=True)
    if found["calls"]:
        console.print(group_table(found))
        if found["scores_sampled"] < 1:
            console.print(f"Scores are those of {found['scores_sampled']:.0%} of the calls.")


@groups.command("show")
def shown(
    group: Annotated[str, typer.Argument(help="A group's id, as `assay groups` shows it, or other.")],
    url: Url = None,
    store: StoreUrl = None,
    since: Since = None,
    until: Until = None,
    project: Project = None,
    as_json: Json = False,
) -> None:
    """Show one kind of question: its templates, scores, and what changed against the period before --since."""
    with asking(url, store) as monitor:
        found = monitor.group(group, since=since, until=until, project=project)
    if as_json:
        print_json(found)
        return
    console.print(Text(found["name"], style="bold"))
    if not found["calls"]:
        console.print("No calls in this range.")
        return
    told = ", ".join(found["words"])
    console.print(Text(f"{found['calls']:,} calls, {found['share']:.0%} of all" + (f"; {told}" if told else "")))
    console.print(template_table(found["templates"]))
    if found["scores"]:
        console.print(score_table(found["scores"]))
    if found["changes"]:
        console.print(change_table(found["changes"]))
    console.print(f"All of them: GET /api/calls?prompt_group={found['id']}", highlight=False)


@groups.command("refit")
def refitted(url: Url = None, store: StoreUrl = None, project: Project = None, as_json: Json = False) -> None:
    """Find the kinds of question anew now. The server does that by itself as calls come in."""
    with asking(url, store) as monitor:
        found = monitor.refit_groups(project)
    if as_json:
        print_json(found)
        return
    for one in found:
        console.print(Text(f"{one['project']}: {one['groups']} groups"))
    if not found:
        console.print("No call with a prompt is stored.")


def similar(
    span_id: Annotated[str, typer.Argument(help="A call's span id; leave it out with --text.")] = "",
    text: Annotated[str, typer.Option(help="A question in your own words instead of a call.")] = "",
    url: Url = None,
    store: StoreUrl = None,
    since: Since = None,
    until: Until = None,
    project: Project = None,
    model: Model = None,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    as_json: Json = False,
) -> None:
    """Find calls that ask something like a call, or like a text."""
    if bool(span_id) == bool(text):
        raise AssayError("name either a span id or --text")
    filters = {"since": since, "until": until, "project": project, "model": model, "limit": limit}
    with asking(url, store) as monitor:
        found = monitor.similar_to(text, **filters) if text else monitor.similar(span_id, **filters)
    show(found, as_json, similar_table)
