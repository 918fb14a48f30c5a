"""The stages of a prompt: evaluate with the gates, register, deploy. What was judged before is not asked again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec
import numpy as np

from trimtab import settings
from trimtab.app.llm.evaluating import (
    FILES,
    Evaluated,
    Evaluating,
    Options,
    Version,
    compared_with,
)
from trimtab.app.llm.kept_evaluations import keep_evaluation
from trimtab.app.llm.prompt_versions import current_spec, register_prompt, stage_prompt
from trimtab.app.llm.watching.turn_references import turn_reference
from trimtab.app.project.ledger_checks import note_policy
from trimtab.app.project.mlflow_access import open_tracking, set_aliases
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.errors import GateRefused, NotFound, StageError
from trimtab.gates.report import refuse, report
from trimtab.llm.evaluate.results import CANDIDATE, Evaluation
from trimtab.llm.money.spend_scopes import PICO
from trimtab.records.gate_reports import GateReport, GateResult
from trimtab.records.llm import EvalSetVersion
from trimtab.records.record import Role
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle, Run
from trimtab.stores.metadata.contract import latest
from trimtab.training.environment import capture
from trimtab.training.usage import Meter

VERDICT = "trimtab.verdict"
"""Tag of a run in MLflow: what the gates said."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A version of a prompt that the gates have judged. known: judged before, so that nothing was asked."""

    run: Run
    report: GateReport
    known: bool


def prepared(
    workspace: Workspace, prompt: str, options: Options | None = None, tell: Callable[[str], None] = lambda text: None
) -> Evaluating:
    """Return the evaluation of a prompt as the project has it now, compared with its champion.

    A champion that it equals is nothing to compare it with.
    """
    spec = current_spec(workspace, prompt)
    champion = compared_with(workspace, prompt)
    same = champion is not None and champion.spec.prompt_hash == spec.prompt_hash
    return Evaluating(
        workspace=workspace,
        prompt=workspace.project.definitions.prompt(prompt),
        candidate=Version(name=FILES, spec=spec),
        champion=None if same else champion,
        same_as=champion.name if same and champion else "",
        options=options or Options(),
        tell=tell,
    )


def unchanged(workspace: Workspace, prompt: str) -> Bundle | None:
    """Return the champion of a prompt, if it equals what the project has now."""
    champion = compared_with(workspace, prompt)
    same = champion is not None and champion.spec.prompt_hash == current_spec(workspace, prompt).prompt_hash
    return champion.bundle if champion is not None and same else None


def evaluate(
    evaluating: Evaluating,
    *,
    force: bool = False,
    purpose: Literal["evaluate", "tune"] = "evaluate",
    facts: Mapping[str, Any] | None = None,
    also: Callable[[Sequence[GateResult]], GateResult | None] = lambda results: None,
) -> Judged:
    """Evaluate, and record run and report; what the same gates have judged before is not asked again without `force`.

    purpose: of the run. facts: further parameters of the run. also: makes one more result of those of the gates.

    Errors as `Evaluating.run`.
    """
    workspace, key = evaluating.workspace, evaluating.key
    note_policy(workspace)
    if not force and (known := _known(workspace, key)) is not None:
        return known
    evaluating.check()
    name, spec = evaluating.prompt.name, evaluating.candidate.spec
    tracking, environment = open_tracking(workspace), capture(workspace.project.folder)
    tags = {
        "trimtab.model": name,
        "trimtab.dataset": evaluating.main_set,
        "trimtab.prompt_hash": spec.prompt_hash,
        "trimtab.code_hash": environment.code_hash,
        "mlflow.source.git.commit": environment.code_version,
        "mlflow.source.name": workspace.project.folder.name,
    }
    run_id = tracking.begin(name, key, name=f"{name}-{spec.prompt_hash[:8]}", tags=tags)
    with tracking.ending(run_id):
        with Meter() as meter:
            done = evaluating.run()
        if (one_more := also(done.results)) is not None:
            done = replace(done, results=(*done.results, one_more))
        measures, used = done.evaluation.facts, meter.usage
        keep_evaluation(workspace, name, run_id, done.evaluation)
        reference = turn_reference(workspace, done.evaluation)
        record = Run(
            id=run_id,
            created_at=workspace.now(),
            key=key,
            model=name,
            dataset=evaluating.main_set,
            experiment=tracking.experiment_name(name),
            seed=measures.seed,
            params={
                "endpoint": spec.target.endpoint.name,
                "model": spec.target.model,
                **spec.params,
                "repeats": measures.repeats,
                "sets": ", ".join(measures.sets),
                **(facts or {}),
            },
            metrics=measured(done.evaluation),
            code_version=environment.code_version,
            environment_hash=environment.hash,
            python=environment.python,
            platform=environment.platform,
            pins=environment.pins(),
            changes=environment.changes_hash,
            cpu_seconds=used.cpu_seconds,
            wall_seconds=used.wall_seconds,
            peak_memory_mb=used.peak_memory_mb,
            cost=measures.cost_pico / PICO,
            model_hash=spec.prompt_hash,
            staging=stage_prompt(
                workspace,
                spec,
                run=run_id,
                dataset=evaluating.main_set,
                files=reference.files,
                categories=reference.categories,
            ),
            code_hash=environment.code_hash,
            purpose=purpose,
        )
        dataset = workspace.metadata.get(EvalSetVersion, evaluating.main_set)
        tracking.finish(record, dataset, metrics=record.metrics, requirements=environment.listing)
    found = _report(evaluating, record.id, done)
    workspace.metadata.put(record, found)
    tracking.set_tags(record.id, {VERDICT: found.verdict})
    return Judged(run=record, report=found, known=False)


def judged(evaluating: Evaluating) -> Judged:
    """Return what the gates have said of a prompt as it is now. Raises StageError when they have not."""
    found = _known(evaluating.workspace, evaluating.key)
    if found is None:
        name = evaluating.prompt.name
        before = latest(evaluating.workspace.metadata, GateReport, model=name)
        why = "has changed since it was judged, or its sets, gates or champion have" if before else "was not judged yet"
        raise StageError(f"prompt '{name}' {why}; run: trimtab evaluate --model {name}")
    return found


def report_of(workspace: Workspace, run: str) -> GateReport:
    """Return the newest report on a run. Raises NotFound."""
    found = latest(workspace.metadata, GateReport, run=workspace.metadata.get(Run, run).id)
    if found is None:
        raise NotFound(f"run {run} was not judged")
    return found


def register(workspace: Workspace, found: Judged) -> Bundle:
    """Make the bundle of a version that passed its gates, and register it. Raises GateRefused."""
    refuse_failing(found.report)
    return register_prompt(workspace, found.run, found.report)


def deploy(
    workspace: Workspace, bundle: Bundle, *, cause: str, reason: str, by: str, role: Role | None = None
) -> Revision:
    """Bring a version into service; the first one becomes champion, others what the policy's strategy says."""
    rollouts = open_rollouts(workspace, bundle.model)
    revision = rollouts.deploy(bundle, cause=cause, reason=reason, by=by, role=role)
    set_aliases(workspace, rollouts.current() or revision)
    return revision


def refuse_failing(found: GateReport) -> None:
    """Raise GateRefused, one line a failing gate with its interval, when the report fails."""
    try:
        refuse(found)
    except GateRefused as error:
        raise GateRefused(str(error).replace(f"model '{found.model}'", f"prompt '{found.model}'", 1)) from None


def measured(evaluation: Evaluation) -> dict[str, float]:
    """Return the metrics of the candidate: of each evaluator the mean, format, time to the first token, cost a turn."""
    found = {
        each.name: float(np.nan_to_num(evaluation.scores(each.name, CANDIDATE), nan=0.0).mean())
        for each in evaluation.facts.evaluators
    }
    answers = [answer for _, answer in evaluation.answers(CANDIDATE)]
    if evaluation.facts.has_schema:
        repeats = evaluation.facts.repeats
        fits = [ok for item in evaluation.items for ok in item.format_ok[CANDIDATE][:repeats]]
        found["format_ok"] = float(np.mean(fits))
    found["first_token_p95_ms"] = float(np.quantile([each.first_token_ms for each in answers], 0.95))
    found["cost_per_turn"] = float(np.mean([each.cost_pico for each in answers])) / PICO
    return found


def unrecorded(evaluating: Evaluating, done: Evaluated) -> GateReport:
    """Return the report of a comparison that nothing is registered by."""
    return _report(evaluating, "", done)


def _known(workspace: Workspace, key: str) -> Judged | None:
    run = latest(workspace.metadata, Run, key=key)
    found = None if run is None else latest(workspace.metadata, GateReport, run=run.id)
    return None if run is None or found is None else Judged(run=run, report=found, known=True)


def _report(evaluating: Evaluating, run: str, done: Evaluated) -> GateReport:
    workspace = evaluating.workspace
    gates = msgspec.json.encode(workspace.project.policy.llm.gates.model_dump(mode="json"), order="sorted")
    champion = done.champion.bundle if done.champion else None
    return report(
        done.results,
        model=evaluating.prompt.name,
        run=run,
        champion=champion.id if champion else None,
        clock=workspace.clock,
        key=evaluating.key[:12],
        thresholds=hashlib.sha256(gates).hexdigest(),
        runtime="chat",
    )


def person() -> str:
    """Return who is at the command line."""
    return settings.login()
