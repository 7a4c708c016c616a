"""`assay quality`: how well the scores agree with people."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from assay.cli_options import Model, Project, Since, StoreUrl, Until, Url, asking, console
from assay.terminal import bench_table
from assay.terminal_quality import agreement_table, consistency_table, inconsistent_table, rater_table

quality = typer.Typer(no_args_is_help=True, help="Quality scores: how well they agree with people.")


@quality.command("bench")
def quality_bench(
    data: Annotated[Path, typer.Option(help="A folder of labelled .jsonl files, as docs/quality.md describes.")],
    sets: Annotated[list[str] | None, typer.Option("--set", help="local or lexical; may be repeated.")] = None,
    split: Annotated[str, typer.Option(help="Only rows of this split: train, dev or test.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list instead of a table.")] = False,
) -> None:
    """Measure scorer sets against people's labels: agreement, what cannot be assessed, speed."""
    import msgspec

    from assay.quality.bench import bench
    from assay.quality.sets import SETS

    for name in sets or ():
        if name not in SETS:
            raise typer.BadParameter(
                f"no scorer set {name!r}; there are: {', '.join(sorted(SETS))}", param_hint="--set"
            )
    found = bench(data, sets or ["local"], split)
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(list(found)), indent=2).decode() + "\n")
    else:
        console.print(bench_table(msgspec.to_builtins(list(found))))


@quality.command("agreement")
def quality_agreement(
    url: Url = None,
    store: StoreUrl = None,
    since: Since = None,
    until: Until = None,
    project: Project = None,
    model: Model = None,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="A score from here on is a yes.")] = 0.5,
) -> None:
    """Show how well the scores agree with what people said of the same calls, and people with each other."""
    with asking(url, store) as monitor:
        found = monitor.agreement(since=since, until=until, project=project, model=model, threshold=threshold)
    if not found["labels"]:
        console.print("No labels yet: give thumbs on the page, or use assay.score(call, name, value).")
        return
    console.print(agreement_table(found["scorers"]))
    if found["raters"]:
        console.print(rater_table(found["raters"]))
    if found["cut"]:
        console.print(f"Only the newest {found['labels']:,} labels were read.")


@quality.command("consistency")
def quality_consistency(
    url: Url = None,
    store: StoreUrl = None,
    since: Since = None,
    until: Until = None,
    project: Project = None,
    model: Model = None,
) -> None:
    """Show how often, and how far, answers to the same prompt differ, by model and temperature."""
    with asking(url, store) as monitor:
        found = monitor.consistency(since=since, until=until, project=project, model=model)
    if not found["by_model"]:
        console.print("No prompt was asked twice of the same model with the same parameters.")
        return
    console.print(consistency_table(found["by_model"]))
    if found["prompts"]:
        console.print(inconsistent_table(found["prompts"]))
    if found["cut"]:
        console.print("Only the newest conversations were compared: narrow the time range for others.")
