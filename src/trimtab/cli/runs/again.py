"""The verb that makes a run again."""

from __future__ import annotations

from typing import Annotated

import typer

from trimtab.app.runs.found_run import find_run
from trimtab.app.runs.reproduction import Reproduction
from trimtab.app.runs.reproduction import reproduce as make_again
from trimtab.cli.context import Context, Verbs
from trimtab.cli.terminal import console, say
from trimtab.errors import UsageError

app = Verbs()

STYLES = {"same": "green", "different": "red", "unknown": "yellow"}


@app.verb(model=True)
def reproduce(
    context: Context,
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="Id of a run or its start, a bundle such as delay/3, or a role."),
    ],
    here: Annotated[
        bool, typer.Option("--here", help="Train with the packages of this environment; says which pins differ.")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Make the environment from what uv has in its cache alone.")
    ] = False,
    pin: Annotated[
        list[str] | None,
        typer.Option("--pin", metavar="NAME==VERSION", help="Take another version of a package of the run."),
    ] = None,
) -> None:
    """Train a run again from its pins, code, data set and seed, and say what differs.

    Exit code 1 when model, metrics or predictions are not the same.
    """
    if here and (offline or pin):
        raise UsageError("--here takes the packages of this environment; leave --offline and --pin out")
    workspace = context.workspace
    found = find_run(workspace, run, context.model)
    tell = (lambda text: None) if context.json else (lambda text: say(f"{text} ..."))
    result = make_again(workspace, found, here=here, offline=offline, changes=pin or (), tell=tell)
    context.show(result, show)
    if not result.identical:
        raise typer.Exit(1)


def show(result: Reproduction) -> None:
    """Print what was compared, a line each."""
    width = max(len(part.name) for part in result.parts)
    for part in result.parts:
        style = STYLES[part.verdict]
        console.print(f"{part.name:<{width}}  [{style}]{part.verdict:<9}[/]  ", end="")
        say(part.text)
        for file in result.files if part.name == "model" and part.verdict == "different" else ():
            if file.verdict == "different":
                say(f"{'':<{width + 13}}{file.name}: {file.text}")
    say(f"run {result.run}: " + ("identical" if result.identical else "not identical"))
