"""Lets Dagster load and run what `trimtab export dagster` writes: python -m clients.with_dagster PYTHON, with dagster.

The bikes example (a regression) is trained in staging and promoted to production by runs in one process; then a model
that learns nothing is held back by the gates. Definitions of the flights example (binary) are loaded.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from clients.orchestrated import asked, example, plant_bad_model, revisions, trimtab

CALLS = Path(__file__).parent / "dagster_calls.py"
FILE = "deploy/dagster/definitions.py"


def main(python: Path) -> int:
    """Load, validate, run green, run red."""
    with tempfile.TemporaryDirectory() as place:
        flights = example("flights", Path(place, "flights"))
        trimtab(flights, "export", "dagster", "--write")
        check_loaded(python, flights)
        bikes = example("bikes", Path(place, "bikes"))
        with (bikes / "trimtab.yaml").open("a") as policy:
            policy.write("\nenvironments: { staging: {}, production: {} }\n")
        trimtab(bikes, "export", "dagster", "--write")
        print("\n== a run that is green", flush=True)
        check_green(run(python, bikes, "retrain", "revision"), bikes)
        print("\n== promoted", flush=True)
        production = run(python, bikes, "promote", "production")["made"]["bikes/demand/production"]
        assert production["champion"] == "demand/1 (100 %)", production
        assert revisions(bikes, "production") == ["demand deploy"]
        print("\n== a model that learns nothing", flush=True)
        plant_bad_model(bikes, "demand")
        check_red(run(python, bikes, "retrain", "revision"), bikes)
    return 0


def check_loaded(python: Path, project: Path) -> None:
    """Check the assets and checks of the flights example, and that Dagster's own command takes the file."""
    found = asked(python, CALLS, str(project / FILE))
    made = [f"flight-delays/delay/{name}" for name in ("training_set", "run", "bundle", "revision")]
    tables = ["flight-delays/flights", "flight-delays/weather"]
    above = [tables, *([each] for each in made[:-1])]
    assert found["assets"] == {table: [] for table in tables} | dict(zip(made, above, strict=True)), found["assets"]
    gates = ("accuracy", "bias", "leakage", "performance", "robustness")
    expected = [f"{made[1]}:{gate}" for gate in gates] + [f"{table}:checks" for table in tables]
    assert sorted(found["checks"]) == sorted(expected), found["checks"]
    assert found["schedules"] == {"refresh": ["2026-03-05", "2026-03-12", "2026-03-19", "2026-03-26"]}, found
    command = [str(python.parent / "dagster"), "definitions", "validate", "-f", str(project / FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stderr.splitlines()[-1])


def run(python: Path, project: Path, job: str, last: str) -> dict[str, Any]:
    """Run a job with a reason for its last asset, and print what it made and judged."""
    config = json.dumps({f"bikes__demand__{last}": {"config": {"reason": "a look"}}})
    found: dict[str, Any] = asked(python, CALLS, str(project / FILE), job, config)["run"]
    for name, step in found["steps"].items():
        print(f"{step:<16} {name}")
    for name, check in found["checks"].items():
        print(f"{'passed' if check['passed'] else 'failed':<16} {name}: {check['why']}", flush=True)
    return found


def check_green(found: dict[str, Any], project: Path) -> None:
    """Check that everything was made, with the figures of the records."""
    assert found["success"], found["steps"]
    assert set(found["steps"].values()) == {"STEP_SUCCESS"}, found["steps"]
    made = found["made"]
    assert made["bikes/rides"]["dagster/row_count"] == made["bikes/demand/training_set"]["rows"] == 8645
    gate = found["checks"]["bikes/demand/run:accuracy"]["metadata"]
    assert made["bikes/demand/run"]["rmse"] == gate["rmse"] < gate["rmse: limit"] == 90
    assert made["bikes/demand/revision"]["champion"] == "demand/1 (100 %)"
    assert made["bikes/demand/revision"]["reason"] == "a look"
    assert revisions(project, "staging") == ["demand deploy"]


def check_red(found: dict[str, Any], project: Path) -> None:
    """Check that the gate held back bundle and revision, and says by how much."""
    accuracy = found["checks"]["bikes/demand/run:accuracy"]
    assert not found["success"], found["steps"]
    assert not accuracy["passed"], accuracy
    assert accuracy["metadata"]["rmse"] > accuracy["metadata"]["rmse: limit"], accuracy
    assert not {"bikes/demand/bundle", "bikes/demand/revision"} & set(found["made"]), found["made"]
    assert "STEP_UP_FOR_RETRY" not in found["steps"].values(), found["steps"]
    assert revisions(project, "staging") == ["demand deploy"]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
