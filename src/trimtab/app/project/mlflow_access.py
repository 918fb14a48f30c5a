"""Opens MLflow for a project: tracking for trainers, the registry for rollouts."""

from __future__ import annotations

import logging

from trimtab import settings
from trimtab.app.project.own_models import open_own
from trimtab.app.project.workspace import Workspace
from trimtab.bundle.prompt_spec import PromptSpec, read_prompt
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle, Run
from trimtab.training.dataset import Frozen
from trimtab.training.logged_model import keep_model, keep_plots
from trimtab.training.mlflow_client import load_mlflow
from trimtab.training.prompt_registry import PromptRegistry
from trimtab.training.registry import Registry
from trimtab.training.tracking import Tracking
from trimtab.training.train import Workbench

ALIASES = ("champion", "challenger")
log = logging.getLogger(__name__)


def open_tracking(workspace: Workspace) -> Tracking:
    """Return the project's experiments and runs."""
    return Tracking(
        workspace.tracking_uri,
        project=workspace.project.policy.project,
        artifacts=workspace.root / "mlflow",
        cache=settings.read().cache.expanduser(),
        clock=workspace.clock,
    )


def open_workbench(workspace: Workspace) -> Workbench:
    """Return what all trainings of the project share."""
    return Workbench(
        tracking=open_tracking(workspace),
        artifacts=workspace.artifacts,
        project=workspace.project.folder,
        prices=workspace.project.policy.prices,
        clock=workspace.clock,
    )


def open_registry(workspace: Workspace) -> Registry:
    """Return the project's registered models."""
    return Registry(open_tracking(workspace).client, project=workspace.project.policy.project)


def keep_run(workspace: Workspace, run: Run, frozen: Frozen) -> None:
    """Keep with a run in MLflow its model, as a LoggedModel, and the plots of a judged run."""
    tracking, folder = open_tracking(workspace), workspace.artifacts.open(run.staging)
    scorer, spec = open_own(workspace, folder)
    try:
        keep_model(tracking, run, frozen.version, folder, task=spec.task)
        if run.refit_of is None:  # a fit on all rows has seen the holdout
            keep_plots(tracking, run, frozen, scorer, spec)
    finally:
        scorer.close()


def restore_registry(workspace: Workspace, model: str) -> list[int]:
    """Register again the model's bundles that the registry lacks; return their versions. Raises Conflict."""
    artifacts, bundles = workspace.artifacts, workspace.metadata.find(Bundle, model=model, oldest_first=True)

    def locate(bundle: Bundle) -> str | None:
        return artifacts.open(bundle.path).as_uri() if artifacts.exists(bundle.path) else None

    return open_registry(workspace).restore(model, bundles, locate)


def open_prompt_registry(workspace: Workspace) -> PromptRegistry:
    """Return the project's prompts in MLflow."""
    return PromptRegistry(open_tracking(workspace).client, project=workspace.project.policy.project)


def mirror_prompt(workspace: Workspace, prompt: str) -> None:
    """Make MLflow's prompt registry hold the versions of a prompt. It is a copy for people: an error is a warning."""
    artifacts = workspace.artifacts

    def load(bundle: Bundle) -> PromptSpec | None:
        return read_prompt(artifacts.open(bundle.path)) if artifacts.exists(bundle.path) else None

    bundles = {each.version: each for each in workspace.metadata.find(Bundle, model=prompt)}
    try:
        open_prompt_registry(workspace).mirror(prompt, bundles, load)
    except load_mlflow().exceptions.MlflowException as error:
        log.warning("prompt %s: MLflow's prompt registry lacks its newest versions: %s", prompt, error)


def set_aliases(workspace: Workspace, revision: Revision) -> None:
    """Make the registry's aliases say what a revision says.

    In a registry that several environments name, the name of the environment comes first: production-champion.
    """
    restore_registry(workspace, revision.model)
    registry, tracking = open_registry(workspace), workspace.environment.tracking
    prompt = open_prompt_registry(workspace) if revision.model in workspace.project.definitions.prompts else None
    if prompt is not None:
        mirror_prompt(workspace, revision.model)
    environments = workspace.project.policy.environments.values()
    shared = tracking is not None and sum(each.tracking == tracking for each in environments) > 1
    for role in ALIASES:
        alias = f"{workspace.name}-{role}" if shared else role
        version = next((a.version for a in revision.assignments if a.role == role and not a.kept), None)
        if version is None:
            registry.remove_alias(revision.model, alias)
        else:
            registry.set_alias(revision.model, alias, version)
        if prompt is not None:
            prompt.set_alias(revision.model, alias, version)
