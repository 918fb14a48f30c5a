"""The verb that serves. Kept apart, so that the gateway imports only what it needs."""

from __future__ import annotations

from typing import Annotated

import typer

from trimtab.app.serving import gateway_config
from trimtab.cli.options import ENVIRONMENT, PROJECT, EnvironmentName, ProjectFolder, workspace
from trimtab.serving import serve as serve_forever

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.callback()
def group() -> None:
    """Keep the verb a subcommand even while it is the only one."""


@app.command()
def serve(
    project: ProjectFolder = PROJECT,
    env: EnvironmentName = ENVIRONMENT,
    host: Annotated[str | None, typer.Option(help="Address to bind; loopback by default.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")] = None,
) -> None:
    """Run the gateway alone: predictions, feedback, health."""
    serve_forever(gateway_config(workspace(project, env), host=host, port=port))
