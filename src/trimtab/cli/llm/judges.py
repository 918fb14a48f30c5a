"""The verb that compares judges with people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from trimtab.app.llm.judge_calibration import calibrate, sample_answers
from trimtab.app.llm.judge_standing import JudgeStanding, judge_standing
from trimtab.cli.context import Context, Verbs, require_action
from trimtab.cli.terminal import console, say, write_file
from trimtab.cli.views import table
from trimtab.definitions.llm.evaluators import Judge
from trimtab.errors import DefinitionError, UsageError, nearest
from trimtab.records.llm import JudgeCalibration

app = Verbs()

ACTIONS = ("list", "calibrate", "sample")


@app.verb()
def judge(
    context: Context,
    action: Annotated[str, typer.Argument(metavar="list|calibrate|sample", help="list, calibrate or sample.")],
    name: Annotated[str | None, typer.Argument(help="Judge; the only one by default.")] = None,
    file: Annotated[Path | None, typer.Argument(help="With sample: file to write.")] = None,
    rows: Annotated[
        int, typer.Option("--rows", min=1, metavar="NUMBER", help="With sample: answers for people to judge.")
    ] = 100,
    max_cost: Annotated[
        float | None,
        typer.Option("--max-cost", min=0, metavar="MONEY", help="Spend no more, instead of `llm.evaluate.budget`."),
    ] = None,
) -> None:
    """List judges, compare one with people, or write answers for people to judge.

    A judge gates only when it agrees with people as far as `llm.judge` says.
    """
    require_action("judge", action, ACTIONS)
    ws = context.workspace
    judges = ws.project.definitions.judges
    if action == "list":
        context.show({each: _facts(judge_standing(ws, judges[each])) for each in judges}, _show_all)
        return
    chosen = _one(context, name)
    if action == "calibrate":
        context.show(calibrate(ws, chosen, max_cost=max_cost), show_calibration)
    elif file is None:
        raise UsageError(f"which file? trimtab judge sample {chosen.name} FILE")
    else:
        write_file("FILE", file, sample_answers(ws, chosen, rows=rows), make_folder=True)
        say(
            f"judge     {file}: fill in `verdict` with pass or fail, and `rater`; then name the file as labels of the "
            f"judge, and run: trimtab judge calibrate {chosen.name}"
        )


def show_calibration(found: JudgeCalibration) -> None:
    """Print how far a judge agrees with people."""
    n = found.n
    say(f"judge     {found.judge} version {found.version}: {n} answers that people have judged")
    lines = [
        f"agreement {found.agreement:.1%}; of one and the same verdict on all: {found.constant_agreement:.1%}",
        f"kappa {_number(found.kappa)} ({_number(found.kappa_low)} to {_number(found.kappa_high)})"
        + (f"; two people on {found.twice} answers: {_number(found.raters)}" if found.twice else ""),
        f"passes {_share(found.sensitivity)} of what people pass, fails {_share(found.specificity)} of what they fail",
        f"a second run changed {found.flips:.1%} of the verdicts; no verdict on {found.no_verdict}",
        f"for an answer of twice the length its verdict differs by {_number(found.length_slope)} more from people's",
    ]
    for line in lines:
        console.print(f"          {escape(line)}", soft_wrap=True)
    verdict = "may gate" if found.allowed else f"may inform, and not gate: {found.reason}"
    console.print(f"          {escape(verdict)}", soft_wrap=True)


def _facts(found: JudgeStanding) -> dict[str, Any]:
    return {"may_gate": not found.refused, "why": found.refused, "calibration": found.calibration}


def _show_all(judges: dict[str, dict[str, Any]]) -> None:
    if not judges:
        say("no prompt has a judge")
        return
    made = table("Judges", "judge", "may gate", "answers", "kappa", "why not")
    for name, facts in judges.items():
        found: JudgeCalibration | None = facts["calibration"]
        kappa = "" if found is None else f"{_number(found.kappa)} ({_number(found.kappa_low)} or more)"
        n = "" if found is None else str(found.n)
        made.add_row(name, "yes" if facts["may_gate"] else "no", n, kappa, escape(facts["why"]))
    console.print(made)


def _one(context: Context, name: str | None) -> Judge:
    judges = context.workspace.project.definitions.judges
    if name is None and len(judges) == 1:
        return next(iter(judges.values()))
    if name is None:
        raise UsageError(f"which judge? {', '.join(judges) or 'no prompt has one'}")
    if name not in judges:
        raise DefinitionError(f"there is no judge '{name}'.{nearest(name, judges)}")
    return judges[name]


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _share(value: float | None) -> str:
    return "an unknown share" if value is None else f"{value:.1%}"
