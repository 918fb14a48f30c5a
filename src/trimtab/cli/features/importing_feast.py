"""Reads the definitions of a Feast repository."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab.app.project.feast_conversion import Imported, Item, convert
from trimtab.app.project.feast_repository import read_repository
from trimtab.cli.context import Context, Verbs
from trimtab.cli.terminal import say
from trimtab.errors import UsageError
from trimtab.units import plural

app = Verbs()


@app.verb(name="import-feast")
def import_feast(
    context: Context,
    repository: Annotated[Path, typer.Argument(metavar="REPO", help="Folder with a feature_store.yaml.")],
    python: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="A Python that can import feast; the one that runs by default."),
    ] = None,
    into: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the definitions there; print them by default.")
    ] = None,
    known_at_created: Annotated[
        bool,
        typer.Option("--known-at-created", help="Take created timestamps as the times at which rows became known."),
    ] = False,
) -> None:
    """Write the definitions of a Feast repository as Trimtab's, and list what has no counterpart.

    The Python files of the repository are run, as `feast apply` does. Exit code 1: something was left out.
    """
    if into is not None and into.exists():
        raise UsageError(f"--into {into}: the file exists; name another one, or move it")
    base = context.project if into is None else into.parent
    made = convert(read_repository(repository, python), repository, base=base, known_at_created=known_at_created)
    if into is not None:
        into.write_text(made.text, encoding="utf-8")
    context.show(made, lambda made: _show(made, into))
    if made.left_out:
        raise typer.Exit(1)


def _show(made: Imported, into: Path | None) -> None:
    if into is None:
        say(made.text)
    numbers = ", ".join(
        plural(number, kind, "Entities" if kind == "Entity" else "") for kind, number in made.converted.items()
    )
    say(f"imported  {made.project}: {numbers or 'nothing'}{'' if into is None else f'; written to {into}'}")
    _show_items("left out", made.left_out)
    _show_items("differs", made.differs)


def _show_items(title: str, items: list[Item]) -> None:
    for each in items:
        say(f"{title:<10}{each.kind} {each.name}: {each.why}")
