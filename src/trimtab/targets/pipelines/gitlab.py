"""The pipeline of GitLab CI, with its rollbacks as jobs that a person starts. Pure.

Secrets are variables of the project's settings, which GitLab gives to jobs by the environment that they belong to.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

from trimtab.policy.environments import ROOT
from trimtab.targets.pipelines.stage_list import PASSED, REPORTS, Job, Pipeline, pipeline_of
from trimtab.targets.pipelines.yaml_regions import file_with_regions, region_item, region_key
from trimtab.targets.project_facts import Facts

FILE = ".gitlab-ci.yml"
MERGE_REQUEST = '$CI_PIPELINE_SOURCE == "merge_request_event"'
PACKAGES = ".trimtab/pip"
"""Where pip keeps what it has downloaded; version control ignores it."""


def files(facts: Facts) -> dict[str, str]:
    """Return the text of the file by its path in the repository. Raises as `pipeline_of`."""
    pipeline = pipeline_of(facts)
    path = facts.from_root(FILE)
    secrets = sorted({name for job in _jobs(pipeline).values() for name in job.secrets})
    notes = []
    if secrets:
        notes.append(f"Variables of the project's settings: {', '.join(secrets)}.")
    if facts.subfolder:
        notes.append(f"Name it in the {FILE} at the root: include: [{{ local: {path} }}]")
    prefix = f"{facts.slug}-" if facts.subfolder else ""
    document = {
        f".trimtab-{facts.slug}": _shared(facts, pipeline),
        **{f"{prefix}{name}": _job(facts, pipeline, job, prefix) for name, job in _jobs(pipeline).items()},
        **region_key("jobs"),
    }
    return {path: file_with_regions("ci", "gitlab", document, *notes)}


def _jobs(pipeline: Pipeline) -> dict[str, Job]:
    """Return the jobs by their names, with a rollback for each environment."""
    found = {job.id: job for job in pipeline.jobs}
    if pipeline.rollback is not None:
        for name in pipeline.environments[::-1]:
            id_ = f"{pipeline.rollback.id}-{name}"
            keeps = tuple(kept for kept in pipeline.rollback.keeps if kept.environment == name)
            found[id_] = replace(pipeline.rollback, id=id_, environment=name, keeps=keeps)
    return found


def _shared(facts: Facts, pipeline: Pipeline) -> dict[str, Any]:
    ci = facts.policy.deploy.ci
    return {
        "image": f"python:{facts.policy.deploy.python}",
        **({"tags": list(ci.runner)} if ci.runner else {}),
        "timeout": f"{pipeline.minutes} minutes",
        "variables": {
            "PIP_CACHE_DIR": f"$CI_PROJECT_DIR/{facts.from_root(PACKAGES)}",
            "REASON": "commit $CI_COMMIT_SHA",
            "TRIMTAB_USER": "$GITLAB_USER_LOGIN",
            **region_key("variables"),
        },
        # reports that came from a cache or from the job before are none of this job
        "before_script": [*_in_folder(facts), f"rm -rf {REPORTS}", pipeline.install],
        "artifacts": {
            "when": "always",
            "expire_in": f"{ci.artifact_days} days",
            "paths": [f"{facts.from_root(REPORTS)}/", f"{facts.from_root(PASSED)}/"],
            "reports": {"junit": f"{facts.from_root(REPORTS)}/*.xml"},
        },
    }


def _job(facts: Facts, pipeline: Pipeline, job: Job, prefix: str) -> dict[str, Any]:
    place = {"changes": [f"{facts.subfolder}/**/*"]} if facts.subfolder else {}
    branch = f'$CI_COMMIT_BRANCH == "{facts.policy.deploy.ci.branch}"'
    by_hand = {"when": "manual", "allow_failure": True} if job.when in ("approval", "manual") else {}
    conditions = {"always": (MERGE_REQUEST, branch), "change": (MERGE_REQUEST,)}.get(job.when, (branch,))
    variables: dict[str, Any] = {"TRIMTAB_ENV": job.environment}
    if job.when == "manual":
        variables |= {"MODEL": pipeline.models[0], "REASON": "asked for in GitLab"}
    found: dict[str, Any] = {
        "extends": f".trimtab-{facts.slug}",
        "stage": "test" if job.when in ("always", "change") else "deploy",
        "needs": [] if job.needs is None else [f"{prefix}{job.needs}"],
        "rules": [{"if": condition, **place, **by_hand} for condition in conditions],
        "variables": variables,
        "cache": _caches(facts, job),
    }
    if job.environment in pipeline.environments:
        found["environment"] = {"name": job.environment}
        found["resource_group"] = f"trimtab-{facts.slug}-{job.environment}"
    if job.when in ("always", "change"):
        found["interruptible"] = True
    found["script"] = [
        region_item(f"{job.id}-first"),
        *(step.run for step in job.steps if not step.always),
        region_item(f"{job.id}-last"),
    ]
    if always := [step.run for step in job.steps if step.always]:
        found["after_script"] = [*_in_folder(facts), *always]
    return found


def _caches(facts: Facts, job: Job) -> list[dict[str, Any]]:
    """Return the caches: what pip has downloaded, and stores as the last job left them, kept when this one passes.

    GitLab leaves nothing out of a cache: that of the whole root holds the packages, too.
    """
    packages = {"key": f"trimtab-{facts.slug}-packages", "paths": [f"{facts.from_root(PACKAGES)}/"]}
    stores = [
        {
            "key": f"trimtab-{facts.slug}-{kept.environment}-stores",
            "paths": [facts.from_root(path) for path in kept.paths if path[0] != "!"],
            "policy": "pull-push" if kept.changes else "pull",
            "when": "on_success",
        }
        for kept in job.keeps
    ]
    whole = any(f"{ROOT}/*" in kept.paths for kept in job.keeps)
    return stores if whole else [packages, *stores]


def _in_folder(facts: Facts) -> list[str]:
    return [f"cd {shlex.quote(facts.subfolder)}"] if facts.subfolder else []
