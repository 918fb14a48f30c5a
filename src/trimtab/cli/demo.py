"""The verb demo: an example project, from nothing to a year of live traffic."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from trimtab.app.project import templates
from trimtab.cli.context import Context, Verbs
from trimtab.cli.replay import run_replay
from trimtab.cli.stages import run_all
from trimtab.cli.terminal import console, heading
from trimtab.clock import parse_time
from trimtab.errors import UsageError, nearest

app = Verbs()


@dataclass(frozen=True)
class Show:
    """What the demo of a template does."""

    trained_on_until: str
    """The first model learns from what was known by then; the replay begins there."""
    end: str
    prediction: str
    """Id of a prediction to follow back."""


SHOWS = {
    "flights": Show("2013-03-01T05:00Z", "2014-01-01T05:00Z", "flights-100000"),  # midnights in New York
    "bikes": Show("2011-04-01T04:00Z", "2011-10-01T04:00Z", "rides-4000"),  # midnights in Washington
}


@app.command()
def demo(
    template: Annotated[str, typer.Argument(help="Name of the template: flights, bikes.")] = "flights",
    into: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the project.")] = Path("demo"),
    until: Annotated[str | None, typer.Option(metavar="TIME", help="End of the replay.")] = None,
) -> None:
    """Make an example project, run the loop on it, and show what it did.

    Trains on the first months of the data, then replays the months after them as live traffic.
    """
    if template not in SHOWS:
        raise UsageError(f"no demo '{template}'.{nearest(template, SHOWS)}")
    show = SHOWS[template]
    heading("1 of 3  The project and its data")
    templates.init(template, into)
    ws = Context(project=into, env="local").workspace
    console.print(f"{ws.project.folder}: trimtab.yaml, definitions.py, checks.py, data/", soft_wrap=True)
    heading("2 of 3  ingest, validate, features, train, evaluate, register, deploy")
    trained_until = parse_time(show.trained_on_until)
    run_all(ws, ws.model(None).name, as_of=trained_until, measured=False)
    heading("3 of 3  what came after as live traffic, with the loop on")
    end = parse_time(until or show.end)
    run_replay(ws, env="local", model=None, start=trained_until, end=end, up=True, approve=True)
    console.print(
        f"\nLook closer:  trimtab status -p {into}   trimtab lineage -p {into} {show.prediction}", soft_wrap=True
    )
