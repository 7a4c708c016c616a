"""`assay quality`: how well the scores agree with people."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from assay.cli_options import console
from assay.terminal import bench_table

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
