"""The jobs and steps of a pipeline, of which the files of every CI server are made. A step is one line of a shell.

A pull request trains on a sample, in the embedded stores of its own machine, and deploys nothing. A push to the branch
trains in the staging environment and deploys there; the production environment gets what serves in staging.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Literal

from trimtab import units
from trimtab.definitions.secrets import names_in
from trimtab.definitions.sources import FileSource
from trimtab.errors import DefinitionError, PolicyError, nearest
from trimtab.policy.deploy.section_ci import RUFF
from trimtab.policy.environments import LOCAL, ROOT, Environment, folder_of
from trimtab.targets.docker.image_packages import extras, training_packages
from trimtab.targets.project_facts import Facts

REPORTS = ".trimtab/ci"
"""Folder of what jobs write for people; version control ignores it."""
PASSED = ".trimtab/passed"
"""Folder of what the job `staging` hands to the job `production`: a file for each model, with the version that serves
in staging."""
TOKEN = "GATEWAY_TOKEN"
"""Secret with a token of gateways that ask for one, by which smoke tests ask them."""

MODEL = "{model}"
"""Stands for the name of a model in a line."""
WHOLE = (f"{ROOT}/*", f"!{REPORTS}", f"!{PASSED}", f"!{ROOT}/environments")
"""The stores of `local`, without what else lies in their folder."""

When = Literal["always", "change", "branch", "approval", "manual"]
"""change: a pull request; branch: a push, the schedule, or a start by hand; approval: after it, and after a person's
yes; manual: a person alone starts it."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One line of a shell. always: also after a step that failed."""

    name: str
    run: str
    always: bool = False


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Stores of an environment that lie in the project folder, which the server keeps from one job to the next.

    Attributes:
        environment: whose stores they are.
        paths: files and folders, from the project folder; a `!` stands before what is left out.
        changes: the job writes into them.
    """

    environment: str
    paths: tuple[str, ...]
    changes: bool = True


@dataclass(frozen=True, kw_only=True)
class Job:
    """Steps on one machine.

    Attributes:
        id: name of the job in files.
        title: for people.
        when: what starts it.
        steps: after the installation.
        needs: id of the job before it.
        environment: entry of `environments` that its commands open; None where a person chooses it.
        secrets: names of environment variables.
        keeps: stores in the project folder, by environment.
        hands: folder that it hands to the job after it.
        takes: folder that it takes from the job before it.
    """

    id: str
    title: str
    when: When
    steps: tuple[Step, ...]
    needs: str | None = None
    environment: str | None = LOCAL
    secrets: tuple[str, ...] = ()
    keeps: tuple[Kept, ...] = ()
    hands: str | None = None
    takes: str | None = None


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """What the files of every CI server say.

    Attributes:
        jobs: in their order, the rollback apart.
        rollback: what a person starts to restore what served before; None without an environment to deploy to.
        environments: those that are deployed to, as in the policy.
        models: names of the models that are trained.
        install: the line that installs Trimtab.
        minutes: longest time of a job.
    """

    jobs: tuple[Job, ...]
    rollback: Job | None
    environments: tuple[str, ...]
    models: tuple[str, ...]
    install: str
    minutes: int


def pipeline_of(facts: Facts) -> Pipeline:
    """Return the pipeline of a project.

    Raises:
        PolicyError: deploy.ci names an environment that is not there, or production without staging.
        DefinitionError: no model has a trainer.
    """
    models = tuple(name for name, model in facts.definitions.models.items() if model.fit is not None)
    if not models:
        raise DefinitionError(f"{facts.definitions.path}: no model has a trainer, so a pipeline would train nothing")
    ci = facts.policy.deploy.ci
    staging, production = _environment(facts, "staging"), _environment(facts, "production")
    if production is not None and staging is None:
        raise PolicyError(
            f"trimtab.yaml: deploy.ci.production is '{production}', which gets what serves in staging; expected an "
            "environment 'staging' under environments, or its name at deploy.ci.staging"
        )
    if staging is not None and facts.policy.environments[staging].approvals:
        raise PolicyError(
            f"trimtab.yaml: environments.{staging}.approvals: a push deploys to {staging}, and approvals would refuse "
            "it; expected 0, or another environment at deploy.ci.staging"
        )
    jobs = tuple(_jobs(facts, models, staging, production))
    environments = tuple(name for name in (staging, production) if name is not None)
    return Pipeline(
        jobs=jobs,
        rollback=_rollback(facts, environments) if environments else None,
        environments=environments,
        models=models,
        install=_install(facts),
        minutes=ci.timeout // units.MICROS["m"],
    )


def _environment(facts: Facts, key: Literal["staging", "production"]) -> str | None:
    """Return the environment of the policy that `deploy.ci` names, or the one of that name if there is one."""
    named, found = getattr(facts.policy.deploy.ci, key), facts.policy.environments
    if named is None:
        return key if key in found else None
    if named not in found:
        raise PolicyError(
            f"trimtab.yaml: deploy.ci.{key}: no environment '{named}' under environments.{nearest(named, found)}"
        )
    return str(named)


def _jobs(facts: Facts, models: tuple[str, ...], staging: str | None, production: str | None) -> Iterator[Job]:
    ci = facts.policy.deploy.ci
    secrets = _secrets(facts, LOCAL)
    prepare = tuple(Step(name=f"Prepare: {line}", run=line) for line in ci.prepare)
    linter = (Step(name="Install the linter", run="python -m pip install --quiet ruff"),) if ci.lint == RUFF else ()
    lint = (*linter, Step(name="Lint", run=ci.lint)) if ci.lint else ()
    checks = (
        *lint,
        Step(name="Files in step with the policy", run="trimtab export --check"),
        *prepare,
        Step(name="Test the project", run=f"trimtab test --junit {REPORTS}/test.xml"),
    )
    yield Job(id="check", title="Check", when="always", steps=checks, secrets=secrets)
    comment = Step(
        name="Write the text of a comment", run=f"trimtab summary --markdown {REPORTS}/summary.md", always=True
    )
    training = (*prepare, Step(name="Ingest a sample", run=_sample(facts)), *_training(facts, models), comment)
    yield Job(id="sample", title="Train on a sample", when="change", steps=training, needs="check", secrets=secrets)
    where = staging or LOCAL
    steps = (
        *prepare,
        Step(name="Ingest", run="trimtab ingest"),
        *_training(facts, models),
        *_each(models, "Register", "trimtab register"),
        *_each(models, "Deploy", _deploy(production)),
        _smoke(facts, staging),
    )
    yield Job(
        id="staging" if staging else "train",
        title=f"Train and deploy to {staging}" if staging else "Train and serve",
        when="branch",
        steps=steps,
        needs="check",
        environment=where,
        secrets=_secrets(facts, where, further=(*ci.secrets.staging, *_tokens(facts, staging))),
        keeps=_kept(facts, where),
        hands=PASSED if production else None,
    )
    if staging is None or production is None:
        return
    both = (*ci.secrets.staging, *ci.secrets.production)
    yield Job(
        id="production",
        title=f"Deploy to {production}",
        when="approval",
        steps=(
            *prepare,
            Step(name="Ingest", run="trimtab ingest"),  # the tables from which production computes its features
            *_promotions(facts, models, staging, production),
            _smoke(facts, production),
        ),
        needs="staging",
        environment=production,
        secrets=_secrets(facts, staging, production, further=(*both, *_tokens(facts, production))),
        keeps=(*(replace(each, changes=False) for each in _kept(facts, staging)), *_kept(facts, production)),
        takes=PASSED,
    )


def _rollback(facts: Facts, environments: tuple[str, ...]) -> Job:
    secrets, smoke = facts.policy.deploy.ci.secrets, _smoke(facts, *environments)
    both = (*secrets.staging, *secrets.production)
    return Job(
        id="rollback",
        title="Roll back",
        when="manual",
        steps=(Step(name="Roll back", run='trimtab rollback --model "$MODEL" --reason "$REASON"'), smoke),
        environment=None,
        secrets=_secrets(facts, *environments, further=(*both, *_tokens(facts, *environments))),
        keeps=tuple(kept for name in environments for kept in _kept(facts, name)),
    )


def _deploy(production: str | None) -> str:
    """Return the line that deploys; where an environment comes after it, with the version that is handed to it."""
    handed = f" --version-file {PASSED}/{MODEL}" if production else ""
    return f'trimtab deploy --as champion --once --reason "$REASON"{handed}'


def _promotions(facts: Facts, models: tuple[str, ...], staging: str, production: str) -> tuple[Step, ...]:
    """Return the steps that promote the versions that were approved, whatever serves in staging by now.

    Where the environment asks for approvals, all models are asked for before the step fails.
    """
    line = (
        f"trimtab promote --from {shlex.quote(staging)} --to {shlex.quote(production)} "
        f'--version "$(cat {PASSED}/{MODEL})" --reason "$REASON"'
    )
    steps = _each(models, "Promote", line)
    if len(steps) == 1 or not facts.policy.environments[production].approvals:
        return steps
    asked = "; ".join(f"{step.run} || failed=$?" for step in steps)
    return (Step(name="Promote", run=f"failed=0; {asked}; (exit $failed)"),)


def _training(facts: Facts, models: tuple[str, ...]) -> tuple[Step, ...]:
    """Return the steps from checked tables to judged runs, with what people get to see of them."""
    as_of = facts.policy.deploy.ci.as_of
    return (
        Step(name="Validate", run="trimtab validate"),
        *_each(models, "Features", f"trimtab features --as-of {shlex.quote(as_of)}" if as_of else "trimtab features"),
        *_each(models, "Train", "trimtab train"),
        *_each(models, "Evaluate", "trimtab evaluate", junit="gates"),
        *_each(models, "Report", "trimtab report model", html="model"),
        Step(name="Summary", run="trimtab summary", always=True),
    )


def _sample(facts: Facts) -> str:
    """Return the line that ingests a sample: a stretch of the files, and some rows of other sources."""
    ci, definitions = facts.policy.deploy.ci, facts.definitions
    line = "trimtab ingest"
    if ci.sample is not None and any(isinstance(model.examples, FileSource) for model in definitions.models.values()):
        line += f" --last {units.short(ci.sample)}"
    if ci.sample_rows is not None and not all(isinstance(each, FileSource) for each in definitions.sources.values()):
        line += f" --rows {ci.sample_rows}"
    return line


def _secrets(facts: Facts, *environments: str, further: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the names of the secrets of a job: of the sources, of the stores of environments, and those in ci.secrets.

    further: those of ci.secrets beside the ones of all jobs.
    """
    sources = [name for source in facts.definitions.sources.values() for name in names_in(source)]
    places = [facts.policy.environments.get(name, Environment()).model_dump() for name in environments]
    return tuple(dict.fromkeys((*sources, *names_in(places), *facts.policy.deploy.ci.secrets.jobs, *further)))


def _each(models: tuple[str, ...], name: str, run: str, **reports: str) -> tuple[Step, ...]:
    """Return one step for each model, whose name takes the place of MODEL.

    reports: options that name a file, with the start of its name.
    """
    several = len(models) > 1
    found = []
    for model in models:
        line = f"{run} --model {shlex.quote(model)}" if several else run
        line = line.replace(MODEL, shlex.quote(model))
        for option, stem in reports.items():
            ending = "xml" if option == "junit" else option
            line += f" --{option} {REPORTS}/{stem}{f'-{model}' if several else ''}.{ending}"
        found.append(Step(name=f"{name} {model}" if several else name, run=line))
    return tuple(found)


def _smoke(facts: Facts, *environments: str | None) -> Step:
    """Return the test of a gateway by HTTP: of the one that the policy names, else of one that the step starts."""
    found = [facts.policy.environments.get(name or LOCAL, Environment()) for name in environments]
    named = all(each.gateway for each in found)
    token = f" --token-env {TOKEN}" if named and any(_asks_for_tokens(facts, each) for each in found) else ""
    start = "" if named else " --start"
    return Step(name="Smoke test", run=f"trimtab smoke{start}{token} --junit {REPORTS}/smoke.xml")


def _tokens(facts: Facts, *environments: str | None) -> tuple[str, ...]:
    return (TOKEN,) if TOKEN in _smoke(facts, *environments).run else ()


def _asks_for_tokens(facts: Facts, environment: Environment) -> bool:
    return facts.policy.in_environment(environment).serving.authentication == "tokens"


def _kept(facts: Facts, name: str) -> tuple[Kept, ...]:
    """Return the stores of an environment that lie in the folder of the project, if there are any."""
    environment = facts.policy.environments.get(name, Environment())
    folder = folder_of(name, environment)
    stores = (environment.metadata, environment.tables, environment.online, environment.artifacts)
    places = [folder if each is None else each for each in (*stores, environment.predictions, environment.tracking)]
    inside = dict.fromkeys(each.rstrip("/") for each in places if _is_inside(each))
    paths = tuple(path for place in inside for path in (WHOLE if place == ROOT else (_pattern(place),)))
    return (Kept(environment=name, paths=paths),) if paths else ()


def _pattern(place: str) -> str:
    """Return a folder as it is, and a file of SQLite with the files that it has beside it."""
    path = place.removeprefix("sqlite:///")
    return place if path == place else f"{path}*"


def _is_inside(place: str) -> bool:
    """Return True if a path or URL names a place below the folder of the project."""
    path = place.removeprefix("sqlite:///")
    return "://" not in path and not path.startswith("~") and not PurePosixPath(path).is_absolute()


def _install(facts: Facts) -> str:
    """Return the line that installs Trimtab, with what reports, gateway, policy, sources and trainers need."""
    grpc = () if facts.policy.serving.grpc_port is None else ("grpc",)
    named = ",".join(sorted({"console", *extras(facts, loop=False), *grpc}))
    own = [f"trimtab[{named}]=={facts.version}", *training_packages(facts)]
    words = [word for line in facts.policy.deploy.ci.install or own for word in shlex.split(line)]
    return "python -m pip install --quiet " + " ".join(shlex.quote(word) for word in words)
