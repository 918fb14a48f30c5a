"""The verb that lets streams flow. Kept apart, so that its process imports only what it needs."""

from __future__ import annotations

from typing import Annotated

import typer

from trimtab.app.ingestion.progress import progress_line
from trimtab.app.ingestion.streaming import stream as run_streams
from trimtab.app.project.process_files import Stop
from trimtab.cli.context import Context, Verbs
from trimtab.cli.terminal import say

app = Verbs()


@app.verb()
def stream(
    context: Context,
    source: Annotated[str | None, typer.Argument(help="Name of one stream; all by default.")] = None,
    until_caught_up: Annotated[
        bool, typer.Option("--until-caught-up", help="End when all messages that there are have landed.")
    ] = False,
    values: Annotated[
        bool,
        typer.Option(
            "--values/--no-values",
            help="Bring online values up to date. Without, `trimtab features` does it later, "
            "which is quicker for a long past.",
        ),
    ] = True,
) -> None:
    """Let streams flow into tables and online values.

    `trimtab up` does the same. Ctrl-C ends it.
    """
    stop = Stop()
    stop.install()

    def tell(line: str) -> None:
        if not context.json:
            say(line)

    done = run_streams(context.workspace, source, until_caught_up=until_caught_up, values=values, say=tell, stop=stop)
    context.show(done, lambda done: say("\n".join(map(progress_line, done))))
