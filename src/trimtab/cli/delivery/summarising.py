"""The verb that sums a pipeline up, for job summaries and pull requests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab import settings
from trimtab.app.delivery import summary_text
from trimtab.app.delivery.delivery_summary import DeliverySummary, delivery_summary
from trimtab.cli.context import Context, Verbs
from trimtab.cli.terminal import say, write_file
from trimtab.errors import TrimtabError, UsageError

app = Verbs()

STDOUT = "-"


@app.verb(model=True)
def summary(
    context: Context,
    markdown: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write Markdown for a pull request into FILE alone; - prints it. Left out, it is appended to the file "
            "that GITHUB_STEP_SUMMARY names, if that is set.",
        ),
    ] = None,
    run: Annotated[
        str | None, typer.Option(metavar="ID", help="Id of a run, or its start; the newest of each model by default.")
    ] = None,
) -> None:
    """Sum up data, run, gates and cost, and what deploys next.

    All models unless `--model` names one. Exit code 0 also when a stage failed before: the summary then says so.
    """
    if markdown == STDOUT and context.json:
        raise UsageError("--json and --markdown - both print; name a file: --markdown FILE")
    try:
        found = delivery_summary(context.workspace, context.env, model=context.model, run=run)
    except UsageError:
        raise
    except TrimtabError as error:
        _write(markdown, summary_text.unreadable(str(error), context.env))
        raise
    text = summary_text.markdown(found)
    if markdown == STDOUT:
        typer.echo(text, nl=False)
        return
    _write(markdown, text)
    context.show(found, _show)


def _write(file: str | None, text: str) -> None:
    if file == STDOUT:
        typer.echo(text, nl=False)
    elif file is not None:
        write_file("--markdown", Path(file), text, make_folder=True)
    elif (steps := settings.read().step_summary) is not None:
        try:
            with steps.open("a", encoding="utf-8") as job:
                job.write(text + "\n")
        except OSError as error:
            raise UsageError(f"GITHUB_STEP_SUMMARY={steps}: cannot be written: {error.strerror}") from error


def _show(found: DeliverySummary) -> None:
    say(*summary_text.lines(found))
