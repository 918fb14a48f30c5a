"""The verb that checks tables again."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from trimtab.app.stages import ingesting
from trimtab.cli.context import Context, Verbs
from trimtab.cli.terminal import console
from trimtab.errors import CheckFailed
from trimtab.records.data import CheckReport

app = Verbs()

SourceName = Annotated[str | None, typer.Argument(help="Source; all of them by default.")]
VERDICT_STYLE = {"pass": "green", "warn": "yellow", "fail": "red"}


@app.verb()
def validate(context: Context, source: SourceName = None) -> None:
    """Check the tables again.

    Exit code 1 when a table fails.
    """
    reports = ingesting.validate(context.workspace, source)
    context.show(reports, show_checks)
    if any(report.verdict == "fail" for report in reports):
        raise CheckFailed("; ".join(report.reason for report in reports if report.verdict == "fail"))


def show_checks(reports: list[CheckReport]) -> None:
    """Print check reports."""
    for r in reports:
        console.print(
            f"validate  {r.table}: [{VERDICT_STYLE[r.verdict]}]{r.verdict}[/]  {escape(r.reason)}", soft_wrap=True
        )
