"""Workflows of GitHub Actions: the pipeline, and the rollback that a person starts. Pure.

Values that a person or a pull request can choose reach a shell as environment variables alone, never as text of a line.
"""

from __future__ import annotations

from typing import Any

from trimtab.targets.pipelines.stage_list import REPORTS, Job, Kept, Pipeline, Step, pipeline_of
from trimtab.targets.pipelines.yaml_regions import file_with_regions, region_item, region_key
from trimtab.targets.project_facts import Facts

CHECKOUT, PYTHON, CACHE, UPLOAD, DOWNLOAD = (
    "actions/checkout@v5",
    "actions/setup-python@v6",
    "actions/cache@v4",
    "actions/upload-artifact@v4",
    "actions/download-artifact@v4",
)
RESTORE = CACHE.replace("@", "/restore@")
RUNNER = "ubuntu-latest"
FOLDER = ".github/workflows"


def files(facts: Facts) -> dict[str, str]:
    """Return the text of each workflow by its path in the repository. Raises as `pipeline_of`."""
    pipeline = pipeline_of(facts)
    path = f"{FOLDER}/trimtab-{facts.slug}"
    made = {f"{path}.yml": _workflow(facts, pipeline, f"{path}.yml")}
    if pipeline.rollback is not None:
        made[f"{path}-rollback.yml"] = _rollback(facts, pipeline, pipeline.rollback)
    return {path: file_with_regions("ci", "github", workflow) for path, workflow in made.items()}


def _workflow(facts: Facts, pipeline: Pipeline, path: str) -> dict[str, Any]:
    ci = facts.policy.deploy.ci
    paths = {"paths": [f"{facts.subfolder}/**", path]} if facts.subfolder else {}
    triggers: dict[str, Any] = {
        "push": {"branches": [ci.branch], **paths},
        "pull_request": {"branches": [ci.branch], **paths},
        "workflow_dispatch": {},
    }
    if ci.schedule is not None:
        triggers["schedule"] = [{"cron": ci.schedule}]
    return {
        "name": facts.policy.project,
        "on": triggers,
        **_shared(facts, reason="commit ${{ github.sha }}"),
        # a newer commit of a pull request ends the checks of the one before; pushes do not end one another
        "concurrency": {
            "group": f"trimtab-{facts.slug}-"
            "${{ github.event_name == 'pull_request' && github.ref || github.run_id }}",
            "cancel-in-progress": "${{ github.event_name == 'pull_request' }}",
        },
        "jobs": {
            **{job.id: _job(facts, pipeline, job) for job in pipeline.jobs},
            **region_key("jobs"),
        },
    }


def _rollback(facts: Facts, pipeline: Pipeline, job: Job) -> dict[str, Any]:
    def choice(about: str, options: tuple[str, ...]) -> dict[str, Any]:
        return {"description": about, "type": "choice", "required": True, "options": list(options)}

    inputs = {
        "environment": choice("Environment to roll back", pipeline.environments[::-1]),
        "model": choice("Model to roll back", pipeline.models),
        "reason": {"description": "Why, for the record", "type": "string", "required": True},
    }
    return {
        "name": f"{facts.policy.project}: rollback",
        "on": {"workflow_dispatch": {"inputs": inputs}},
        **_shared(facts, reason="${{ github.event.inputs.reason }}"),
        "jobs": {job.id: _job(facts, pipeline, job)},
    }


def _shared(facts: Facts, *, reason: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "permissions": {"contents": "read"},
        "env": {"TRIMTAB_USER": "${{ github.actor }}", "REASON": reason, **region_key("env")},
    }
    if facts.subfolder:
        found["defaults"] = {"run": {"working-directory": facts.subfolder}}
    return found


def _job(facts: Facts, pipeline: Pipeline, job: Job) -> dict[str, Any]:
    branch = f"github.ref == 'refs/heads/{facts.policy.deploy.ci.branch}'"
    pull_request = "github.event_name == 'pull_request'"
    chosen = job.environment if job.environment is not None else "${{ github.event.inputs.environment }}"
    found: dict[str, Any] = {"name": job.title}
    if job.needs is not None:
        found["needs"] = job.needs
    if job.when != "always":
        found["if"] = pull_request if job.when == "change" else branch
    found["runs-on"] = facts.policy.deploy.ci.runner or RUNNER
    found["timeout-minutes"] = pipeline.minutes
    if job.environment is None or job.environment in pipeline.environments:
        found["environment"] = chosen
    if job.when in (
        "branch",
        "approval",
        "manual",
    ):  # a deployment and a rollback of one environment exclude each other
        found["concurrency"] = {"group": f"trimtab-{facts.slug}-{chosen}", "cancel-in-progress": False}
    found["env"] = {"TRIMTAB_ENV": chosen} | {name: f"${{{{ secrets.{name} }}}}" for name in job.secrets}
    if job.environment is None:
        found["env"]["MODEL"] = "${{ github.event.inputs.model }}"
    found["steps"] = [
        {"uses": CHECKOUT, "with": {"persist-credentials": False}},
        {
            "uses": PYTHON,
            "with": {
                "python-version": facts.policy.deploy.python,
                "cache": "pip",
                "cache-dependency-path": facts.from_root("trimtab.yaml"),
            },
        },
        {"name": "Install", "run": pipeline.install},
        *(_stores(facts, job, kept) for kept in job.keeps),
        *([_artifact(facts, job.needs, job.takes, takes=True)] if job.takes and job.needs else []),
        region_item(f"{job.id}-first"),
        *(_step(step) for step in job.steps if not step.always),
        *([_artifact(facts, job.id, job.hands)] if job.hands else []),
        region_item(f"{job.id}-last"),
        *(_step(step) for step in job.steps if step.always),
        {
            "name": "Keep the reports",
            "if": "${{ !cancelled() }}",
            "uses": UPLOAD,
            "with": {
                "name": f"{facts.slug}-{job.id}",
                "path": facts.from_root(REPORTS),
                "include-hidden-files": True,
                "if-no-files-found": "ignore",
                "retention-days": facts.policy.deploy.ci.artifact_days,
            },
        },
    ]
    return found


def _step(step: Step) -> dict[str, Any]:
    return {"name": step.name, **({"if": "${{ !cancelled() }}"} if step.always else {}), "run": step.run}


def _artifact(facts: Facts, id_: str, folder: str, *, takes: bool = False) -> dict[str, Any]:
    """Return the step by which a job hands a folder to the next one, or takes it from the job of an id."""
    named = {"name": f"{facts.slug}-{id_}-passed", "path": facts.from_root(folder)}
    if takes:
        return {"name": "Take what has passed", "uses": DOWNLOAD, "with": named}
    further = {
        "include-hidden-files": True,
        "if-no-files-found": "error",
        "overwrite": True,
        "retention-days": facts.policy.deploy.ci.artifact_days,
    }
    return {"name": "Hand on what has passed", "uses": UPLOAD, "with": {**named, **further}}


def _stores(facts: Facts, job: Job, kept: Kept) -> dict[str, Any]:
    """Return the step that fetches stores as the last job left them, and keeps what this one changes if it passes."""
    key = f"trimtab-{facts.slug}-{kept.environment}-stores-"
    paths = [f"!{facts.from_root(path[1:])}" if path[0] == "!" else facts.from_root(path) for path in kept.paths]
    chosen = {"if": f"github.event.inputs.environment == '{kept.environment}'"} if job.environment is None else {}
    return {
        "name": f"Stores of {kept.environment}",
        **chosen,
        "uses": CACHE if kept.changes else RESTORE,
        "with": {
            "path": "".join(f"{path}\n" for path in paths),
            "key": f"{key}${{{{ github.run_id }}}}-${{{{ github.run_attempt }}}}-{job.id}",
            "restore-keys": key,
        },
    }
