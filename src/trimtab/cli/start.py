"""The verb that begins a project: init."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab.app.project import templates
from trimtab.cli.context import Verbs
from trimtab.cli.terminal import console

app = Verbs()


@app.command()
def init(
    template: Annotated[str, typer.Argument(help="Name of the template: flights, bikes, fraud, blank.")] = "flights",
    into: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder to make; the template's name by default.")
    ] = None,
) -> None:
    """Make a project from a template.

    Copies the template and makes its data. Files that exist already are kept.
    """
    folder = into or Path(template)
    written = templates.init(template, folder)
    for name in written:
        console.print(f"  {folder / name}", soft_wrap=True)
    console.print(f"{folder}: " + ("ready. Next: " if written else "was ready already. Next: "))
    for step in (f"cd {folder}", *templates.first_steps(template)):
        console.print(f"  {step}", soft_wrap=True)
