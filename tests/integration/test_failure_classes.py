"""What the loop does about failures of data, models and labels: real tables, gates, trainings and workflows.

docs/operations.md lists every class of failure, the response to it, and the record that shows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import yaml

from kit.waiting import wait_for
from trimtab.app.loop import retraining
from trimtab.app.loop.actions import LoopActions
from trimtab.app.loop.retraining import Retraining
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.stages import ingesting
from trimtab.control.controller import Controller
from trimtab.errors import CheckFailed
from trimtab.records.control import Decision, WorkflowStep
from trimtab.records.gate_reports import GateReport
from trimtab.records.training import Bundle, DatasetVersion
from trimtab.testing.judged import DAY, FIRST, MODEL, judged_signals, window_report

DEFINITIONS = """
import trimtab as tt

flights = tt.FileSource("flights", "data/*.parquet", timestamp="moment")
delay = tt.Model("delay", task="binary", examples=flights, label="late", features=["row"])


@delay.trainer
def train(data, params, seed):
    from sklearn.linear_model import LogisticRegression

    BODY
    return LogisticRegression().fit(data.X, data.y)
"""
CHECKS = """
import pandera.polars as pa


class Flights(pa.DataFrameModel):
    row: float = pa.Field(ge=0, le=9)
"""
HOURS = 12 * 24


class Project:
    """A project with twelve days of rows, and a loop whose controller and workflows are real."""

    def __init__(self, folder: Path, body: str = "pass", **sections: object) -> None:
        (folder / "data").mkdir(parents=True)
        self.folder = folder
        self.batch("a", FIRST)
        policy = {
            "project": "p",
            "training": {"min_examples": 10},
            "checks": {"flights": "checks.Flights"},
            "impact": {"cost": {"false_negative": 40}, "over": "1d"},
            **sections,
        }
        (folder / "trimtab.yaml").write_text(yaml.safe_dump(policy))
        (folder / "definitions.py").write_text(DEFINITIONS.replace("BODY", body))
        (folder / "checks.py").write_text(CHECKS)
        self.workspace: Workspace = open_workspace(folder)
        ingesting.ingest(self.workspace)
        self.retraining = Retraining(self.workspace)
        self.retraining.launch()
        self.controller = Controller(
            self.workspace.metadata,
            self.workspace.project.policy,
            MODEL,
            LoopActions(self.workspace, self.retraining),
            self.workspace.clock,
            tables=("flights",),
        )

    def batch(self, name: str, start: datetime, *, wrong: bool = False) -> None:
        """Write a file of rows, one every hour; wrong: with values that the checks refuse."""
        rows = {
            "moment": [start + timedelta(hours=hour) for hour in range(HOURS)],
            "late": [hour % 2 for hour in range(HOURS)],
            "row": [99.0 if wrong else float(hour % 3) for hour in range(HOURS)],
        }
        pl.DataFrame(rows).write_parquet(self.folder / "data" / f"{name}.parquet")

    def judge(self, day: int, *, money: float = 0.0, labelled: int = 900) -> Decision:
        """Let the controller decide on the window of a day, and wait for what it starts."""
        window = window_report(day, labelled=labelled)
        signals = judged_signals(window, data_p_seq=0.001, money_per_day=money if labelled else None)
        self.workspace.metadata.put(window, *(s for s in signals if labelled or s.kind != "concept"))
        (decision,) = self.controller.step()
        if decision.action == "retrain":
            wait_for(lambda: not self.retraining.active(MODEL), "the workflow ends")
        return decision

    def steps(self) -> dict[str, WorkflowStep]:
        return {step.step: step for step in self.workspace.metadata.find(WorkflowStep)}

    def close(self) -> None:
        self.retraining.close()
        self.workspace.metadata.close()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Project]]:
    monkeypatch.setattr(retraining, "WAIT_SECONDS", 0.2)
    made: list[Project] = []
    yield made
    for project in made:
        project.close()


def test_a_model_that_a_gate_refuses_ends_the_retraining_and_the_next_one_waits(
    tmp_path: Path, opened: list[Project]
) -> None:
    project = Project(tmp_path / "project", gates={"accuracy": {"metric": "roc_auc", "min": 0.99, "resamples": 100}})
    opened.append(project)
    assert project.judge(11, money=6000.0).action == "retrain"
    (report,) = project.workspace.metadata.find(GateReport)
    assert (report.verdict, project.steps()["stop"].refers_to) == ("fail", report.id)
    assert project.workspace.metadata.count(Bundle) == 0
    after = project.judge(12, money=6000.0)
    assert (after.action, after.trigger) == ("retrain", "matrix"), "a day later, as decide.retry_after says"
    again = project.judge(13, money=6000.0)
    assert again.action == "monitor"
    assert "2 retrainings in a row made no bundle" in again.reasons[-1]


@pytest.mark.parametrize("timeout", [{}, {"retrain": {"timeout": "10m"}}])
def test_a_trainer_that_raises_ends_the_retraining_and_a_person_is_asked(
    tmp_path: Path, opened: list[Project], timeout: dict[str, object]
) -> None:
    project = Project(tmp_path / "project", "raise ValueError('no such column')", **timeout)
    opened.append(project)
    assert project.judge(11, money=6000.0).action == "retrain"
    assert "the trainer of model 'delay' failed: ValueError: no such column" in project.steps()["stop"].outcome
    asked = project.judge(12, money=100.0)
    assert asked.action == "review"
    assert "ValueError: no such column" in asked.reasons[-1]


def test_a_refused_batch_leaves_the_last_good_version_in_use(tmp_path: Path, opened: list[Project]) -> None:
    project = Project(tmp_path / "project", gates={"accuracy": {"metric": "roc_auc", "min": 0.01, "resamples": 100}})
    opened.append(project)
    project.batch("b", FIRST + 12 * DAY, wrong=True)
    with pytest.raises(CheckFailed):
        ingesting.ingest(project.workspace)
    decision = project.judge(11, money=6000.0)
    said = "the last good version of table 'flights', 0, is used: 1 batch refused since; the newest (data/b.parquet)"
    assert decision.action == "retrain"
    assert said in decision.reasons[-1]
    assert said in project.steps()["snapshot"].outcome
    (dataset,) = project.workspace.metadata.find(DatasetVersion)
    assert (dataset.tables, dataset.rows) == ({"flights": "flights@0"}, HOURS)


def test_without_labels_nothing_is_retrained_by_itself(tmp_path: Path, opened: list[Project]) -> None:
    project = Project(tmp_path / "project")
    opened.append(project)
    decision = project.judge(11, labelled=0)
    assert decision.action == "review"
    assert "labels are too few to judge mistakes (0% of the rows have one)" in decision.reasons
    assert project.workspace.metadata.count(DatasetVersion) == 0
