"""The verb demo: an example project, from nothing to a year of live traffic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab.app import templates
from trimtab.cli.options import workspace
from trimtab.cli.replay import run_replay
from trimtab.cli.stages import run_all
from trimtab.cli.terminal import console, heading
from trimtab.clock import parse_time

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

FLIGHTS_TRAINED_ON_UNTIL = "2013-03-01T05:00Z"
"""Two months; midnight in New York."""
FLIGHTS_END = "2014-01-01T05:00Z"


@app.callback()
def group() -> None:
    """Keep the verb a subcommand even while it is the only one."""


@app.command()
def demo(
    template: Annotated[str, typer.Argument(help="Name of the template: flights.")] = "flights",
    into: Annotated[Path, typer.Option(help="Folder of the project.")] = Path("demo"),
    until: Annotated[str, typer.Option(help="End of the replay.")] = FLIGHTS_END,
) -> None:
    """Make the example, train on its first two months, replay the rest of the year with the loop on."""
    heading("1 of 3  The project and its data")
    templates.init(template, into)
    ws = workspace(into, "local")
    console.print(f"{ws.project.folder}: trimtab.yaml, definitions.py, checks.py, data/", soft_wrap=True)
    heading("2 of 3  ingest, validate, features, train, evaluate, register, deploy")
    trained_until = parse_time(FLIGHTS_TRAINED_ON_UNTIL)
    run_all(ws, ws.model(None).name, as_of=trained_until, measured=False)
    heading("3 of 3  the rest of the year as live traffic, with the loop on")
    run_replay(ws, env="local", model=None, start=trained_until, end=parse_time(until), up=True, approve=True)
    console.print(
        f"\nLook closer:  trimtab status -p {into}   trimtab lineage -p {into} flights-100000", soft_wrap=True
    )
