"""The jobs and steps that all servers get: what runs where, by the policy; wrong values before any text is made."""

from __future__ import annotations

import os
import shlex
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trimtab as tt
from kit.pipeline_facts import BOTH, facts
from trimtab.cli.verbs import VERBS
from trimtab.clock import parse_time
from trimtab.errors import DefinitionError, PolicyError, TrimtabError
from trimtab.targets.pipelines.stage_list import Job, Pipeline, pipeline_of

STAGES = ("ingest", "validate", "features", "train", "evaluate", "report", "register", "deploy", "smoke", "summary")


def job(pipeline: Pipeline, name: str) -> Job:
    return next(each for each in pipeline.jobs if each.id == name)


def verbs(of: Job) -> list[str]:
    """Return the verbs of Trimtab in the order in which a job runs them."""
    words = [shlex.split(step.run) for step in sorted(of.steps, key=lambda step: step.always)]
    return [each[1] for each in words if each[0] == "trimtab"]


def test_a_push_goes_through_every_stage_once() -> None:
    pipeline = pipeline_of(facts(BOTH))
    assert verbs(job(pipeline, "check")) == ["export", "test"]
    assert verbs(job(pipeline, "staging")) == [*STAGES]
    assert verbs(job(pipeline, "production")) == ["ingest", "promote", "smoke"]
    assert pipeline.rollback is not None
    assert verbs(pipeline.rollback) == ["rollback", "smoke"]
    assert set(STAGES) <= set(VERBS)


def test_a_pull_request_trains_on_a_sample_in_stores_of_its_own_and_deploys_nothing() -> None:
    sample = job(pipeline_of(facts(BOTH)), "sample")
    assert verbs(sample) == ["ingest", "validate", "features", "train", "evaluate", "report", "summary", "summary"]
    assert sample.environment == "local"


def test_a_sample_is_a_stretch_of_files_and_some_rows_of_other_sources() -> None:
    def line(ci: str = "", **sources: Any) -> str:
        steps = job(pipeline_of(facts(f"deploy: {{ ci: {{ {ci} }} }}\n", **sources)), "sample").steps
        return next(step.run for step in steps if step.run.startswith("trimtab ingest"))

    shop = tt.SQLSource("shop", connection="sqlite:///shop.db", table="orders", timestamp="at", cursor="id")
    assert line() == "trimtab ingest --last 90d"
    assert line("sample: 48h, sample_rows: 700", shop=shop) == "trimtab ingest --last 2d --rows 700"
    assert line("sample: null, sample_rows: null", shop=shop) == "trimtab ingest"


def test_every_model_goes_through_a_stage_before_the_next_stage_begins() -> None:
    steps = job(pipeline_of(facts(BOTH, models=("delay", "fares"))), "staging").steps
    lines = [step.run for step in steps]
    for stage in ("features", "train", "evaluate", "register", "deploy"):
        of_stage = [each for each in lines if each.startswith(f"trimtab {stage} ")]
        assert [shlex.split(each)[shlex.split(each).index("--model") + 1] for each in of_stage] == ["delay", "fares"]
    judged = max(place for place, line in enumerate(lines) if line.startswith("trimtab evaluate"))
    assert judged < min(place for place, line in enumerate(lines) if line.startswith("trimtab register"))
    files = [word for line in lines for word in shlex.split(line) if word.endswith((".xml", ".html"))]
    assert len(set(files)) == len(files)  # no report replaces another one


def test_the_environments_decide_how_far_a_push_goes() -> None:
    assert [each.id for each in pipeline_of(facts()).jobs] == ["check", "sample", "train"]
    assert pipeline_of(facts()).rollback is None
    only = pipeline_of(facts("environments: { staging: {} }\n"))
    assert [each.id for each in only.jobs] == ["check", "sample", "staging"]
    named = pipeline_of(
        facts("environments: { test: {}, live: {} }\ndeploy: { ci: { staging: test, production: live } }\n")
    )
    assert [each.environment for each in named.jobs] == ["local", "local", "test", "live"]
    promote = 'trimtab promote --from test --to live --version "$(cat .trimtab/passed/delay)" --reason "$REASON"'
    assert promote in [s.run for s in job(named, "production").steps]


def test_stores_in_the_project_folder_are_kept_for_the_next_job() -> None:
    assert job(pipeline_of(facts()), "train").keeps
    places = "metadata: 'postgresql://db/x', tables: /srv/t, online: /srv/o, artifacts: /srv/a, tracking: 'http://m'"
    whole, part = f"{places}, predictions: 'kafka://k:9092/log'", f"{places}, predictions: logs"
    folder = ".trimtab/environments/staging"
    untracked = whole.replace(", tracking: 'http://m'", "")
    here = "metadata: 'sqlite:///own/m.db', folder: own/rest"
    for environment, paths in (
        (whole, []), (part, ["logs"]), (places, [folder]), (untracked, [folder]), ("", [folder]),
        (here, ["own/m.db*", "own/rest"]),
    ):  # fmt: skip
        made = pipeline_of(facts(f"environments: {{ staging: {{ {environment} }} }}\n"))
        assert [path for kept in job(made, "staging").keeps for path in kept.paths] == paths


def test_production_gets_the_version_that_the_job_before_it_deployed() -> None:
    of = pipeline_of(facts(BOTH, models=("delay", "fares")))
    for verb, name, part in (("deploy", "staging", "--version-file {}"), ("promote", "production", '"$(cat {})"')):
        lines = [step.run for step in job(of, name).steps if step.run.startswith(f"trimtab {verb} ")]
        for line, model in zip(lines, ("delay", "fares"), strict=True):
            assert part.format(f".trimtab/passed/{model}") in line
            assert f"--model {model}" in line
    assert "--version-file" not in str(pipeline_of(facts("environments: { staging: {} }\n")))


@pytest.mark.parametrize("refused", ["none", "delay", "fares", "both"])
def test_approvals_of_all_models_are_asked_for_before_the_step_fails(refused: str, tmp_path: Path) -> None:
    policy = BOTH.replace("production: {", "production: { approvals: 2,")
    steps = job(pipeline_of(facts(policy, models=("delay", "fares"))), "production").steps
    (line,) = [step.run for step in steps if "promote" in step.run]
    command = f"""trimtab() {{ echo "$*" >> asked
        case "$*" in *"--model {refused}"*) return 1;; *) [ {refused} != both ];; esac; }}
        {line}
        echo on >> asked"""
    done = subprocess.run(["sh", "-e", "-c", command], cwd=tmp_path, env={"PATH": os.environ["PATH"], "REASON": "why"})
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [each.rpartition(" ")[2] for each in asked[:2]] == ["delay", "fares"]
    assert (done.returncode, asked[2:]) == ((0, ["on"]) if refused == "none" else (1, []))


def test_secrets_of_sources_and_policy_go_where_they_are_needed() -> None:
    orders = tt.SQLSource(
        "orders", connection=f"postgresql://app:{tt.secret('SHOP_PASSWORD')}@db/shop", table="orders",
        timestamp="at", cursor="id",
    )  # fmt: skip
    policy = BOTH + "deploy: { ci: { secrets: { jobs: [TOKEN], staging: [A], production: [B] } } }\n"
    pipeline = pipeline_of(facts(policy, orders=orders))
    shared = ("SHOP_PASSWORD", "TOKEN")
    assert job(pipeline, "check").secrets == job(pipeline, "sample").secrets == shared
    assert job(pipeline, "staging").secrets == (*shared, "A")
    assert job(pipeline, "production").secrets == (*shared, "A", "B")
    assert "[console,postgres]" in pipeline.install


def test_passwords_of_stores_go_to_the_jobs_that_open_these_stores() -> None:
    url = "metadata: 'postgresql://app:${{{0}}}@db/x', tracking: 'https://me:${{{1}}}@mlflow'"
    staging, production = url.format("DB", "MLFLOW"), url.format("LIVE_DB", "MLFLOW")
    of = facts(
        f"environments: {{ staging: {{ {staging} }}, production: {{ {production} }} }}\n"
        "deploy: { ci: { secrets: { production: [MLFLOW] } } }\n"
    )
    pipeline = pipeline_of(of)
    assert job(pipeline, "check").secrets == job(pipeline, "sample").secrets == ()
    assert job(pipeline, "staging").secrets == ("DB", "MLFLOW")
    assert pipeline.rollback is not None
    assert job(pipeline, "production").secrets == pipeline.rollback.secrets == ("DB", "MLFLOW", "LIVE_DB")


def test_a_gateway_that_the_policy_names_is_tested_with_a_token_if_it_asks_for_one() -> None:
    def smoke(environment: str) -> tuple[str, tuple[str, ...]]:
        staging = job(pipeline_of(facts(f"environments: {{ staging: {{ {environment} }} }}\n")), "staging")
        return next(step.run for step in staging.steps if "smoke" in step.run), staging.secrets

    url = "gateway: 'https://staging.example.com'"
    assert smoke("") == ("trimtab smoke --start --junit .trimtab/ci/smoke.xml", ())
    assert smoke(url) == ("trimtab smoke --junit .trimtab/ci/smoke.xml", ())
    asked = smoke(f"{url}, serving: {{ authentication: tokens }}")
    assert asked == ("trimtab smoke --token-env GATEWAY_TOKEN --junit .trimtab/ci/smoke.xml", ("GATEWAY_TOKEN",))


def test_install_takes_what_the_policy_says() -> None:
    assert pipeline_of(facts()).install == "python -m pip install --quiet 'trimtab[console]==1.2.3'"
    fares = tt.RESTSource("fares", url="https://api.example.com", path="fares", timestamp="at")
    assert "trimtab[api,console]==" in pipeline_of(facts(fares=fares)).install
    own = pipeline_of(facts("deploy: { ci: { install: ['-r requirements.txt', 'lightgbm>=4.5'] } }\n"))
    assert own.install == "python -m pip install --quiet -r requirements.txt 'lightgbm>=4.5'"


@pytest.mark.parametrize("written", ["2013-07-01", "2013-07-01T00:00:00", "'2013-07-01 00:00'"])
def test_training_sets_of_the_past_are_made_as_of_a_time(written: str) -> None:
    sample = job(pipeline_of(facts(f"deploy: {{ ci: {{ as_of: {written} }} }}\n")), "sample")
    (line,) = [step.run for step in sample.steps if step.run.startswith("trimtab features ")]
    assert parse_time(shlex.split(line)[-1]) == datetime(2013, 7, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        ("deploy: { ci: { as_of: yesterday } }\n", "deploy.ci.as_of"),
        ("deploy: { ci: { staging: stagin } }\nenvironments: { staging: {} }\n", "ci.staging: no environment 'stagin'"),
        ("environments: { staging: { approvals: 1 } }\n", "environments.staging.approvals"),
        ("environments: { production: {} }\n", "deploy.ci.production is 'production'"),
        ("deploy: { ci: { schedule: '0 25 * * *' } }\n", "deploy.ci.schedule: '25' in '0 25 * * *': expected"),
        ("deploy: { ci: { schedule: '@daily' } }\n", "expected five, such as '0 4 * * 1'"),
        ("deploy: { ci: { timeout: 90s } }\n", "not a whole number of minutes, such as 90m"),
        ("deploy: { ci: { secrets: { jobs: [my-token] } } }\n", "deploy.ci.secrets.jobs"),
        ("deploy: { ci: { secrets: { jobs: [GITHUB_TOKEN] } } }\n", "is set by the server"),
        ('deploy: { ci: { prepare: ["a\\nb"] } }\n', "deploy.ci.prepare"),
        ("deploy: { ci: { runner: ['a b'] } }\n", "deploy.ci.runner"),
        ("deploy: { ci: { branch: 'a$(b)' } }\n", "deploy.ci.branch"),
        ("deploy: { ci: { staging: a, production: a } }\nenvironments: { a: {} }\n", "expected two environments"),
        ("deploy: { ci: { sampel: 3 } }\n", "deploy.ci.sampel"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_with_its_key(policy: str, text: str) -> None:
    with pytest.raises(PolicyError) as told:
        pipeline_of(facts(policy))
    assert text in str(told.value)
    assert "trimtab.yaml" in str(told.value)


def test_a_project_without_a_trainer_has_no_pipeline() -> None:
    with pytest.raises(DefinitionError, match="no model has a trainer"):
        pipeline_of(facts(models=()))


SPANS = {"*": None, "*/2": None, "0": (0, 0), "1": (1, 1), "7": (7, 7), "59": (59, 59), "60": (60, 60), "1-5": (1, 5)}
WRONG = ("", "5-1", "x", "*/0", "1-")
RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


@given(st.lists(st.sampled_from([*SPANS, *WRONG]), min_size=4, max_size=6))
def test_a_schedule_is_taken_if_and_only_if_all_servers_read_it(fields: list[str]) -> None:
    fields = [field for field in fields if field]
    spans = [SPANS.get(field) for field in fields]
    fits = len(fields) == len(RANGES) and not set(WRONG) & set(fields)
    fits = fits and all(r[0] <= s[0] and s[1] <= r[1] for s, r in zip(spans, RANGES, strict=True) if s is not None)
    try:
        facts(f"deploy: {{ ci: {{ schedule: '{' '.join(fields)}' }} }}\n")
    except TrimtabError:
        assert not fits
    else:
        assert fits
