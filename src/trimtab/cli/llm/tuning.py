"""The verb that searches for a better prompt, or trains the adapter of a local model."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import structs

from trimtab.app.delivery.stage_journal import noted
from trimtab.app.llm import prompt_stages
from trimtab.app.llm.adapters.adapter_runs import TunedAdapter, train_adapter
from trimtab.app.llm.kept_evaluations import evaluation_of
from trimtab.app.llm.prompt_tuning import Tuned, tune
from trimtab.app.llm.prompt_versions import current_spec
from trimtab.app.operations.freezing import refuse_frozen
from trimtab.app.project.locks import only_training
from trimtab.app.project.workspace import Workspace
from trimtab.cli.context import Context, Verbs
from trimtab.cli.llm.prompt_evals import show, show_bundle, telling
from trimtab.cli.terminal import say
from trimtab.errors import UsageError
from trimtab.llm.prompt_changes import file_with_changes
from trimtab.records.serving import Revision

app = Verbs()


@app.verb(name="tune")
def tune_(
    context: Context,
    prompt: Annotated[str | None, typer.Argument(help="Prompt; the only one by default.")] = None,
    max_cost: Annotated[
        float | None,
        typer.Option("--max-cost", min=0, metavar="MONEY", help="Spend no more, instead of `llm.tune.budget`."),
    ] = None,
    calls: Annotated[
        int | None, typer.Option("--calls", min=1, metavar="NUMBER", help="Judge no more answers in the search.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="NUMBER", help="Of the search.")] = 0,
    lora: Annotated[
        str | None, typer.Option("--lora", metavar="NAME", help="Train the adapter of a `tt.LoRA` instead.")
    ] = None,
    python: Annotated[
        Path,
        typer.Option(
            "--python", metavar="FILE", help="Interpreter that trains it, with Trimtab, torch, transformers and peft."
        ),
    ] = Path(sys.executable),
    force: Annotated[bool, typer.Option("--force", help="Also while the prompt is frozen.")] = False,
) -> None:
    """Search for a better version of a prompt than the one that serves, and let it challenge.

    The best version that the search finds is judged once on items that the search has not seen. One that is not better
    there is an outcome, with exit code 0. What the search may change stands in the front matter: `tune`.

    With --lora it trains the adapter of a local model, and says how that is served. A prompt that names it as its model
    passes the gates and challenges as any other version.
    """
    ws = context.workspace
    if lora is not None:
        if prompt is not None:
            raise UsageError(f"--lora trains an adapter, which belongs to no prompt; leave '{prompt}' out")
        with only_training(ws, lora, "trimtab tune"), noted(ws, "tune", lora):
            adapter = train_adapter(ws, lora, python=python, tell=telling(context, "tune"))
        context.show(_adapter_facts(adapter), lambda _: _show_adapter(adapter, python))
        return
    name = ws.project.definitions.prompt(prompt).name
    refuse_frozen(ws, name, force=force)
    tell = telling(context, "tune")
    with only_training(ws, name, "trimtab tune"), noted(ws, "tune", name):
        found = tune(ws, name, max_cost=max_cost, calls=calls, seed=seed, tell=tell)
        revision, written = _challenge(ws, found) if found.accepted else (None, None)
    context.show(_facts(found, revision, written), lambda _: _show(ws, found, revision, written))


def _adapter_facts(found: TunedAdapter) -> dict[str, Any]:
    """Return what `--json` prints."""
    return {
        "run": structs.asdict(found.run),
        "model": found.folder.name,
        "folder": str(found.folder),
        "known": found.known,
    }


def _show_adapter(found: TunedAdapter, python: Path) -> None:
    metrics = found.run.metrics
    said = "trained before, from the same rows" if found.known else f"{found.run.wall_seconds:.0f} s"
    say(f"tune      loss {metrics['loss_before']:.3f} before and {metrics['loss_after']:.3f} after; {said}")
    command = [str(python), "-m", "trimtab.llm.local_model", "--base", str(found.base), "--adapter", str(found.folder)]
    say(f"serve     {shlex.join(command)}")
    say(f"then      model='{found.folder.name}' of a prompt, with a price of it at the endpoint, and: trimtab run")


def _challenge(ws: Workspace, found: Tuned) -> tuple[Revision, str | None]:
    """Register and deploy; also write the file, where the project's is the one that the search began with."""
    assert found.judged is not None
    bundle = prompt_stages.register(ws, found.judged)
    show_bundle(bundle)
    revision = prompt_stages.deploy(
        ws,
        bundle,
        cause=f"command/tune/{bundle.id}",
        reason=f"a search found it better than {found.champion}",
        by=prompt_stages.person(),
    )
    prompt = ws.project.definitions.prompt(bundle.model)
    if current_spec(ws, prompt.name).prompt_hash != found.begun.prompt_hash:
        return revision, None
    path = ws.project.folder / prompt.file
    spec = found.found.spec
    changed = {name: text for name, text in spec.sections.items() if text != found.begun.sections.get(name)}
    examples = None if spec.examples == found.begun.examples else spec.examples
    text = file_with_changes(path.read_text(encoding="utf-8"), changed, examples, name=prompt.file)
    tuned = path.with_suffix(f".tuned{path.suffix}")
    tuned.write_text(text, encoding="utf-8")
    return revision, tuned.relative_to(ws.project.folder).as_posix()


def _show(ws: Workspace, found: Tuned, revision: Revision | None, written: str | None) -> None:
    searched, currency = found.found, ws.project.policy.impact.currency
    say(
        f"tune      {searched.proposals} proposals, {searched.calls} judged answers, {found.cost:.4g} {currency}: "
        f"{searched.before:.3f} before and {searched.after:.3f} after on the validation items"
    )
    if found.judged is None:
        say(f"tune      no proposal is better than {found.champion}; nothing is changed")
        return
    show(found.judged.report, evaluation_of(ws, found.judged.run))
    if revision is None:
        say(f"tune      {found.champion} stays: the best proposal is not accepted on the items held out")
        return
    say(f"deploy    revision {revision.number}: {revision.action} {revision.assignments[-1].bundle}")
    if written is not None:
        say(f"written   {written}; copy it over the prompt's file once it is promoted")


def _facts(found: Tuned, revision: Revision | None, written: str | None) -> dict[str, Any]:
    """Return what `--json` prints."""
    searched = found.found
    return {
        "champion": found.champion,
        "accepted": found.accepted,
        "validation": {"before": searched.before, "after": searched.after},
        "proposals": searched.proposals,
        "calls": searched.calls,
        "cost": found.cost,
        "search": found.search,
        "level": found.level,
        "report": None if found.judged is None else structs.asdict(found.judged.report),
        "revision": None if revision is None else revision.id,
        "written": written,
    }
