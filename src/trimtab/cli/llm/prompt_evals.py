"""The verb that evaluates prompts, and the stages of a prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.markup import escape

from trimtab.app.delivery.stage_journal import noted
from trimtab.app.llm import prompt_stages
from trimtab.app.llm.evaluating import (
    FILES,
    Evaluating,
    Options,
    compared_with,
    version_named,
)
from trimtab.app.llm.kept_evaluations import evaluation_of
from trimtab.app.operations.freezing import refuse_frozen
from trimtab.app.pages.evaluation_report import evaluation_page
from trimtab.app.project.locks import only_training
from trimtab.app.project.workspace import Workspace
from trimtab.app.stages import ingesting
from trimtab.cli.context import Context, Verbs
from trimtab.cli.data.validate import VERDICT_STYLE
from trimtab.cli.interrupting import Interrupted
from trimtab.cli.terminal import console, say, write_file
from trimtab.cli.views import table
from trimtab.errors import GateRefused, UsageError
from trimtab.gates import verdict_files
from trimtab.llm.evaluate.item_changes import outcomes
from trimtab.llm.evaluate.results import Evaluation
from trimtab.llm.money.spend_scopes import PICO
from trimtab.records.gate_reports import GateReport
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle, Run
from trimtab.units import plural

app = Verbs()
T = TypeVar("T")
BEFORE = "judged before by the same gates on the same items"


@app.verb(name="eval")
def eval_(
    context: Context,
    prompt: Annotated[str | None, typer.Argument(help="Prompt; the only one by default.")] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME", help="Ask this set alone; nothing is recorded then."),
    ] = None,
    version: Annotated[
        str | None, typer.Option("--version", metavar="NUMBER", help="Evaluate a registered version.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="NUMBER", help="Compare with this version instead of the champion."),
    ] = None,
    repeats: Annotated[
        int | None, typer.Option("--repeats", min=1, metavar="NUMBER", help="Answers to each item.")
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option("--max-cost", min=0, metavar="MONEY", help="Spend no more, instead of `llm.evaluate.budget`."),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the verdicts as JUnit XML, for a build server.")
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with all items and answers.")] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Buy every answer anew, those that are kept from the last day, too.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Judge again what the same gates have judged before.")] = False,
) -> None:
    """Let a prompt answer its sets of examples, and put it through the gates.

    It is compared with the champion on the same items. Says what the items can show and what it will cost before it
    spends money. Exit code 1 when a gate fails.
    """
    ws = context.workspace
    name = ws.project.definitions.prompt(prompt).name
    options = Options(sets=tuple(sets or ()), repeats=repeats, max_cost=max_cost, fresh=no_cache)
    tell = telling(context, "eval")
    if version is None and against is None and not options.sets:
        evaluating = prompt_stages.prepared(ws, name, options, tell)
        judged = _bought(lambda: prompt_stages.evaluate(evaluating, force=force or no_cache))
        report, evaluation = judged.report, evaluation_of(ws, judged.run)
        if judged.known:
            tell(f"{name}: {BEFORE}; --force asks again")
    else:
        evaluating = _compared(ws, name, version, against, options, tell)
        done = _bought(evaluating.run)
        report, evaluation = prompt_stages.unrecorded(evaluating, done), done.evaluation
    if junit is not None:
        write_file("--junit", junit, verdict_files.junit(report).decode(), make_folder=True)
    if html is not None:
        write_file("--html", html, evaluation_page(report, evaluation), make_folder=True)
    context.show(_facts(report, evaluation), lambda _: show(report, evaluation))
    prompt_stages.refuse_failing(report)


def evaluate_prompt(
    context: Context, name: str, *, run: str | None, force: bool, junit: Path | None, markdown: Path | None
) -> None:
    """Put a prompt through its gates, as the stage `evaluate`. run: id of one that was judged, which is shown again."""
    ws = context.workspace
    if run is None:
        evaluating = prompt_stages.prepared(ws, name, tell=telling(context, "evaluate"))
        report = _bought(lambda: prompt_stages.evaluate(evaluating, force=force)).report
    else:
        report = prompt_stages.report_of(ws, run)
    if junit is not None:
        write_file("--junit", junit, verdict_files.junit(report).decode(), make_folder=True)
    if markdown is not None:
        write_file("--markdown", markdown, verdict_files.markdown(report), make_folder=True)
    context.show(report, lambda report: show(report, evaluation_of(ws, ws.metadata.get(Run, report.run))))
    prompt_stages.refuse_failing(report)


def register_prompt(context: Context, name: str) -> None:
    """Register a prompt that passed its gates, as the stage `register`."""
    ws = context.workspace
    bundle = prompt_stages.register(ws, prompt_stages.judged(prompt_stages.prepared(ws, name)))
    context.show(bundle, show_bundle)


def run_prompts(ws: Workspace, names: Iterable[str], *, force: bool) -> list[GateRefused]:
    """Run all stages of prompts; return why some were refused, since one does not keep the others from it."""
    refused = []
    for name in names:
        refuse_frozen(ws, name, force=force)
        try:
            run_prompt(ws, name)
        except GateRefused as error:
            refused.append(error)
    return refused


def run_prompt(ws: Workspace, name: str) -> Revision | None:
    """Run all stages of a prompt, telling what each did; None where the champion equals it. A failing gate ends it."""
    if (retriever := ws.project.definitions.prompt(name).retrieve) is not None:
        with noted(ws, "ingest"):
            for done in ingesting.ingest(ws, retriever.table):
                say(f"ingest    {done.table}: {plural(done.rows_added, 'new row')}")
    if (same := prompt_stages.unchanged(ws, name)) is not None:
        say(f"evaluate  {name}: unchanged, {same.id} serves it")
        return None
    with only_training(ws, name, "trimtab run"), noted(ws, "evaluate", name):
        evaluating = prompt_stages.prepared(ws, name, tell=lambda text: say(f"evaluate  {text}"))
        judged = _bought(lambda: prompt_stages.evaluate(evaluating))
        if judged.known:
            say(f"evaluate  {name}: {BEFORE}")
        show(judged.report, evaluation_of(ws, judged.run))
        prompt_stages.refuse_failing(judged.report)
    with noted(ws, "register", name):
        bundle = prompt_stages.register(ws, judged)
    show_bundle(bundle)
    with noted(ws, "deploy", name):
        revision = prompt_stages.deploy(
            ws, bundle, cause=f"command/run/{bundle.id}", reason="trimtab run", by=prompt_stages.person()
        )
    say(f"deploy    revision {revision.number}: {revision.action} {bundle.id}")
    return revision


def show(report: GateReport, evaluation: Evaluation) -> None:
    """Print the verdicts, and which items broke, were mended or are flaky."""
    made = table("", "evaluate", "verdict", "why")
    for result in report.results:
        made.add_row(result.gate, f"[{VERDICT_STYLE[result.verdict]}]{result.verdict}[/]", escape(result.reason))
    console.print(made)
    for line in outcomes(evaluation).lines():
        console.print(f"          {escape(line)}", soft_wrap=True)
    facts = evaluation.facts
    bought = counted(facts.bought, facts.verdicts_bought)
    cached = counted(facts.cached, facts.verdicts_cached)
    bought = f"{bought} bought for {facts.cost_pico / PICO:.4g}; from the cache: {cached}"
    console.print(f"          {bought}", soft_wrap=True)


def counted(found: int, verdicts: int) -> str:
    """Return a number of answers and verdicts in words. verdicts: those of `found` that are of judges."""
    return plural(found - verdicts, "answer") + (f" and {plural(verdicts, 'verdict')}" if verdicts else "")


def show_bundle(bundle: Bundle) -> None:
    say(f"register  {bundle.id}  sha256 {bundle.digest[:16]}")


def telling(context: Context, verb: str) -> Callable[[str], None]:
    """Return what prints a line of a verb; with `--json` it prints nothing."""

    def tell(text: str) -> None:
        if not context.json:
            say(f"{verb:<9} {text}")

    return tell


def _bought(evaluate: Callable[[], T]) -> T:
    """Evaluate; on Ctrl-C say that what was bought is kept."""
    try:
        return evaluate()
    except Interrupted:
        say("eval      stopped; the answers that were bought are kept for a day, and are not bought again")
        raise


def _compared(
    ws: Workspace, name: str, version: str | None, against: str | None, options: Options, tell: Callable[[str], None]
) -> Evaluating:
    candidate = version_named(ws, name, version or FILES)
    champion = compared_with(ws, name) if against is None else version_named(ws, name, against)
    if champion is not None and champion.spec.prompt_hash == candidate.spec.prompt_hash:
        if against is not None:
            raise UsageError(f"{candidate.name} and {champion.name} are the same prompt; there is nothing to compare")
        champion = None
    return Evaluating(
        workspace=ws,
        prompt=ws.project.definitions.prompt(name),
        candidate=candidate,
        champion=champion,
        options=options,
        tell=tell,
    )


def _facts(report: GateReport, evaluation: Evaluation) -> dict[str, Any]:
    """Return what `--json` prints."""
    facts = evaluation.facts
    return {
        "prompt": facts.prompt,
        "candidate": facts.sides[0].name,
        "champion": facts.sides[1].name if len(facts.sides) > 1 else None,
        "verdict": report.verdict,
        "run": report.run or None,
        "results": report.results,
        "items": len(evaluation.items),
        "repeats": facts.repeats,
        "smallest_effect": facts.smallest_effect,
        "bought": facts.bought,
        "cached": facts.cached,
        "verdicts_bought": facts.verdicts_bought,
        "verdicts_cached": facts.verdicts_cached,
        "cost": facts.cost_pico / PICO,
        **outcomes(evaluation).ids(),
    }
