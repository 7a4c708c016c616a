"""The `assay` command: run the server, see the demo, and ask questions of a server or of a store."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from assay.cli_alerts import alerts
from assay.cli_compare import budgets, compare
from assay.cli_doctor import doctor
from assay.cli_files import export, import_
from assay.cli_groups import groups, similar
from assay.cli_models import conversation_drift, models
from assay.cli_options import Host, Port, Project, Since, StoreUrl, Until, Url, asking, console
from assay.cli_quality import quality
from assay.cli_questions import costs, errors, sessions, speed, top, trends, usage
from assay.cli_reports import report
from assay.cli_search import search
from assay.cli_sql import sql
from assay.config import load_config
from assay.errors import AssayError
from assay.terminal import dollars

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Self-hosted observability for LLM applications. Settings: assay.toml, ASSAY_* variables, options.",
)


def main() -> None:
    """Run the command; what Assay refuses is one line on standard error and exit code 1."""
    try:
        app()
    except AssayError as error:
        Console(stderr=True).print(Text(f"assay: {error}", style="red"), soft_wrap=True)
        sys.exit(1)
    except OSError as error:
        Console(stderr=True).print(Text(f"assay: {error.filename}: {error.strerror}", style="red"), soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


@app.callback(invoke_without_command=True)
def root(
    show_version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Self-hosted observability for LLM applications."""
    if show_version:
        console.print(f"assay {version('assay')}")
        raise typer.Exit


@app.command()
def serve(host: Host = None, port: Port = None, store: StoreUrl = None) -> None:
    """Take spans, score them, and show them: collector, API and dashboard on one port, until Ctrl-C."""
    from assay.server.serve import serve as run

    config = load_config(host=host, port=port, store=store)

    def ready(url: str) -> None:
        console.print(f"assay {version('assay')}, store {config.shown_store}", highlight=False, soft_wrap=True)
        console.print(
            f"  dashboard   {url}\n  send spans  {url}/v1/traces\n  API         {url}/api/docs", highlight=False
        )

    run(config, ready)


@app.command()
def demo(
    host: Host = None,
    port: Port = None,
    store: StoreUrl = None,
    once: Annotated[bool, typer.Option("--once", help="End after the fixed conversations, with a report.")] = False,
    time_scale: Annotated[float, typer.Option(min=1.1, help="How fast the simulated day before now passes.")] = 1440.0,
    seed: Annotated[int, typer.Option(help="Another seed, another day.")] = 0,
) -> None:
    """Start everything and drive it with simulated conversations, to look around."""
    from assay.demo import demo as run

    try:
        run(load_config(host=host, port=port, store=store), console, once=once, time_scale=time_scale, seed=seed)
    except KeyboardInterrupt:
        console.print("stopped")


for question in (usage, trends, top, sessions, errors, costs, speed, compare, budgets, search, similar, sql, report):
    app.command()(question)
app.add_typer(groups, name="groups")
app.add_typer(models, name="models")
app.command("drift")(conversation_drift)
app.add_typer(quality, name="quality")
app.add_typer(alerts, name="alerts")
app.command()(export)
app.command("import")(import_)


@app.command()
def reprice(
    url: Url = None,
    store: StoreUrl = None,
    since: Since = None,
    until: Until = None,
    project: Project = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would change.")] = False,
) -> None:
    """Price stored calls anew, with the prices known now and those in assay.toml."""
    with asking(url, store) as monitor:
        found = monitor.reprice(since=since, until=until, project=project, dry_run=dry_run)
    would = "would change" if dry_run else "changed"
    console.print(
        f"{found['changed']:,} of {found['calls']:,} calls {would}: "
        f"{dollars(found['cost_before_usd'])} before, {dollars(found['cost_after_usd'])} after",
        highlight=False,
    )
    for name, count in found["unpriced"].items():
        console.print(Text(f"no price for {name or 'a model without a name'}: {count:,} calls"), soft_wrap=True)


app.command()(doctor)


@app.command()
def simulate(
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 4400,
    seed: Annotated[int, typer.Option(help="Another seed, other answers.")] = 0,
    latency_scale: Annotated[float, typer.Option(min=0, help="Multiplies every latency; 0 answers at once.")] = 1.0,
) -> None:
    """Run the simulated OpenAI-compatible provider alone, until Ctrl-C."""
    from threading import Event

    from assay.simulate.provider import running_provider

    with running_provider(port=port, seed=seed, latency_scale=latency_scale) as url:
        console.print(f"simulated provider: base_url={url!r}, any api_key", highlight=False, soft_wrap=True)
        Event().wait()
