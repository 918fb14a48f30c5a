"""The verb that begins: init."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab.app.project import templates
from trimtab.cli.terminal import console

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

Template = Annotated[str, typer.Argument(help="Name of the template: flights, bikes, blank.")]


@app.callback()
def group() -> None:
    """Keep the verb a subcommand even while it is the only one."""


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
    for step in (f"cd {folder}", *templates.first_steps(template)):
        console.print(f"  {step}", soft_wrap=True)
