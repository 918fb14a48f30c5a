"""Projects that orchestrators run, a model that no gate passes, and how their own environments are asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from trimtab.app.project import templates
from trimtab.app.project.workspace import open_workspace
from trimtab.records.serving import Revision

RESULT = "RESULT "
"""Begins the line that a driver's other half prints for it."""
BAD = """

@{model}.trainer
def train(data, params, seed):
    from sklearn.dummy import {estimator}

    return {estimator}({options}).fit(data.X, data.y)
"""
ESTIMATORS = {"binary": ("DummyClassifier", 'strategy="prior"'), "regression": ("DummyRegressor", "")}


def example(name: str, folder: Path) -> Path:
    """Make an example whose gates do not depend on the machine; flights with two months. Returns its folder."""
    templates.init(name, folder)
    policy = folder / "trimtab.yaml"
    policy.write_text(policy.read_text().replace("p99: 10ms", "p99: 10s"))
    for file in sorted((folder / "data" / "flights").glob("*.parquet"))[2:]:
        file.unlink()
    return folder


def plant_bad_model(project: Path, model: str) -> None:
    """Replace the trainer of a model by one that learns nothing."""
    file = project / "definitions.py"
    text = file.read_text()
    task = open_workspace(project).model(model).task
    estimator, options = ESTIMATORS[task]
    before, _, _ = text.partition(f"\n\n@{model}.trainer\n")
    file.write_text(before + BAD.format(model=model, estimator=estimator, options=options))


def trimtab(project: Path, *arguments: str) -> None:
    """Run a command on a project."""
    command = [sys.executable, "-m", "trimtab.cli", *arguments, "--project", str(project)]
    subprocess.run(command, check=True)


def revisions(project: Path, environment: str = "local") -> list[str]:
    """Return the actions of all revisions, newest first."""
    return [f"{each.model} {each.action}" for each in open_workspace(project, environment).metadata.find(Revision)]


def asked(python: Path, calls: Path, *arguments: str, **variables: str) -> dict[str, Any]:
    """Run a driver's other half in the environment of an orchestrator; return its result."""
    programs = Path(sys.executable).parent
    environment = {**os.environ, "TRIMTAB_BIN": str(programs / "trimtab"), "OMP_NUM_THREADS": "1", **variables}
    done = subprocess.run([python, calls, *arguments], env=environment, capture_output=True, text=True, check=False)
    line = next((each for each in done.stdout.splitlines() if each.startswith(RESULT)), None)
    assert line is not None, f"{calls.name} ended with {done.returncode}:\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    found: dict[str, Any] = json.loads(line.removeprefix(RESULT))
    return found
