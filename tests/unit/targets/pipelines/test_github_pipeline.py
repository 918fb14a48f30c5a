"""The workflows of GitHub Actions: rights, triggers, secrets by name, and nothing of a person's as text of a shell."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from kit.pipeline_facts import BOTH, facts
from trimtab.targets.kept_regions import merge
from trimtab.targets.pipelines import github
from trimtab.targets.project_facts import Facts

MAIN, ROLLBACK = ".github/workflows/trimtab-flight-delays.yml", ".github/workflows/trimtab-flight-delays-rollback.yml"


def workflow(of: Facts, path: str = MAIN) -> dict[str, Any]:
    found = yaml.safe_load(github.files(of)[path])
    assert isinstance(found, dict)
    return found


def steps(of: Facts, path: str = MAIN) -> list[tuple[str, dict[str, Any]]]:
    return [(name, step) for name, job in workflow(of, path)["jobs"].items() for step in job["steps"]]


@pytest.mark.parametrize("path", [MAIN, ROLLBACK])
def test_a_workflow_may_only_read_the_repository_and_every_job_ends(path: str) -> None:
    found = workflow(facts(BOTH + "deploy: { ci: { timeout: 90m } }\n"), path)
    assert found["permissions"] == {"contents": "read"}
    assert {job["timeout-minutes"] for job in found["jobs"].values()} == {90}
    checkouts = [
        s for job in found["jobs"].values() for s in job["steps"] if s.get("uses", "").startswith("actions/ch")
    ]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.parametrize("path", [MAIN, ROLLBACK])
def test_no_line_of_a_shell_holds_an_expression(path: str) -> None:
    """GitHub puts the value of an expression into the text of a line: a title such as `"; rm -r` would be run."""
    for _, step in steps(facts(BOTH, models=("delay", "fares")), path):
        assert "${{" not in step.get("run", "")
        assert "\n" not in step.get("run", "")


def test_actions_have_versions() -> None:
    used = {step["uses"] for _, step in steps(facts("environments: { staging: {} }\n")) if "uses" in step}
    assert len(used) == 4
    assert all(each.partition("@v")[2].isdigit() for each in used)


def test_a_pull_request_starts_the_check_and_the_sample_alone() -> None:
    jobs = workflow(facts(BOTH))["jobs"]
    branch = "github.ref == 'refs/heads/main'"
    assert {name: job.get("if") for name, job in jobs.items()} == {
        "check": None, "sample": "github.event_name == 'pull_request'", "staging": branch, "production": branch,
    }  # fmt: skip
    assert {name: job.get("environment") for name, job in jobs.items()} == {
        "check": None, "sample": None, "staging": "staging", "production": "production",
    }  # fmt: skip


def test_the_rollback_has_its_choices_from_the_policy() -> None:
    found = workflow(facts(BOTH, models=("delay", "fares")), ROLLBACK)
    inputs = found["on"]["workflow_dispatch"]["inputs"]
    assert inputs["environment"]["options"] == ["production", "staging"]
    assert inputs["model"]["options"] == ["delay", "fares"]
    job = found["jobs"]["rollback"]
    assert job["environment"] == job["env"]["TRIMTAB_ENV"] == "${{ github.event.inputs.environment }}"
    assert (job["env"]["MODEL"], found["env"]["REASON"]) == (
        "${{ github.event.inputs.model }}",
        "${{ github.event.inputs.reason }}",
    )


def test_without_environments_stores_are_kept_and_there_is_no_rollback() -> None:
    made = github.files(facts())
    assert list(made) == [MAIN]
    jobs = workflow(facts())["jobs"]
    caches = {
        name: [s for s in job["steps"] if s.get("uses", "").startswith("actions/cache")] for name, job in jobs.items()
    }
    assert [name for name, found in caches.items() if found] == ["train"]
    assert caches["train"][0]["with"]["path"].split() == [
        ".trimtab/*", "!.trimtab/ci", "!.trimtab/passed", "!.trimtab/environments",
    ]  # fmt: skip
    assert not [s for _, s in steps(facts(BOTH)) if s.get("uses", "").startswith("actions/cache")]  # stores elsewhere


def test_jobs_that_run_beside_each_other_keep_the_stores_of_their_own_environment() -> None:
    """A cache of all stores would lose what the other job wrote: the last one that ends replaces it."""
    of = facts("environments: { staging: {}, production: { folder: live } }\n")

    def stores(path: str, job: str) -> list[tuple[str, str, str | None]]:
        found = [s for name, s in steps(of, path) if name == job and s.get("name", "").startswith("Stores of")]
        return [(s["uses"], s["with"]["path"].strip(), s.get("if")) for s in found]

    staging, production = ".trimtab/environments/staging", "live"
    assert stores(MAIN, "staging") == [("actions/cache@v4", staging, None)]
    assert stores(MAIN, "production") == [
        ("actions/cache/restore@v4", staging, None),
        ("actions/cache@v4", production, None),
    ]
    chosen = "github.event.inputs.environment == '{}'"
    assert stores(ROLLBACK, "rollback") == [
        ("actions/cache@v4", staging, chosen.format("staging")),
        ("actions/cache@v4", production, chosen.format("production")),
    ]
    keys = {s["with"]["restore-keys"] for _, s in steps(of) if "restore-keys" in s.get("with", {})}
    assert keys == {f"trimtab-flight-delays-{each}-stores-" for each in ("staging", "production")}


def test_a_rollback_and_a_deployment_of_one_environment_exclude_each_other() -> None:
    jobs = workflow(facts(BOTH))["jobs"]
    groups = [jobs[name]["concurrency"]["group"] for name in ("staging", "production")]
    assert groups == ["trimtab-flight-delays-staging", "trimtab-flight-delays-production"]
    rollback = workflow(facts(BOTH), ROLLBACK)["jobs"]["rollback"]
    assert rollback["concurrency"]["group"] == "trimtab-flight-delays-${{ github.event.inputs.environment }}"


def test_production_takes_from_staging_what_was_approved() -> None:
    def handed(job: str) -> dict[str, Any]:
        named = "flight-delays-staging-passed"
        (step,) = [s for name, s in steps(facts(BOTH)) if name == job and s.get("with", {}).get("name") == named]
        return step

    given, taken = handed("staging"), handed("production")
    assert (given["uses"].split("@")[0], given["with"]["if-no-files-found"]) == ("actions/upload-artifact", "error")
    assert taken["uses"].split("@")[0] == "actions/download-artifact"
    assert given["with"]["path"] == taken["with"]["path"] == ".trimtab/passed"
    only = [s for _, s in steps(facts("environments: { staging: {} }\n")) if "passed" in str(s.get("with"))]
    assert not only


def test_a_project_in_a_subfolder_works_there_and_ignores_changes_elsewhere() -> None:
    found = workflow(facts(subfolder="models/flights"))
    assert found["defaults"]["run"]["working-directory"] == "models/flights"
    assert found["on"]["push"]["paths"] == found["on"]["pull_request"]["paths"] == ["models/flights/**", MAIN]
    uploads = [s for _, s in steps(facts(subfolder="models/flights")) if s.get("uses", "").startswith("actions/upload")]
    assert {step["with"]["path"] for step in uploads} == {"models/flights/.trimtab/ci"}


def test_the_policy_says_branch_times_and_machines() -> None:
    ci = "branch: trunk, schedule: '0 4 * * 1', runner: [self-hosted, big], artifact_days: 7"
    policy = f"deploy: {{ python: 3.13, ci: {{ {ci} }} }}\n"
    found = workflow(facts(policy))
    assert found["on"]["push"]["branches"] == ["trunk"]
    assert found["on"]["schedule"] == [{"cron": "0 4 * * 1"}]
    assert found["jobs"]["train"]["if"] == "github.ref == 'refs/heads/trunk'"
    assert {tuple(job["runs-on"]) for job in found["jobs"].values()} == {("self-hosted", "big")}
    of_python = [s["with"] for _, s in steps(facts(policy)) if s.get("uses", "").startswith("actions/setup-python")]
    assert {each["python-version"] for each in of_python} == {"3.13"}
    kept = [s["with"]["retention-days"] for _, s in steps(facts(policy)) if "retention-days" in s.get("with", {})]
    assert set(kept) == {7}


def test_what_stands_between_the_marks_is_kept() -> None:
    (made,) = github.files(facts()).values()
    mark = "      # trimtab: yours check-first\n"
    assert made.count(mark) == 1
    changed = made.replace(mark, mark + "      - run: make data\n")
    merged = merge(github.files(facts("deploy: { ci: { branch: trunk } }\n"))[MAIN], changed, MAIN)
    found = yaml.safe_load(merged)
    assert {"run": "make data"} in found["jobs"]["check"]["steps"]
    assert found["on"]["push"]["branches"] == ["trunk"]
    assert merge(made, merge(made, changed, MAIN), MAIN) == changed
