"""The verb that lists retraining workflows, and restarts or forgets those that ended without a result."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer
from rich.markup import escape

from trimtab.app.loop.workflows import Workflows
from trimtab.cli.options import (
    ENVIRONMENT,
    PROJECT,
    EnvironmentName,
    Json,
    ProjectFolder,
    print_json,
    workspace,
)
from trimtab.cli.terminal import console
from trimtab.errors import UsageError, nearest

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

ACTIONS = ("list", "restart", "forget")


@app.callback()
def group() -> None:
    """Keep the verb a subcommand even while it is the only one."""


@app.command()
def workflows(
    action: Annotated[str, typer.Argument(help="list, restart or forget.")] = "list",
    workflow: Annotated[str | None, typer.Argument(help="Id of the workflow, as the list shows it.")] = None,
    project: ProjectFolder = PROJECT,
    env: EnvironmentName = ENVIRONMENT,
    json: Json = False,
) -> None:
    """List the retrainings that have not ended; restart or forget those that ended without a result."""
    if action not in ACTIONS:
        raise UsageError(f"trimtab workflows {action}: no such action.{nearest(action, ACTIONS)}")
    if (workflow is None) != (action == "list"):
        raise UsageError(
            f"which workflow? trimtab workflows {action} ID"
            if workflow is None
            else "trimtab workflows list takes no workflow"
        )
    ws = workspace(project, env)
    with closing(Workflows(ws.workflows_url)) as found:
        if workflow is None:
            _list(found, tuple(ws.project.definitions.models), json)
        elif action == "restart":
            found.restart(workflow)
            console.print(f"{workflow} goes on where it failed, as soon as `trimtab up` runs", soft_wrap=True)
        else:
            found.forget(workflow)
            console.print(f"{workflow} is forgotten; what its steps wrote stays", soft_wrap=True)


def _list(workflows: Workflows, models: tuple[str, ...], json: bool) -> None:
    active = {model: workflows.active(model) for model in models}
    dead = workflows.dead()
    if json:
        print_json({"active": active, "dead": dead})
        return
    for model, ids in active.items():
        for id_ in ids:
            console.print(f"{id_}: model {model}, not finished", soft_wrap=True)
    for each in dead:
        console.print(f"{each.id}: ended without a result ({escape(each.reason)})", soft_wrap=True)
    if not dead and not any(active.values()):
        console.print("no retraining is under way, and none has ended without a result")
