"""Verbs that begin: init and demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab.app import templates
from trimtab.app.project import open_project
from trimtab.cli.options import console, workspace
from trimtab.cli.replay import run_replay
from trimtab.cli.stages import run_all
from trimtab.clock import parse_time

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

FLIGHTS_TRAINED_ON_UNTIL = "2013-03-01T05:00Z"
"""Two months; midnight in New York."""
FLIGHTS_END = "2014-01-01T05:00Z"

Template = Annotated[str, typer.Argument(help="Name of the template: flights.")]


@app.command()
def init(
    template: Template = "flights",
    into: Annotated[Path | None, typer.Option(help="Folder to make; the template's name by default.")] = None,
) -> None:
    """Copy a template and make its data. Files that are there already are kept."""
    folder = into or Path(template)
    written = templates.init(template, folder)
    for name in written:
        console.print(f"  {folder / name}", soft_wrap=True)
    console.print(f"{folder}: " + ("ready. Next: " if written else "was ready already. Next: "))
    console.print(f"  cd {folder}\n  trimtab run\n  trimtab up", soft_wrap=True)


@app.command()
def demo(
    template: Template = "flights",
    into: Annotated[Path, typer.Option(help="Folder of the project.")] = Path("demo"),
    until: Annotated[str, typer.Option(help="End of the replay.")] = FLIGHTS_END,
) -> None:
    """Make the example, train on its first two months, replay the rest of the year with the loop on."""
    console.rule("1 of 3  The project and its data")
    templates.init(template, into)
    project = open_project(into)
    console.print(f"{project.folder}: trimtab.yaml, definitions.py, checks.py, data/", soft_wrap=True)
    console.rule("2 of 3  ingest, validate, features, train, evaluate, register, deploy")
    ws = workspace(into, "local")
    trained_until = parse_time(FLIGHTS_TRAINED_ON_UNTIL)
    run_all(ws, ws.model(None).name, as_of=trained_until)
    console.rule("3 of 3  the rest of the year as live traffic, with the loop on")
    run_replay(ws, env="local", model=None, start=trained_until, end=parse_time(until), up=True, approve=True)
    console.print(
        f"\nLook closer:  trimtab status -p {into}   trimtab lineage -p {into} flights-100000", soft_wrap=True
    )
