"""A search of parameters survives SIGKILL: it finishes its trials, with the best of one that was not disturbed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from kit.decisions import decide
from kit.waiting import PATIENCE_S
from trimtab import settings
from trimtab.app.project.mlflow_access import open_tracking
from trimtab.app.project.workspace import open_workspace
from trimtab.app.stages import ingesting, pipeline
from trimtab.records.training import DatasetVersion, Run, SearchResult
from trimtab.testing.judged import FIRST

TRIALS = 14
DEFINITIONS = """
import os, signal
from pathlib import Path
import trimtab as tt

orders = tt.FileSource("orders", "orders.parquet", timestamp="moment", known_at="known")
late = tt.Model("late", task="binary", examples=orders, label="late", features=["a", "b"])
HERE = Path(__file__).parent


@late.trainer
def train(data, params, seed, *, max_depth=3, min_samples_leaf=20, criterion="gini"):
    from sklearn.tree import DecisionTreeClassifier

    with (HERE / "fits").open("a") as file:
        file.write(f"{max_depth}\\n")
    fits, dies_at = len((HERE / "fits").read_text().splitlines()), HERE / "dies_at"
    if dies_at.exists() and fits == int(dies_at.read_text()):
        os.kill(os.getpid(), signal.SIGKILL)
    tree = DecisionTreeClassifier(
        max_depth=max_depth, min_samples_leaf=min_samples_leaf, criterion=criterion, random_state=seed
    )
    return tree.fit(data.X, data.y)
"""
LOOP = """
import sys, time
from datetime import datetime
from pathlib import Path

from trimtab.app.loop.retraining import Retraining
from trimtab.app.project.workspace import open_workspace
from trimtab.records.control import Decision, WorkflowStep

workspace = open_workspace(Path(sys.argv[1]))
(decision,) = workspace.metadata.find(Decision)
runner = Retraining(workspace)
runner.launch()
runner.start(decision, as_of=datetime.fromisoformat(sys.argv[2]), approved=True)
while not workspace.metadata.find(WorkflowStep, step="train"):
    time.sleep(0.05)
runner.close()
"""
POLICY = f"""
project: p
training:
  min_examples: 10
  refit: never
  search:
    trials: {TRIALS}
    space:
      max_depth: {{ low: 1, high: 9 }}
      min_samples_leaf: {{ low: 1, high: 60, log: true }}
      criterion: [gini, entropy]
"""


def make_project(folder: Path, trials: int = TRIALS) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 600))
    moments = [FIRST + timedelta(hours=hour) for hour in range(600)]
    rows = {
        "moment": moments,
        "known": [moment + timedelta(hours=5) for moment in moments],
        "late": (a * b + rng.normal(size=600) / 2 > 0).astype(int),
        "a": a,
        "b": b,
    }
    pl.DataFrame(rows).write_parquet(folder / "orders.parquet")
    (folder / "trimtab.yaml").write_text(POLICY.replace(f"trials: {TRIALS}", f"trials: {trials}"))
    (folder / "definitions.py").write_text(DEFINITIONS)
    workspace = open_workspace(folder)
    ingesting.ingest(workspace)
    pipeline.snapshot(workspace, "late", as_of=FIRST + timedelta(hours=700))
    workspace.metadata.close()
    return folder


def train(project: Path) -> int:
    command = [sys.executable, "-W", "ignore", "-m", "trimtab.cli", "train", "-p", str(project)]
    return subprocess.run(command, env=settings.child_environment(), timeout=PATIENCE_S, capture_output=True).returncode


def result(project: Path) -> tuple[Run, SearchResult]:
    workspace = open_workspace(project)
    (run,) = workspace.metadata.find(Run)
    workspace.metadata.close()
    assert run.search is not None
    return run, run.search


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_search_that_is_killed_twice_has_its_trials_once_and_the_same_best(tmp_path: Path) -> None:
    # given a search that runs through
    undisturbed = make_project(tmp_path / "undisturbed")
    workspace = open_workspace(undisturbed)
    pipeline.train(workspace, "late", pipeline.newest(workspace, DatasetVersion, "late"))
    workspace.metadata.close()
    expected_run, expected = result(undisturbed)
    assert expected.trials == TRIALS

    # when another one is killed in the midst of two trials, and started again each time
    killed = make_project(tmp_path / "killed")
    for fits in (13, 29):
        (killed / "dies_at").write_text(str(fits))
        assert train(killed) == -signal.SIGKILL
    assert train(killed) == 0

    # then it finishes with as many trials, the best of which is that of the other, and with the same model
    run, found = result(killed)
    assert (found.trials, found.failed) == (TRIALS, 0)
    assert (found.params, found.value, found.best) == (expected.params, expected.value, expected.best)
    assert run.model_hash == expected_run.model_hash
    assert run.params == {**expected.params}
    assert found.cpu_seconds > 0

    # and MLflow has each trial once, nested under the run that finished
    tracking = open_tracking(open_workspace(killed))
    children = tracking.children("late", found.key)
    assert sorted(each.data.tags["mlflow.runName"] for each in children.values()) == sorted(
        f"trial-{number}" for number in range(TRIALS)
    )
    assert {each.data.tags["mlflow.parentRunId"] for each in children.values()} == {run.id}
    best = next(each for each in children.values() if each.data.tags["mlflow.runName"] == f"trial-{found.best}")
    assert best.data.metrics["log_loss"] == pytest.approx(found.value)
    assert len((killed / "fits").read_text().splitlines()) > len((undisturbed / "fits").read_text().splitlines())


def test_a_retraining_whose_loop_is_killed_continues_its_search(tmp_path: Path) -> None:
    # given a decision to retrain, and a loop that is killed in the midst of the search
    trials = 6
    project = make_project(tmp_path / "project", trials)
    workspace = open_workspace(project)
    decision = decide(workspace, "retrain", model="late")
    command = [sys.executable, "-W", "ignore", "-c", LOOP, str(project), str(FIRST + timedelta(hours=700))]

    def loop() -> int:
        return subprocess.run(command, env=settings.child_environment(), timeout=PATIENCE_S).returncode

    (project / "dies_at").write_text("9")
    assert loop() == -signal.SIGKILL

    # when it is started again
    assert loop() == 0

    # then the workflow has one run, whose search has its trials, each in MLflow once
    run, found = result(project)
    assert run.key == f"retrain/{decision.id}"
    assert found.trials == trials
    children = open_tracking(workspace).children("late", found.key)
    assert len(children) == trials
    assert {each.data.tags["mlflow.parentRunId"] for each in children.values()} == {run.id}
    workspace.metadata.close()
