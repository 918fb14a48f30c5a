"""All servers run the same lines in the same order, whatever policy and models; each file is what its server reads."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.pipeline_facts import BOTH, facts
from kit.pipeline_lines import Lines, of_github, of_gitlab, of_jenkins
from trimtab.targets.kept_regions import merge
from trimtab.targets.pipelines import github, gitlab, jenkins
from trimtab.targets.pipelines.stage_list import pipeline_of
from trimtab.targets.project_facts import Facts
from trimtab.targets.target_list import PIPELINES

ENVIRONMENTS = st.sampled_from(["", "environments: { staging: {} }\n", BOTH])
NAMES = st.lists(st.sampled_from(["delay", "fares", "no_show"]), min_size=1, max_size=3, unique=True)
LINES = st.lists(st.text("ab'\"\\$`{} -#:", min_size=1, max_size=12).filter(lambda text: text.strip()), max_size=2)
INSTALLS = 3
"""Lines with which a stage of Jenkins begins: remove old reports, make an environment, install."""


def runs(of: Facts) -> tuple[dict[str, Lines], dict[str, Lines], dict[str, Lines]]:
    """Return what GitHub, GitLab and Jenkins run, by the id of the job."""
    pipeline = pipeline_of(of)
    jobs = [*pipeline.jobs, *([pipeline.rollback] if pipeline.rollback else [])]
    ids = {job.title: job.id for job in jobs}
    on_github = {ids[name]: each for text in github.files(of).values() for name, each in of_github(text).items()}
    on_jenkins = {ids[name]: each for text in jenkins.files(of).values() for name, each in of_jenkins(text).items()}
    (text,) = gitlab.files(of).values()
    prefix = f"{of.slug}-" if of.subfolder else ""
    on_gitlab = {name.removeprefix(prefix): each for name, each in of_gitlab(text).items()}
    return on_github, on_gitlab, on_jenkins


@settings(max_examples=25)
@given(ENVIRONMENTS, NAMES, st.sampled_from(["", "models/flights"]), LINES)
def test_all_servers_run_the_same_lines(
    environments: str, models: list[str], subfolder: str, prepare: list[str]
) -> None:
    policy = yaml.safe_dump({"deploy": {"ci": {"prepare": prepare}}})
    of = facts(environments + policy, models=models, subfolder=subfolder)
    on_github, on_gitlab, on_jenkins = runs(of)
    expected = {job.id: job for job in pipeline_of(of).jobs}
    for name, job in expected.items():
        lines = [step.run for step in job.steps if not step.always]
        always = [step.run for step in job.steps if step.always]
        assert (on_github[name].run, on_github[name].always) == (lines, always)
        assert (on_gitlab[name].run, on_gitlab[name].always) == (lines, always)
        assert (on_jenkins[name].run[INSTALLS:], on_jenkins[name].always) == (lines, always)
        where = {each[name].variables["TRIMTAB_ENV"] for each in (on_github, on_gitlab, on_jenkins)}
        assert where == {job.environment}
    assert ("rollback" in on_github) == ("rollback" in on_jenkins) == bool(pipeline_of(of).environments)
    if "rollback" in on_github:
        for each in pipeline_of(of).environments:
            assert (
                on_gitlab[f"rollback-{each}"].run == on_github["rollback"].run == on_jenkins["rollback"].run[INSTALLS:]
            )


@settings(max_examples=25)
@given(st.sampled_from(sorted(PIPELINES)), ENVIRONMENTS, st.text("abc #:-", max_size=10))
def test_lines_of_the_user_stay_whatever_the_policy_becomes(server: str, environments: str, line: str) -> None:
    comment = "//" if server == "jenkins" else "#"
    for path, text in PIPELINES[server].files(facts(environments)).items():
        marks = [each for each in text.splitlines() if f"{comment} trimtab: yours " in each]
        assert len(set(marks)) == len(marks) >= 3
        changed = text
        for mark in marks:
            changed = changed.replace(f"{mark}\n", f"{mark}\n  {comment} {line}\n")
        now = PIPELINES[server].files(facts(environments + "deploy: { ci: { timeout: 2h } }\n"))[path]
        assert merge(now, changed, path).count(f"  {comment} {line}\n") == len(marks)


def test_jenkins_asks_a_person_before_production_and_nothing_of_a_person_is_text_of_a_shell() -> None:
    texts = jenkins.files(facts(BOTH + "deploy: { ci: { schedule: '0 4 * * 1', runner: [linux, big] } }\n"))
    text = texts["Jenkinsfile"]
    assert text.index("message: 'Deploy to production?'") < text.index("stage('Deploy to production')")
    assert "cron((env.BRANCH_NAME ?: 'main') == 'main' ? 'TZ=UTC\\n0 4 * * 1' : '')" in text
    assert "agent { label 'linux && big' }" in text
    assert text.count("{") == text.count("}")
    for each in texts.values():
        assert not [line for line in each.splitlines() if line.strip().startswith('sh "')]
    assert "choices: ['production', 'staging']" in texts["Jenkinsfile.rollback"]


def test_jenkins_lets_people_say_who_may_approve_and_names_the_person_of_a_build() -> None:
    made = jenkins.files(facts(BOTH))
    text, mark = made["Jenkinsfile"], "            // trimtab: yours approval\n"
    merged = merge(text, text.replace(mark, f"{mark}            submitter: 'ops',\n"), "Jenkinsfile")
    asked = merged[merged.index("input(") : merged.index("stage('Deploy to production')")]
    assert asked.index("submitter: 'ops',") < asked.index("message:")
    assert """TRIMTAB_USER = "${env.APPROVER ?: env.BUILD_USER_ID ?: 'jenkins'}\"""" in text
    assert """TRIMTAB_USER = "${env.BUILD_USER_ID ?: 'jenkins'}\"""" in made["Jenkinsfile.rollback"]


def test_jenkins_says_which_stores_lie_in_a_workspace() -> None:
    made = jenkins.files(facts("environments: { staging: {}, production: {} }\n"))
    assert all("// Stores of staging and production lie in the workspace" in text for text in made.values())
    assert "both jobs share" in made["Jenkinsfile.rollback"]
    assert not any("workspace:" in text for text in jenkins.files(facts(BOTH)).values())


def test_gitlab_deploys_to_production_by_hand_and_one_job_at_a_time() -> None:
    (text,) = gitlab.files(facts(BOTH)).values()
    found: dict[str, Any] = yaml.safe_load(text)
    assert found["production"]["rules"] == [
        {"if": '$CI_COMMIT_BRANCH == "main"', "when": "manual", "allow_failure": True}
    ]
    assert found["production"]["resource_group"] == found["rollback-production"]["resource_group"]
    assert found["sample"]["rules"] == [{"if": '$CI_PIPELINE_SOURCE == "merge_request_event"'}]
    needs = {name: job["needs"] for name, job in found.items() if not name.startswith(".")}
    assert needs["production"] == ["staging"]
    assert needs["staging"] == needs["sample"] == ["check"]
    assert all(set(each) <= set(found) for each in needs.values())


def test_gitlab_keeps_stores_by_environment_and_no_reports_of_other_jobs() -> None:
    (text,) = gitlab.files(facts("environments: { staging: {}, production: {} }\n")).values()
    found = yaml.safe_load(text)

    def stores(job: str) -> list[tuple[str, list[str], str]]:
        return [(each["key"].split("-")[-2], each["paths"], each["policy"]) for each in found[job]["cache"][1:]]

    staging, production = [".trimtab/environments/staging"], [".trimtab/environments/production"]
    assert stores("staging") == [("staging", staging, "pull-push")]
    assert stores("production") == [("staging", staging, "pull"), ("production", production, "pull-push")]
    assert stores("rollback-production") == [("production", production, "pull-push")]
    shared = found[".trimtab-flight-delays"]
    assert "rm -rf .trimtab/ci" in shared["before_script"]
    assert ".trimtab/passed/" in shared["artifacts"]["paths"]
    (local,) = yaml.safe_load("".join(gitlab.files(facts()).values()))["train"]["cache"]
    assert local["paths"] == [".trimtab/*"]


def test_jenkins_hands_the_version_on_within_a_build() -> None:
    text = jenkins.files(facts(BOTH, subfolder="models/flights"))["models/flights/Jenkinsfile"]
    hands = text.index("stash(name: '.trimtab/passed', includes: 'models/flights/.trimtab/passed/**')")
    assert text.index("trimtab deploy") < hands < text.index("unstash('.trimtab/passed')") < text.index("promote")


def test_gitlab_names_jobs_after_the_project_in_a_subfolder() -> None:
    of = facts(BOTH + "deploy: { ci: { secrets: { jobs: [TOKEN] } } }\n", subfolder="models/flights")
    ((path, text),) = gitlab.files(of).items()
    assert path == "models/flights/.gitlab-ci.yml"
    assert "# Variables of the project's settings: TOKEN." in text
    found = yaml.safe_load(text)
    assert found["flight-delays-production"]["needs"] == ["flight-delays-staging"]
    assert found[".trimtab-flight-delays"]["before_script"][0] == "cd models/flights"


@pytest.mark.parametrize("server", sorted(PIPELINES))
def test_secrets_stand_there_by_name(server: str) -> None:
    policy = BOTH + "deploy: { ci: { secrets: { jobs: [TOKEN], production: [LIVE] } } }\n"
    texts = "".join(PIPELINES[server].files(facts(policy)).values())
    for name in ("TOKEN", "LIVE"):
        assert name in texts
