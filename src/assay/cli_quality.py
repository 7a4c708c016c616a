"""`assay quality`: how well the scores agree with people, and fitting them to a project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from assay.cli_options import Json, Model, Project, Since, StoreUrl, Until, Url, asking, console, print_json
from assay.config import load_config
from assay.errors import AssayError
from assay.terminal import backfill_progress, bench_table, fit_table, fits_table
from assay.terminal_quality import agreement_table, consistency_table, inconsistent_table, rater_table

quality = typer.Typer(no_args_is_help=True, help="Quality scores: how well they agree with people, and fitting.")

OfProject = Annotated[str, typer.Option("--project", help="The project that it is for.")]
Metric = Annotated[str, typer.Option(help="Only this score; all that can be fitted if left out.")]


@quality.command("bench")
def quality_bench(
    data: Annotated[Path, typer.Option(help="A folder of labelled .jsonl files, as docs/quality.md describes.")],
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="local, lexical, onnx or judge; may be repeated.")
    ] = None,
    split: Annotated[str, typer.Option(help="Only rows of this split: train, dev or test.")] = "",
    fit: Annotated[
        bool, typer.Option("--fit", help="Also the local set, fitted to each toxicity file's rows of split train.")
    ] = False,
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
    found = bench(data, sets or ["local"], split, load_config().quality.onnx, fit=fit)
    if as_json:
        print_json(list(found))
    else:
        console.print(bench_table(msgspec.to_builtins(list(found))))


@quality.command("rubrics")
def quality_rubrics(
    write: Annotated[Path | None, typer.Option(help="Copy the shipped rubrics into this folder, to edit.")] = None,
) -> None:
    """Show what the judge can be asked, or copy it to edit; quality.judge.rubrics then names the folder."""
    from assay.quality.judge.rubric import load_rubrics, write_rubrics

    if write is None:
        judge = load_config().quality.judge
        for name, rubric in load_rubrics(judge.rubrics if judge else "").items():
            console.print(f"{name}: {rubric.text.splitlines()[0]}", markup=False, highlight=False, soft_wrap=True)
        return
    written, kept = write_rubrics(write)
    for path, what in [*((path, "wrote") for path in written), *((path, "left as it is:") for path in kept)]:
        console.print(f"{what} {path}", markup=False, highlight=False, soft_wrap=True)


@quality.command("fit")
def quality_fit(
    project: OfProject = "default",
    metric: Metric = "",
    data: Annotated[
        Path | None, typer.Option(help="Labelled rows (.jsonl, docs/quality.md) in place of the project's own labels.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only measure; keep nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Use it even where it is worse on held-out rows.")] = False,
    as_json: Json = False,
    url: Url = None,
    store: StoreUrl = None,
) -> None:
    """Learn toxicity and thresholds from a project's labels, and show what that changes on rows not learnt from."""
    rows, about = _rows(data, metric) if data else (None, metric)
    with asking(url, store) as monitor:
        found = monitor.fit(project, metric=about, rows=rows, dry_run=dry_run, force=force)
    if as_json:
        print_json(found)
        return
    for fit in found["fits"]:
        console.print(fit_table(fit))
        console.print(Text(_told(fit, project, dry_run)), soft_wrap=True)
    for reason in found["skipped"].values():
        console.print(Text(reason), soft_wrap=True)


@quality.command("fits")
def quality_fits(
    project: Project = None,
    as_json: Json = False,
    url: Url = None,
    store: StoreUrl = None,
) -> None:
    """List every version that was fitted, and which are in use."""
    with asking(url, store) as monitor:
        found = monitor.fits(project)
    if as_json:
        print_json(found)
    else:
        console.print(fits_table(found) if found else "Nothing was fitted yet: see `assay quality fit --help`.")


@quality.command("use")
def quality_use(
    version: Annotated[str, typer.Argument(help="A version that `assay quality fits` lists, or: shipped")],
    project: OfProject = "default",
    metric: Metric = "",
    url: Url = None,
    store: StoreUrl = None,
) -> None:
    """Go back (or forward) to another version."""
    with asking(url, store) as monitor:
        used = monitor.use_fit(version, project, metric)
    for one in used:
        console.print(Text(f"{project}: {one['metric']} now uses {one['version']}"), soft_wrap=True)


def _rows(data: Path, metric: str) -> tuple[list[dict[str, Any]], str]:
    """The rows of a file, and the metric that its name begins with unless one is named."""
    import msgspec

    from assay.quality.fit.labels import METRICS
    from assay.quality.rows import read_rows

    about = metric or data.stem.split("-", 1)[0]
    if about not in METRICS:
        raise AssayError(
            f"{data.name} does not begin with the name of a score: name one of {', '.join(METRICS)} by --metric"
        )
    return msgspec.to_builtins(read_rows(data)), about


def _told(fit: dict[str, Any], project: str, dry_run: bool) -> str:
    left_out = f"{fit['left_out']} copies of learnt texts left out; " if fit["left_out"] else ""
    unknown = f"{fit['not_assessable']} could not be assessed; " if fit["not_assessable"] else ""
    if dry_run:
        state = "nothing was kept (--dry-run)"
    elif fit["live"]:
        state = (
            f"version {fit['version']} is in use for {project}; "
            f"back with: assay quality use shipped --project {project} --metric {fit['metric']}"
        )
    else:
        state = f"version {fit['version']} is kept but not used: it is worse on the held-out rows (--force uses it)"
    return f"{left_out}{unknown}{fit['seconds']:.1f} s; {state}"


@quality.command("backfill")
def quality_backfill(
    url: Url = None,
    store: StoreUrl = None,
    since: Since = None,
    until: Until = None,
    project: Project = None,
    scorers: Annotated[
        list[str] | None, typer.Option("--scorer", help="Only this score, such as toxicity; may be repeated.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Processes that score, where the server runs.")] = 1,
    dask: Annotated[str, typer.Option(help="A Dask scheduler instead, such as tcp://127.0.0.1:8786.")] = "",
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew, not where it was interrupted.")] = False,
) -> None:
    """Score history anew. Interrupted, the same command goes on where it stopped."""
    what = {"since": since, "until": until, "project": project, "scorers": scorers}
    with asking(url, store) as monitor, backfill_progress(console) as progress:
        task = progress.add_task("scoring", total=None)
        found = {"done": 0, "scores": 0}
        for found in monitor.backfill(**what, processes=processes, dask=dask, restart=restart):
            progress.update(task, completed=found["done"], total=found["total"])
    console.print(f"{found['done']:,} calls scored, {found['scores']:,} scores written", highlight=False)


@quality.command("follow")
def quality_follow(
    store: StoreUrl = None,
    share: Annotated[str | None, typer.Option(help="Such as 2/3: the second of three that share the calls.")] = None,
    once: Annotated[bool, typer.Option("--once", help="End when no call is left.")] = False,
) -> None:
    """Score new calls of a store without serving: beside a server elsewhere, on a ClickHouse server's store."""
    from assay.server.serve import follow

    quality_settings = {} if share is None else {"quality": {**load_config().quality.model_dump(), "share": share}}
    config = load_config(store=store, **quality_settings)
    said = f"scoring share {config.quality.share} of {config.shown_store}"
    scored = follow(config, lambda: console.print(said, highlight=False, soft_wrap=True), once=once)
    console.print(f"{scored:,} calls scored", highlight=False)


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
