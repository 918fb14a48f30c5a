"""Jenkinsfiles: the pipeline, and the rollback that a person starts, as declarative pipelines. Pure.

Each step is a stage of its own. Texts of Groovy are in single quotes, so that values reach a shell as environment
variables alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from trimtab.targets.kept_regions import region
from trimtab.targets.pipelines.stage_list import REPORTS, Job, Pipeline, Step, pipeline_of
from trimtab.targets.project_facts import Facts
from trimtab.targets.yaml_text import header

VENV = "$WORKSPACE_TMP/venv"
"""Beside the workspace, so that the working tree stays as it was committed."""
APPROVAL_DAYS = 1
"""A build that no person approves in this time ends."""

Lines = Iterable[str]


def files(facts: Facts) -> dict[str, str]:
    """Return the text of each Jenkinsfile by its path in the repository. Raises as `pipeline_of`."""
    pipeline = pipeline_of(facts)
    inside = dict.fromkeys(kept.environment for job in pipeline.jobs for kept in job.keeps)
    notes = [f"Stores of {' and '.join(inside)} lie in the workspace: run all jobs on one machine."] if inside else []
    made = {"Jenkinsfile": _text(_pipeline(facts, pipeline), notes)}
    if pipeline.rollback is not None:
        if inside:
            notes.append(
                "This job has another workspace: give these stores places in trimtab.yaml that both jobs share."
            )
        made["Jenkinsfile.rollback"] = _text(_rollback(facts, pipeline, pipeline.rollback), notes)
    return {facts.from_root(name): text for name, text in made.items()}


def _text(body: Lines, notes: Lines) -> str:
    kept = "Lines between 'trimtab: yours' and 'trimtab: end' are kept."
    first = [f"//{line[1:]}" for line in header("jenkins", kept, *notes, verb="ci").splitlines()]
    return "\n".join([*first, *_block("pipeline", body)]) + "\n"


def _pipeline(facts: Facts, pipeline: Pipeline) -> Iterator[str]:
    ci = facts.policy.deploy.ci
    yield "agent none"
    # a newer build ends the one before it, which may wait for an approval; what it was doing can be done again
    yield from _options(facts, "disableConcurrentBuilds(abortPrevious: true)")
    if ci.schedule is not None:
        branch = _quoted(ci.branch)  # the other branches of a multibranch pipeline have no times
        yield from _block(
            "triggers", [f"cron((env.BRANCH_NAME ?: {branch}) == {branch} ? 'TZ=UTC\\n{ci.schedule}' : '')"]
        )
    yield from _block("stages", [line for job in pipeline.jobs for line in _job(facts, pipeline, job)])


def _rollback(facts: Facts, pipeline: Pipeline, job: Job) -> Iterator[str]:
    yield "agent none"
    yield from _options(facts)
    choices = (
        ("TRIMTAB_ENV", pipeline.environments[::-1], "Environment to roll back"),
        ("MODEL", pipeline.models, "Model to roll back"),
    )
    lines = [f"choice(name: '{name}', choices: [{_list(of)}], description: '{about}')" for name, of, about in choices]
    yield from _block(
        "parameters",
        [*lines, "string(name: 'REASON', defaultValue: 'asked for in Jenkins', description: 'Why, for the record')"],
    )
    yield from _block("stages", _job(facts, pipeline, job))


def _options(facts: Facts, *further: str) -> list[str]:
    days = facts.policy.deploy.ci.artifact_days
    return _block("options", [f"buildDiscarder(logRotator(daysToKeepStr: '{days}'))", *further])


def _job(facts: Facts, pipeline: Pipeline, job: Job) -> Iterator[str]:
    branch = _quoted(facts.policy.deploy.ci.branch)
    on_branch = f"expression {{ env.CHANGE_ID == null && (env.BRANCH_NAME ?: {branch}) == {branch} }}"
    if job.when == "approval":
        yield from _approval(job, on_branch)
    yield from _block(f"stage({_quoted(job.title)})", _stage(facts, pipeline, job, on_branch))


def _approval(job: Job, on_branch: str) -> list[str]:
    asked = f"message: {_quoted(job.title + '?')}, ok: 'Deploy', submitterParameter: 'APPROVER'"
    lines = ["env.APPROVER = input(", *(f"  {line}" for line in (*_region("approval"), asked)), ")"]
    return _block(
        "stage('Approval')",
        [
            *_block("when", [on_branch]),
            *_block("options", [f"timeout(time: {APPROVAL_DAYS}, unit: 'DAYS')"]),
            *_block("steps", _block("script", lines)),
        ],
    )


def _stage(facts: Facts, pipeline: Pipeline, job: Job, on_branch: str) -> Iterator[str]:
    ci = facts.policy.deploy.ci
    yield f"agent {{ label {_quoted(' && '.join(ci.runner))} }}" if ci.runner else "agent any"
    if job.when in ("change", "branch", "approval"):
        yield from _block("when", ["beforeAgent true", "changeRequest()" if job.when == "change" else on_branch])
    yield from _block("options", [f"timeout(time: {pipeline.minutes}, unit: 'MINUTES')"])
    environment = ['PATH = "${env.WORKSPACE_TMP}/venv/bin:${env.PATH}"']
    person = "env.APPROVER ?: env.BUILD_USER_ID" if job.when == "approval" else "env.BUILD_USER_ID"
    environment.append(f"TRIMTAB_USER = \"${{{person} ?: 'jenkins'}}\"")
    if job.environment is not None:
        environment += ['REASON = "commit ${env.GIT_COMMIT}"', f"TRIMTAB_ENV = {_quoted(job.environment)}"]
    environment += [f"{name} = credentials({_quoted(name)})" for name in job.secrets]
    yield from _block("environment", [*environment, *_region(f"{job.id}-env")])
    # a workspace is used again: reports of the stage before do not count for this one
    install = (f"rm -rf {REPORTS}", f'python{facts.policy.deploy.python} -m venv "{VENV}"', pipeline.install)
    yield from _block(
        "stages",
        [
            *_block("stage('Install')", _block("steps", _shell(facts, install))),
            *(_handing("Take what has passed", f"unstash({_quoted(job.takes)})") if job.takes else []),
            *_region(f"{job.id}-first"),
            *(line for step in job.steps if not step.always for line in _step(facts, step)),
            *(_handing("Hand on what has passed", _stash(facts, job.hands)) if job.hands else []),
            *_region(f"{job.id}-last"),
        ],
    )
    folder = facts.from_root(REPORTS)
    kept = [
        f"junit(testResults: {_quoted(folder + '/*.xml')}, allowEmptyResults: true)",
        f"archiveArtifacts(artifacts: {_quoted(folder + '/**')}, allowEmptyArchive: true)",
    ]
    always = _shell(facts, [step.run for step in job.steps if step.always])
    yield from _block("post", _block("always", [*always, *kept]))


def _handing(title: str, line: str) -> list[str]:
    return _block(f"stage({_quoted(title)})", _block("steps", [line]))


def _stash(facts: Facts, folder: str) -> str:
    return f"stash(name: {_quoted(folder)}, includes: {_quoted(facts.from_root(folder) + '/**')})"


def _step(facts: Facts, step: Step) -> list[str]:
    return _block(f"stage({_quoted(step.name)})", _block("steps", _shell(facts, [step.run])))


def _shell(facts: Facts, lines: Lines) -> list[str]:
    """Return calls of a shell, in the folder of the project."""
    found = [f"sh {_quoted(line)}" for line in lines]
    return _block(f"dir({_quoted(facts.subfolder)})", found) if facts.subfolder and found else found


def _block(head: str, body: Lines) -> list[str]:
    return [f"{head} {{", *(f"  {line}" for line in body), "}"]


def _region(name: str) -> list[str]:
    return region(name, comment="//").splitlines()


def _list(names: Iterable[str]) -> str:
    return ", ".join(map(_quoted, names))


def _quoted(text: str) -> str:
    """Return a text of Groovy in which nothing is replaced."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
