"""The verb demo: an example project, from nothing to months of live traffic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab.app.project import templates
from trimtab.app.replay.session import ReplayOptions
from trimtab.cli.context import Context, Verbs
from trimtab.cli.replay import show_replay
from trimtab.cli.stages import run_all
from trimtab.cli.terminal import console, heading
from trimtab.clock import parse_time
from trimtab.errors import UsageError, nearest

app = Verbs()

ENVIRONMENT = "local"


@app.command()
def demo(
    template: Annotated[str, typer.Argument(help="Name of the template: flights, bikes.")] = "flights",
    into: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the project.")] = Path("demo"),
    until: Annotated[str | None, typer.Option(metavar="TIME", help="End of the replay.")] = None,
) -> None:
    """Make an example project, run the loop on it, and show what it did.

    Trains on the first months of the data, then replays the months after them as live traffic.
    """
    if template not in templates.DEMOS:
        raise UsageError(f"no demo '{template}'.{nearest(template, templates.DEMOS)}")
    shown = templates.DEMOS[template]
    heading("1 of 3  The project and its data")
    templates.init(template, into)
    context = Context(project=into, env=ENVIRONMENT)
    console.print(f"{context.workspace.project.folder}: trimtab.yaml, definitions.py, checks.py, data/", soft_wrap=True)
    heading("2 of 3  ingest, validate, features, train, evaluate, register, deploy")
    start, end = parse_time(shown.trained_on_until), parse_time(until or shown.end)
    run_all(context.workspace, context.definition.name, as_of=start, measured=False)
    heading("3 of 3  what came after as live traffic, with the loop on")
    show_replay(context, ReplayOptions(environment=ENVIRONMENT, start=start, end=end, approve=True))
    console.print(
        f"\nLook closer:  trimtab status -p {into}   trimtab lineage -p {into} {shown.prediction}", soft_wrap=True
    )
