"""Lets Airflow load and run what `trimtab export airflow` writes: python -m clients.with_airflow PYTHON, with airflow.

The flights example, shortened to two months, is trained in staging and promoted to production by a run of its DAG; the
next one finds nothing to retrain; then a model that learns nothing ends at the gate, and is not tried again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from clients.orchestrated import asked, example, plant_bad_model, revisions, trimtab

CALLS = Path(__file__).parent / "airflow_calls.py"
FILE = "deploy/airflow/flight_delays_dag.py"
STAGES = ("features", "train", "is_new", "evaluate", "register", "deploy", "approval", "promote")
ENVIRONMENTS = "\nenvironments: { staging: {}, production: {} }\n"
UNTIL = "2013-03-01"


def main(python: Path) -> int:
    """Load, run green, run again, run red."""
    with tempfile.TemporaryDirectory() as place:
        project = example("flights", Path(place, "flights"))
        with (project / "trimtab.yaml").open("a") as policy:
            policy.write(ENVIRONMENTS)
        trimtab(project, "export", "airflow", "--write")
        airflow = {
            "AIRFLOW_HOME": str(Path(place, "airflow")),
            "AIRFLOW__CORE__DAGS_FOLDER": str(project / "deploy" / "airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        }
        environment = os.environ | airflow
        for command in (["db", "migrate"], ["dags", "list-import-errors", "--output", "json", "--local"]):
            told = subprocess.run(
                [python, "-m", "airflow", *command], env=environment, capture_output=True, text=True, check=True
            ).stdout
        assert "No data found" in told or told.strip().endswith("[]"), told
        check_loaded(asked(python, CALLS, str(project / FILE), "", **airflow))
        conf = json.dumps({"as_of": UNTIL, "reason": "a look"})

        def run(title: str) -> dict[str, Any]:
            print(f"\n== {title}", flush=True)
            found: dict[str, Any] = asked(python, CALLS, str(project / FILE), conf, **airflow)["flight-delays"]
            for name, (state, tries) in found["states"].items():
                print(f"{state:<16} {tries} {name}", flush=True)
            return found

        everything = {"ingest", "validate", "ingest_production", *(f"delay.{each}" for each in STAGES)}
        found = run("a run that is green")
        assert {name for name, (state, _) in found["states"].items() if state == "success"} == everything, found
        assert revisions(project, "staging") == revisions(project, "production") == ["delay deploy"]
        found = run("nothing to retrain")
        check_states(found, "success", skipped=STAGES[3:])
        plant_bad_model(project, "delay")
        found = run("a model that learns nothing")
        check_states(found, "failed", failed=STAGES[3:4], upstream_failed=STAGES[4:])
        assert found["states"]["delay.evaluate"][1] == 1, "a failed gate was tried again"
        assert revisions(project, "staging") == revisions(project, "production") == ["delay deploy"]
    return 0


def check_loaded(found: dict[str, Any]) -> None:
    """Check tasks, edges, schedule and retries of the DAG."""
    assert found["errors"] == {}, found["errors"]
    dag = found["flight-delays"]
    names = ["ingest", "validate", *(f"delay.{each}" for each in STAGES)]
    expected = {name: [before] if before else [] for before, name in zip(["", *names], names, strict=False)}
    expected |= {"ingest_production": ["validate"], "delay.promote": ["delay.approval", "ingest_production"]}
    assert dag["tasks"] == expected, dag["tasks"]
    rest = {name: dag[name] for name in ("schedule", "max_active_runs", "catchup", "retries")}
    assert rest == {"schedule": "7 days, 0:00:00", "max_active_runs": 1, "catchup": False, "retries": [3]}, rest


def check_states(found: dict[str, Any], state: str, **of: tuple[str, ...]) -> None:
    """Check the state of a run, and of its tasks that did not succeed."""
    assert found["state"] == state, found
    others = {name: each for name, (each, _) in found["states"].items() if each != "success"}
    assert others == {f"delay.{name}": each for each, names in of.items() for name in names}, others


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
