"""The target of `trimtab export` that is a server instead of files."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.app.exchange.mlflow_push import Pushed, push, without_password
from trimtab.cli.context import Context
from trimtab.cli.terminal import say
from trimtab.errors import UsageError
from trimtab.units import plural

MLFLOW = "mlflow"
PUSHED = {MLFLOW: "runs, models and aliases, pushed to a tracking server: --to URI"}


def push_to_mlflow(context: Context, to: str | None, *, everything: bool) -> None:
    """Push the models of a project, or the one of `--model`, and say what was new. Raises UsageError, StoreError."""
    if to is None:
        raise UsageError(f"trimtab export {MLFLOW} needs --to URI, such as --to https://mlflow.example.com")
    workspace = context.workspace
    models = list(workspace.project.definitions.models) if context.model is None else [context.definition.name]
    found: list[Pushed] = []
    for each in push(workspace, to, models=models, everything=everything):
        found.append(each)
        if not context.json:
            say(f"{each.state:<9}  {each.kind:<7}  {each.here} -> {each.there}")
    context.show(found, lambda found: _sum_up(found, to))


def _sum_up(found: Sequence[Pushed], to: str) -> None:
    if not found:
        say("nothing to push: no bundle serves; --all pushes all runs and bundles")
        return
    new = sum(each.state != "known" for each in found)
    say(f"{plural(new, 'change')} at {without_password(to)}; {len(found) - new} were there already")
