"""`assay models`: classical models, how good they are, and what drifted; `assay drift`: what moved in LLM calls."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from assay.cli_options import Json, Project, Since, StoreUrl, Until, Url, asking, console, filtered, print_json, show
from assay.terminal_models import (
    conversation_drift_tables,
    drift_tables,
    model_table,
    performance_tables,
    quality_tables,
)

DAYS = "7d"
"""What is looked at where nobody says since when."""

models = typer.Typer(help="Classical models: performance before and after labels come, drift, data quality.")

Name = Annotated[str, typer.Argument(help="The model's name, as `assay models` lists it.")]
Version = Annotated[str | None, typer.Option(help="Only this version of the model.")]
Environment = Annotated[str | None, typer.Option(help="Only this environment.")]
Segment = Annotated[str | None, typer.Option(help="FEATURE=VALUE, or FEATURE=LOW..HIGH, either end open.")]
VersusSince = Annotated[str | None, typer.Option(help="Against the predictions from then on, not the reference.")]
VersusUntil = Annotated[str | None, typer.Option(help="... and before then.  [default: where --since begins]")]
VersusVersion = Annotated[str | None, typer.Option(help="Or against another version of the model.")]


@models.callback(invoke_without_command=True)
def listed(
    context: typer.Context,
    url: Url = None,
    store: StoreUrl = None,
    since: Since = None,
    until: Until = None,
    project: Project = None,
    as_json: Json = False,
) -> None:
    """List the classical models, those with most predictions first."""
    if context.invoked_subcommand is None:
        with asking(url, store) as monitor:
            found = monitor.models(since=since, until=until, project=project)
        show(found, as_json, model_table)


@models.command("performance")
def performance(
    name: Name,
    url: Url = None,
    store: StoreUrl = None,
    since: Since = None,
    until: Until = None,
    project: Project = None,
    environment: Environment = None,
    version: Version = None,
    segment: Segment = None,
    by: Annotated[str | None, typer.Option(help="Also for each version, or each value of a feature.")] = None,
    positive: Annotated[str | None, typer.Option(help="Of two classes the one precision and recall are of.")] = None,
    as_json: Json = False,
) -> None:
    """Show how good a model is: measured where labels have come, estimated where not. Of all time unless --since."""
    asked = _asked(since, until, project, environment, version, segment) | {"positive": positive}
    with asking(url, store) as monitor:
        found = {"measured": monitor.model_performance(name, **asked, by=by)}
        found["estimated"] = monitor.model_estimate(name, **asked)
    if as_json:
        print_json(found)
    else:
        console.print(performance_tables(**found))


@models.command("drift")
def drift(
    name: Name,
    url: Url = None,
    store: StoreUrl = None,
    since: Since = DAYS,
    until: Until = None,
    project: Project = None,
    environment: Environment = None,
    version: Version = None,
    segment: Segment = None,
    versus_since: VersusSince = None,
    versus_until: VersusUntil = None,
    versus_version: VersusVersion = None,
    as_json: Json = False,
) -> None:
    """Show which features, and whether prediction and confidence, moved from the reference, or from another time."""
    asked = _asked(since, until, project, environment, version, segment)
    versus = {"versus_since": versus_since, "versus_until": versus_until, "versus_version": versus_version}
    with asking(url, store) as monitor:
        found = monitor.model_drift(name, **asked, **versus)
    if as_json:
        print_json(found)
    else:
        console.print(drift_tables(found))


@models.command("quality")
def quality(
    name: Name,
    url: Url = None,
    store: StoreUrl = None,
    since: Since = DAYS,
    until: Until = None,
    project: Project = None,
    environment: Environment = None,
    version: Version = None,
    segment: Segment = None,
    as_json: Json = False,
) -> None:
    """Show what is wrong with the features that a model gets, and what failed."""
    with asking(url, store) as monitor:
        found = monitor.model_data_quality(name, **_asked(since, until, project, environment, version, segment))
    if as_json:
        print_json(found)
    else:
        console.print(quality_tables(found))


@filtered
def conversation_drift(
    filters: dict[str, Any],
    versus_since: Annotated[str | None, typer.Option(help="Against the calls from then on.")] = None,
    versus_until: Annotated[str | None, typer.Option(help="... and before then.")] = None,
    as_json: Json = False,
    url: Url = None,
    store: StoreUrl = None,
) -> None:
    """Show what moved in LLM calls of 7 days against those before: prompts, responses, lengths, languages, scores."""
    asked = {**filters, "since": filters["since"] or DAYS}
    with asking(url, store) as monitor:
        found = monitor.drift(**asked, versus_since=versus_since, versus_until=versus_until)
    if as_json:
        print_json(found)
    else:
        console.print(conversation_drift_tables(found))


def _asked(
    since: str | None,
    until: str | None,
    project: str | None,
    environment: str | None,
    version: str | None,
    segment: str | None,
) -> dict[str, Any]:
    return {
        "since": since,
        "until": until,
        "project": project,
        "environment": environment,
        "version": version,
        "segment": segment,
    }
