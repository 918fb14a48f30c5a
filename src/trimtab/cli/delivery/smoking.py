"""The verb that tests a running gateway by HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.context import Context, Verbs
from trimtab.errors import StageError

app = Verbs()


@app.verb(model=True)
def smoke(
    context: Context,
    url: Annotated[
        str | None, typer.Argument(metavar="URL", help="Of a gateway; by default the one that runs for the project.")
    ] = None,
    version: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="Version that must serve; by default those of the newest revision."),
    ] = None,
    start: Annotated[
        bool, typer.Option("--start", help="Start a gateway on a free port for the time of the test.")
    ] = False,
    wait: Annotated[str, typer.Option(metavar="DURATION", help="How long a gateway may take to become ready.")] = "60s",
    token_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="Environment variable that holds a token of the gateway.")
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the results as JUnit XML, for a build server.")
    ] = None,
) -> None:
    """Test a running gateway by HTTP: is it ready, and does each model answer as it should?

    Exit code 1 when something is wrong, 3 when the gateway cannot be reached.
    """
    raise StageError(
        f"trimtab smoke is not there yet ({context.project}, {url}, {version}, {start}, {wait}, {token_env}, {junit})"
    )
