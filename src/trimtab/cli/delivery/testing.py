"""The verb that tests a project in a scratch copy of its stores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from trimtab.app.delivery.contract_test import test_contract
from trimtab.app.delivery.outcomes import Checks, Outcome, exit_code, junit_of
from trimtab.app.delivery.own_tests import run_own_tests
from trimtab.app.project.workspace import hide_from_git
from trimtab.cli.context import Context, Verbs, print_json
from trimtab.cli.terminal import console, write_file
from trimtab.clock import SystemClock
from trimtab.policy.environments import ROOT
from trimtab.units import plural

app = Verbs()

STYLE = {"pass": "green", "warn": "yellow", "fail": "red", "skip": "dim"}
Junit = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the results as JUnit XML, for a build server.")]


@app.verb()
def test(
    context: Context,
    rows: Annotated[int, typer.Option(min=50, metavar="NUMBER", help="Most labelled examples to train on.")] = 500,
    only: Annotated[
        Literal["contract", "project"] | None,
        typer.Option(metavar="contract|project", help="The contract test alone, or the project's own tests alone."),
    ] = None,
    junit: Junit = None,
) -> None:
    """Test the project: a contract test on a sample of its data, then its own tests.

    The contract test ingests a sample into stores of its own, looks for leaks in the features, trains every model, and
    asks the real gateway. Exit code 1 when a check fails, 2 when trimtab.yaml or definitions.py is wrong.
    """
    checks = Checks(lambda outcome: None if context.json else show_outcome(outcome))
    if only != "project":
        test_contract(context.project, context.env, checks, rows=rows)
    if only != "contract":
        run_own_tests(context.project, context.env, checks)
    finish(context, checks.outcomes, "trimtab test", junit)


def show_outcome(outcome: Outcome) -> None:
    """Print one check as a line."""
    mark = f"[{STYLE[outcome.verdict]}]{outcome.verdict}[/]"
    what = escape(f"{outcome.group}: {outcome.check}: {outcome.text}")
    console.print(f"{mark}  {outcome.seconds:5.1f} s  {what}", soft_wrap=True)


def finish(context: Context, outcomes: Sequence[Outcome], title: str, file: Path | None) -> None:
    """Write the JUnit file, print what came of all checks, and end with the exit code of the first that failed."""
    if file is not None:
        write_file(
            "--junit", file, junit_of(title, context.env, outcomes, SystemClock().now()).decode(), make_folder=True
        )
        hide_from_git(context.project / ROOT)  # of a report in .trimtab
    if context.json:
        print_json(outcomes)
    else:
        counts = {verdict: sum(each.verdict == verdict for each in outcomes) for verdict in ("fail", "warn", "skip")}
        parts = [plural(len(outcomes), "check"), *(f"{count} {name}" for name, count in counts.items() if count)]
        console.print(f"{', '.join(parts)}; {sum(each.seconds for each in outcomes):.1f} s")
    if code := exit_code(outcomes):
        raise typer.Exit(code)
