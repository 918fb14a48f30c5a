"""The verb that writes files for other systems, from the policy and the definitions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from trimtab.app.project.project import open_project
from trimtab.cli.context import Context, Verbs
from trimtab.cli.terminal import heading, say
from trimtab.errors import UsageError, nearest
from trimtab.policy.model import Policy
from trimtab.targets import grafana

app = Verbs()

TARGETS: dict[str, Callable[[Policy], dict[str, str]]] = {"grafana": grafana.files}
"""By target: the texts of its files, by their paths in the project."""


@app.verb()
def export(
    context: Context,
    target: Annotated[str, typer.Argument(metavar="|".join(TARGETS), help="The system.")],
    file: Annotated[str | None, typer.Argument(metavar="FILE", help="Print this file alone, by its name.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Write the files into deploy/ of the project.")] = False,
) -> None:
    """Print the files of another system, or write them into the project.

    They are made from trimtab.yaml; the same policy gives the same files.
    """
    if target not in TARGETS:
        raise UsageError(f"trimtab export {target}: no such target.{nearest(target, TARGETS)}")
    project = open_project(context.project)
    files = TARGETS[target](project.policy)
    if file is not None:
        names = {Path(path).name: path for path in files}
        if file not in names:
            raise UsageError(f"trimtab export {target} {file}: no such file.{nearest(file, names)}")
        files = {names[file]: files[names[file]]}
    if write:
        _write(project.folder, files)
    context.show(files, lambda files: _show(files, write=write, alone=file is not None))


def _write(folder: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


def _show(files: dict[str, str], *, write: bool, alone: bool) -> None:
    for path, text in files.items():
        if write:
            say(f"written  {path}")
        else:
            if not alone:
                heading(path)
            typer.echo(text, nl=False)
