"""The verb that imports models and settings of other systems."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from trimtab import settings
from trimtab.app.exchange.bento_import import read_bento
from trimtab.app.exchange.found_models import Imported, bring_in
from trimtab.app.exchange.kserve_import import read_kserve
from trimtab.app.exchange.mlflow_import import import_mlflow
from trimtab.cli.context import Context, Verbs, require_action
from trimtab.cli.terminal import say
from trimtab.errors import UsageError

app = Verbs()

SYSTEMS = ("mlflow", "kserve", "bento")


@app.verb(name="import")
def import_(
    context: Context,
    system: Annotated[str, typer.Argument(metavar="mlflow|kserve|bento", help="The system.")],
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Address, file or folder.")],
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", metavar="NAME", help="Of these models; all by default.")
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option("--into", metavar="FOLDER", help="Project folder; drafted when it holds no project."),
    ] = None,
    mount: Annotated[
        list[str] | None,
        typer.Option("--mount", metavar="CLAIM=FOLDER", help="Of kserve: the local folder of a volume claim."),
    ] = None,
    trust: Annotated[
        list[str] | None, typer.Option("--trust", metavar="NAME", help="Of a drafted project: serving.trust.")
    ] = None,
) -> None:
    """Import models of another system, and draft a project for them.

    A project that defines a model of the same name gets its versions as bundles, and their aliases as revisions. Where
    there is no project, one is drafted. Exit code 1: something was left out.
    """
    require_action("import", system, SYSTEMS)
    folder = into or context.project
    if trust and (folder / "trimtab.yaml").exists():
        raise UsageError(f"--trust is for a new project; this one says it in {folder / 'trimtab.yaml'}: serving.trust")
    if mount and system != "kserve":
        raise UsageError(f"--mount belongs to: trimtab import kserve, not to {system}")
    names, trusted, by = model or (), trust or (), settings.login()
    if system == "mlflow":
        _show(context, import_mlflow(folder, context.env, source, names=names, trust=trusted, by=by))
        return
    with tempfile.TemporaryDirectory(prefix="trimtab-") as place:
        path = Path(source).expanduser()
        found = read_kserve(path, _mounts(mount or ())) if system == "kserve" else read_bento(path, Path(place))
        _show(context, bring_in(folder, context.env, found, names=names, trust=trusted, by=by))


def _mounts(given: Iterable[str]) -> dict[str, Path]:
    found = {}
    for text in given:
        name, equals, folder = text.partition("=")
        if not (name and equals and Path(folder).expanduser().is_dir()):
            raise UsageError(f"--mount {text}: expected CLAIM=FOLDER, such as models=/data/models")
        found[name] = Path(folder).expanduser()
    return found


def _show(context: Context, found: Iterable[Imported]) -> None:
    done: list[Imported] = []
    for each in found:
        done.append(each)
        if not context.json:
            say(f"{each.outcome:<9}  {each.source}: {each.detail}")
    context.show(done, lambda _: None)
    if any(each.outcome == "left out" for each in done):
        raise typer.Exit(1)
