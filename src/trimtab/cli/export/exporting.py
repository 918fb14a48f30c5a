"""The verbs that write files for other systems, from the policy and the definitions: export and ci."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from trimtab.app.delivery import written_targets
from trimtab.app.delivery.written_targets import TargetFile
from trimtab.cli.context import Context, Verbs
from trimtab.cli.export.pushing import MLFLOW, PUSHED, push_to_mlflow
from trimtab.cli.terminal import heading, say
from trimtab.errors import CheckFailed, UsageError, nearest
from trimtab.targets.target_list import EXPORTS, PIPELINES, Target
from trimtab.units import plural

app = Verbs()

DONE = {"same": "unchanged", "stale": "removed"}
"""What --write did with a file, by its state; any other was written."""

File = Annotated[str | None, typer.Argument(metavar="FILE", help="Print this file alone, by its name or path.")]
Write = Annotated[bool, typer.Option("--write", help="Write the files into the project.")]
Check = Annotated[bool, typer.Option("--check", help="Fail when written files differ from what they would be now.")]


@app.verb(model=True)
def export(
    context: Context,
    target: Annotated[
        str | None, typer.Argument(metavar="TARGET", help="The system; left out, they are listed.")
    ] = None,
    file: File = None,
    write: Write = False,
    check: Check = False,
    to: Annotated[
        str | None, typer.Option("--to", metavar="URI", help="Of mlflow: address of the tracking server.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Of mlflow: all runs and bundles; by default those that serve.")
    ] = False,
) -> None:
    """Print the files of another system, or write them into the project.

    `mlflow` has no files: it pushes runs, models and aliases to a server. The others are made from trimtab.yaml and
    definitions.py; the same policy gives the same files. Lines of yours between `trimtab: yours` and `trimtab: end` are
    kept. With --check and no target, all files that were written are compared.
    """
    if target == MLFLOW:
        if file is not None or write or check:
            raise UsageError(f"trimtab export {MLFLOW} writes no files; it takes --to URI, --model and --all")
        push_to_mlflow(context, to, everything=everything)
        return
    if to is not None or everything or context.model is not None:
        raise UsageError(f"--to, --all and --model belong to: trimtab export {MLFLOW} --to URI")
    _run(context, EXPORTS, "export", target, file, write=write, check=check)


@app.verb()
def ci(
    context: Context,
    server: Annotated[
        str | None, typer.Argument(metavar="SERVER", help="The CI server; left out, they are listed.")
    ] = None,
    file: File = None,
    write: Write = False,
    check: Check = False,
) -> None:
    """Print the pipeline of a CI server, or write it into the repository.

    It validates, trains, evaluates, deploys to staging and, after an approval, to production, by the policy.
    """
    _run(context, PIPELINES, "ci", server, file, write=write, check=check)


def _run(
    context: Context, targets: Mapping[str, Target], verb: str, name: str | None, file: str | None, *, write: bool,
    check: bool,
) -> None:  # fmt: skip
    if write and check:
        raise UsageError("--write and --check exclude each other")
    if name is None:
        if write:
            raise UsageError(f"trimtab {verb} --write: name what to write: {', '.join(targets)}")
        if check:
            _check(context, written_targets.written(context.project))
        else:
            pushed = PUSHED if verb == "export" else {}
            context.show({**{each: target.about for each, target in targets.items()}, **pushed}, _list)
        return
    if name not in targets:
        known = [*targets, *PUSHED] if verb == "export" else targets
        raise UsageError(f"trimtab {verb} {name}: no such target.{nearest(name, known)}")
    files = written_targets.target_files(context.project, name)
    if file is not None:
        files = [_named(files, file, f"trimtab {verb} {name}")]
    if check:
        _check(context, files)
        return
    if write:
        written_targets.write(files)
    texts = {each.path: each.text for each in files if each.state != "stale"}
    context.show(texts, lambda _: _show(files, write=write, alone=file is not None))


def _named(files: Sequence[TargetFile], name: str, command: str) -> TargetFile:
    found = [each for each in files if name in (each.path, Path(each.path).name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{command} {name}: several files have this name: {', '.join(each.path for each in found)}")
    raise UsageError(f"{command} {name}: no such file.{nearest(name, [Path(each.path).name for each in files])}")


def _check(context: Context, files: Sequence[TargetFile]) -> None:
    differing = [each for each in files if each.state != "same"]
    context.show([{"target": each.target, "path": each.path, "state": each.state} for each in files], lambda _: None)
    if not context.json:
        for each in differing:
            say(f"{each.state:<9}  {each.path}")
            if each.difference:
                typer.echo(each.difference)
    if differing:
        names = dict.fromkeys(each.target for each in differing)
        again = "; ".join(f"trimtab {'ci' if name in PIPELINES else 'export'} {name} --write" for name in names)
        raise CheckFailed(f"{plural(len(differing), 'file')} not in step with the policy; run: {again}")
    if not context.json:
        say(f"{plural(len(files), 'file')} in step with the policy" if files else "no file was written yet")


def _list(targets: Mapping[str, str]) -> None:
    for name, about in targets.items():
        say(f"{name:<12} {about}")


def _show(files: Iterable[TargetFile], *, write: bool, alone: bool) -> None:
    for each in files:
        if write:
            say(f"{DONE.get(each.state, 'written'):<9}  {each.path}")
        elif each.state != "stale":
            if not alone:
                heading(each.path)
            typer.echo(each.text, nl=False)
