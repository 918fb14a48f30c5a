"""The files for Airflow and Dagster: Python, formatted, with the stages, models and times of the project."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trimtab.app.project.project import open_project
from trimtab.errors import DefinitionError, PolicyError
from trimtab.policy.reader import parse_policy
from trimtab.targets import airflow, dagster
from trimtab.targets.kept_regions import merge
from trimtab.targets.pipeline_stages import OF_MODEL, OF_PROJECT
from trimtab.targets.pipelines.stage_list import pipeline_of
from trimtab.targets.project_facts import Facts

EXAMPLES = Path(__file__).parents[3] / "examples"
BOTH = pytest.mark.parametrize("target", [airflow, dagster], ids=["airflow", "dagster"])
TWO = """
import trimtab as tt

orders = tt.FileSource("orders", "orders", timestamp="at")
prices = tt.FileSource("prices", "prices.csv", timestamp="at")
shop = tt.Entity("shop", keys=["shop"])
level = tt.FeatureView("level", entity=shop, source=prices, features=[tt.mean("price", "7d")])
value = tt.Model("value", task="regression", examples=orders, label="value", features=[level, "age"])
size = tt.Model("size", task="multiclass", examples=orders, label="size", features=["age"], classes=["s", "m"])
hosted = tt.Model("hosted", task="regression", examples=orders, label="value", features=["age"])


@value.trainer
@size.trainer
def train(data, params, seed): ...
"""


def facts(example: str, policy: str | None = None) -> Facts:
    project = open_project(EXAMPLES / example)
    parsed = project.policy if policy is None else parse_policy(policy)
    return Facts(policy=parsed, definitions=project.definitions, subfolder="", version="1.2.3")


def own(folder: Path, definitions: str, policy: str) -> Facts:
    (folder / "definitions.py").write_text(definitions)
    (folder / "trimtab.yaml").write_text(policy)
    project = open_project(folder)
    return Facts(policy=project.policy, definitions=project.definitions, subfolder="", version="1.2.3")


def text_of(target: Any, of: Facts) -> str:
    (text,) = target.files(of).values()
    assert isinstance(text, str)
    return text


def constants(text: str) -> dict[str, Any]:
    """Return what the file says in literals, by name."""
    found = {}
    for each in ast.parse(text).body:
        if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name):
            try:
                found[each.targets[0].id] = ast.literal_eval(each.value)
            except ValueError:
                found[each.targets[0].id] = ast.unparse(each.value)
    return found


@BOTH
@pytest.mark.parametrize("example", ["flights", "bikes", "fraud"])
def test_the_file_is_python_without_a_fault_that_ruff_knows(target: Any, example: str) -> None:
    text = text_of(target, facts(example))
    for command in (["check", "--select", "E,F,B,I"], ["format", "--check"]):
        arguments = [*command, "--isolated", "--line-length", "120", "--stdin-filename", "x.py", "-"]
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments], input=text, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_models_with_a_trainer_are_retrained_from_the_tables_of_their_own(tmp_path: Path) -> None:
    of = own(tmp_path, TWO, "project: Shop prices\ngates: { performance: null }\n")
    dag, defs = constants(text_of(airflow, of)), constants(text_of(dagster, of))
    assert dag["MODELS"] == ["value", "size"]
    assert defs["MODELS"] == {"value": ["orders", "prices"], "size": ["orders"]}
    assert defs["SOURCES"] == ["orders", "prices"]
    assert defs["GATES"] == ["accuracy", "leakage"]
    assert dag["NAME"] == defs["NAME"] == "shop-prices"
    assert list(airflow.files(of)) == ["deploy/airflow/shop_prices_dag.py"]


ENVIRONMENTS = "project: p\nenvironments: {{ staging: {{}}, production: {{ {} }} }}\n"


@BOTH
def test_what_serves_in_staging_goes_to_production_as_the_policy_lets_it(target: Any) -> None:
    text = text_of(target, facts("flights", ENVIRONMENTS.format("")))
    assert 'os.environ.get("TRIMTAB_ENV", "staging")' in text
    assert constants(text)["PRODUCTION"] == "production"
    alone = text_of(target, facts("flights", "project: p\n"))
    assert 'os.environ.get("TRIMTAB_ENV", "local")' in alone
    assert constants(alone)["PRODUCTION"] is None


@pytest.mark.parametrize(("asks", "waits"), [("", False), ("approvals: 2", True), ("soak: 1d", True)])
def test_airflow_waits_for_what_production_asks_for(asks: str, waits: bool) -> None:
    found = constants(text_of(airflow, facts("flights", ENVIRONMENTS.format(asks))))
    assert found["WAITS"] is waits


@BOTH
def test_environments_that_are_not_there_are_told(target: Any) -> None:
    with pytest.raises(PolicyError, match=r"deploy\.ci\.staging: no environment 'stage'"):
        target.files(facts("flights", "project: p\ndeploy: { ci: { staging: stage } }\n"))


TRIGGERS = """
project: p
triggers:
  weekly: { on: schedule, cron: "0 3 * * mon", timezone: Europe/Berlin }
  monthly: { on: schedule, cron: "@monthly", timezone: Europe/Berlin, run: pipeline }
  hourly: { on: schedule, cron: "@hourly", run: ingest }
  one: { on: schedule, cron: "@daily", models: [delay] }
"""


def test_triggers_that_retrain_all_models_are_schedules() -> None:
    of = facts("flights", TRIGGERS)
    times = "MultipleCronTriggerTimetable('0 3 * * mon', '@monthly', timezone='Europe/Berlin')"
    assert constants(text_of(airflow, of))["SCHEDULE"] == times
    text = text_of(dagster, of)
    assert 'cron_schedule=["0 3 * * mon", "@monthly"], execution_timezone="Europe/Berlin"' in text


@BOTH
def test_triggers_of_several_time_zones_are_told(target: Any) -> None:
    policy = TRIGGERS.replace('"@monthly", timezone: Europe/Berlin', '"@monthly"')
    with pytest.raises(PolicyError, match=r"triggers\.weekly\.timezone \(Europe/Berlin\).*differ"):
        target.files(facts("flights", policy))


def test_pipelines_of_ci_run_the_same_stages_in_the_same_order() -> None:
    jobs = {job.id: job for job in pipeline_of(facts("flights", ENVIRONMENTS.format(""))).jobs}
    verbs = [step.run.split()[1] for step in jobs["staging"].steps if step.run.startswith("trimtab ")]
    known = [verb for verb in verbs if verb in (*OF_PROJECT, *OF_MODEL)]
    assert known == [*OF_PROJECT, *OF_MODEL]


@BOTH
def test_a_project_that_trains_nothing_is_told_so(target: Any, tmp_path: Path) -> None:
    definitions = TWO[: TWO.index("@value")]
    with pytest.raises(DefinitionError, match="no model has a trainer"):
        target.files(own(tmp_path, definitions, "project: p\n"))


@pytest.mark.parametrize(
    ("every", "in_airflow", "in_dagster"),
    [
        ("7d", "timedelta(days=7)", (86400, 7, "0 3 * * *")),
        ("36h", "timedelta(hours=36)", (3600, 36, "0 * * * *")),
        ("90m", "timedelta(minutes=90)", (60, 90, "* * * * *")),
    ],
)
def test_the_schedule_is_that_of_the_refresh(every: str, in_airflow: str, in_dagster: tuple[int, int, str]) -> None:
    of = facts("flights", f"project: p\nretrain: {{ refresh: {{ every: {every} }} }}\n")
    assert constants(text_of(airflow, of))["SCHEDULE"] == in_airflow
    text = text_of(dagster, of)
    tick, number, cron = in_dagster
    assert f"TICK, EVERY = {tick}, {number}" in text
    assert f'cron_schedule="{cron}"' in text


@BOTH
def test_without_a_refresh_nothing_is_scheduled(target: Any) -> None:
    found = constants(text_of(target, facts("flights", "project: p\n")))
    assert found.get("SCHEDULE") is None
    assert "dg.schedule" not in text_of(target, facts("flights", "project: p\n"))


def test_dagster_refuses_a_refresh_that_it_cannot_schedule() -> None:
    with pytest.raises(PolicyError, match=r"retrain\.refresh\.every: 90s"):
        dagster.files(facts("flights", "project: p\nretrain: { refresh: { every: 90s } }\n"))


def test_retries_pauses_and_the_time_of_a_training_are_those_of_the_policy() -> None:
    of = facts("flights", "project: p\nretrain: { retries: 5, backoff: 90s, timeout: 2h }\n")
    dag, defs = text_of(airflow, of), text_of(dagster, of)
    assert constants(dag)["TRAINING_TIMEOUT"] == "timedelta(hours=2)"
    assert '"retries": 5' in dag
    assert "timedelta(seconds=90)" in dag
    assert "max_retries=5, delay=90," in defs


@BOTH
def test_regions_keep_lines_of_the_user(target: Any) -> None:
    text = text_of(target, facts("flights"))
    line = 'DEFAULTS["pool"] = "trainings"\n'
    edited = text.replace("# trimtab: yours settings\n", "# trimtab: yours settings\n" + line)
    assert merge(text, edited, "x.py") == edited
    assert edited != text


@BOTH
def test_the_same_policy_gives_the_same_text(target: Any) -> None:
    make: Callable[[], str] = lambda: text_of(target, facts("flights"))  # noqa: E731  # read twice from the files
    assert make() == make()
