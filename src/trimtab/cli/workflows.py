"""The verb that lists retraining workflows, and restarts or forgets those that ended without a result."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer
from rich.markup import escape

from trimtab.app.loop.workflows import Workflows
from trimtab.cli.context import Context, Verbs, print_json, require_action
from trimtab.cli.terminal import console
from trimtab.errors import UsageError

app = Verbs()

ACTIONS = ("list", "restart", "forget")


@app.verb()
def workflows(
    context: Context,
    action: Annotated[str, typer.Argument(metavar="list|restart|forget", help="list, restart or forget.")] = "list",
    workflow: Annotated[
        str | None, typer.Argument(metavar="ID", help="Id of the workflow, as the list shows it.")
    ] = None,
) -> None:
    """List retrainings that have not ended, or ended without a result.

    Restarts or forgets those that ended without a result.
    """
    require_action("workflows", action, ACTIONS)
    if (workflow is None) != (action == "list"):
        raise UsageError(
            f"which workflow? trimtab workflows {action} ID"
            if workflow is None
            else "trimtab workflows list takes no workflow"
        )
    with closing(Workflows(context.workspace.workflows_url)) as found:
        if workflow is None:
            _list(context, found)
        elif action == "restart":
            found.restart(workflow)
            console.print(f"{workflow} goes on where it failed, as soon as `trimtab up` runs", soft_wrap=True)
        else:
            found.forget(workflow)
            console.print(f"{workflow} is forgotten; what its steps wrote stays", soft_wrap=True)


def _list(context: Context, workflows: Workflows) -> None:
    active = {model: workflows.active(model) for model in context.workspace.project.definitions.served}
    dead = workflows.dead()
    if context.json:
        print_json({"active": active, "dead": dead})
        return
    for model, ids in active.items():
        for id_ in ids:
            console.print(f"{id_}: model {model}, not finished", soft_wrap=True)
    for each in dead:
        console.print(f"{each.id}: ended without a result ({escape(each.reason)})", soft_wrap=True)
    if not dead and not any(active.values()):
        console.print("no retraining is under way, and none has ended without a result")
