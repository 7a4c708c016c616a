"""`assay quality`: how well the scores agree with people."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from assay.cli_options import console
from assay.config import load_config
from assay.terminal import bench_table

quality = typer.Typer(no_args_is_help=True, help="Quality scores: how well they agree with people.")


@quality.command("bench")
def quality_bench(
    data: Annotated[Path, typer.Option(help="A folder of labelled .jsonl files, as docs/quality.md describes.")],
    sets: Annotated[list[str] | None, typer.Option("--set", help="local, lexical or judge; may be repeated.")] = None,
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


@quality.command("rubrics")
def quality_rubrics(
    write: Annotated[Path | None, typer.Option(help="Copy the shipped rubrics into this folder, to edit.")] = None,
) -> None:
    """Show what the judge can be asked, or copy it to edit; quality.judge.rubrics then names the folder."""
    from assay.quality.rubric import load_rubrics, write_rubrics

    if write is None:
        judge = load_config().quality.judge
        for name, rubric in load_rubrics(judge.rubrics if judge else "").items():
            console.print(f"{name}: {rubric.text.splitlines()[0]}", markup=False, highlight=False, soft_wrap=True)
        return
    written, kept = write_rubrics(write)
    for path, what in [*((path, "wrote") for path in written), *((path, "left as it is:") for path in kept)]:
        console.print(f"{what} {path}", markup=False, highlight=False, soft_wrap=True)
