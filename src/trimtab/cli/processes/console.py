"""The verb that serves the console. Kept apart, so that other verbs do not import a web framework."""

from __future__ import annotations

from typing import Annotated

import typer

from trimtab.app.project.console_process import require_console
from trimtab.cli.context import Context, Verbs
from trimtab.cli.terminal import say

require_console()
from trimtab.console.web_process import serve  # noqa: E402  # it needs packages that may be missing

app = Verbs()


@app.verb(json=False)
def console(
    context: Context,
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Address to bind; loopback by default.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = None,
) -> None:
    """Serve the console: the loop as pages, and the control API.

    `trimtab up` does the same beside the loop. Ctrl-C ends it.
    """
    serve(context.workspace, environment=context.env, host=host, port=port, say=say)
