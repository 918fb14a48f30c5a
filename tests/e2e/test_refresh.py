"""Routine refreshes through workflow, gateway and log: kept shadows, suspected labels, a way back with probation."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from e2e.kit import edit_policy, stop_everything
from kit.commands import typed
from kit.sharing import made_once
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.records.control import Decision, Suspicion, WorkflowStep
from trimtab.records.monitoring import WindowReport
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle, DatasetVersion
from trimtab.stores.metadata.contract import latest

DEFINITIONS = """
import trimtab as tt

examples = tt.FileSource("examples", "data/*.parquet", timestamp="at")
model = tt.Model("m", task="binary", examples=examples, label="y", features=["a", "b"])


@model.trainer
def train(data, params, seed):
    from sklearn.linear_model import LogisticRegression

    wrong = params.get("wrong_sign", False)
    return LogisticRegression().fit(data.X, 1 - data.y if wrong else data.y)
"""
POLICY = """
project: refreshed
training: { min_examples: 100, seed: 1, params: { wrong_sign: false } }
gates: { accuracy: null, leakage: null, performance: null }
impact: { cost: { false_negative: 10, false_positive: 10 } }
decide: { window: 6h, lateness: 1h, labels_mature_after: 6h }
retrain: { refresh: { every: 2d, shadows: 2 }, quarantine: { min_windows: 20 } }
serving: { port: 0 }
"""
START = datetime(2024, 1, 1, tzinfo=UTC)
DAYS, MINUTES = 19, 20
TRAINED = START + timedelta(days=6)


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def write_examples(path: Path, first: datetime, last: datetime, *, flipped: tuple[float, float] = (0, 0)) -> None:
    """Write the rows between two times, one every 20 minutes; labels between the flipped days are the wrong ones."""
    rows = DAYS * 24 * 60 // MINUTES
    rng = np.random.default_rng(3)
    X = rng.normal(size=(rows, 2))
    y = X[:, 0] + 0.7 * X[:, 1] + rng.normal(size=rows) > 0
    at = [START + timedelta(minutes=MINUTES * n) for n in range(rows)]
    wrong = np.array([day(flipped[0]) <= moment < day(flipped[1]) for moment in at])
    frame = pl.DataFrame({"at": at, "a": X[:, 0], "b": X[:, 1], "y": np.where(wrong, ~y, y).astype(float)})
    frame.filter((pl.col("at") >= first) & (pl.col("at") < last)).write_parquet(path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """A project with a champion of the first days."""

    def make(folder: Path) -> None:
        (folder / "data").mkdir(parents=True)
        (folder / "definitions.py").write_text(DEFINITIONS)
        (folder / "trimtab.yaml").write_text(POLICY)
        write_examples(folder / "data" / "first.parquet", START, TRAINED)
        typed("run", "-p", folder, "--as-of", TRAINED.isoformat())

    return made_once(tmp_path_factory, pytestconfig, "refreshed", make)


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the project, without the days after the training."""
    made = Path(shutil.copytree(trained, tmp_path / "project"))
    yield made
    stop_everything(made)


def bring_rest(folder: Path, days: int, flipped: tuple[float, float] = (0, 0)) -> None:
    """Take in the rows after the training, up to a day."""
    write_examples(folder / "data" / "rest.parquet", TRAINED, day(days), flipped=flipped)
    typed("ingest", "-p", folder)


def replay(folder: Path, first: float, last: float) -> Workspace:
    typed("replay", "-p", folder, "--from", day(first).isoformat(), "--to", day(last).isoformat())
    return open_workspace(folder)


def roles(revision: Revision | None) -> dict[str, list[int]]:
    assert revision is not None
    found: dict[str, list[int]] = {}
    for a in revision.assignments:
        found.setdefault("kept" if a.kept else a.role, []).append(a.version)
    return found


def decided(workspace: Workspace, action: str) -> list[Decision]:
    return list(workspace.metadata.find(Decision, model="m", action=action, oldest_first=True))


def test_refreshes_serve_at_once_and_a_shadow_that_leads_comes_back(folder: Path) -> None:
    # given a model that is refreshed every two days
    bring_rest(folder, days=16)
    # when a refresh is due, then its model is fitted on all rows, serves at once, and the one before stays as a shadow
    workspace = replay(folder, 6, 9)
    (refresh,) = decided(workspace, "retrain")
    assert (refresh.trigger, refresh.end) == ("routine", day(7.75))  # judged two days after the training
    assert roles(latest(workspace.metadata, Revision)) == {"champion": [2], "kept": [1]}
    steps = {s.step: s.outcome for s in workspace.metadata.find(WorkflowStep, model="m")}
    assert "fitted on all" in steps["refit"]
    bundle = workspace.metadata.get(Bundle, "m/2")
    assert bundle.refit is not None
    shadow = workspace.metadata.find(WindowReport, model="m", version=1, stage="matured")[0]
    assert (shadow.role, shadow.served_rows) == ("shadow", 0)
    assert {"paired_log_loss_gain", "paired_money_gain"} <= shadow.metrics.keys()

    # when the recipe is spoilt, then the bad model serves until a shadow has led over ten labelled windows
    edit_policy(folder, training={"params": {"wrong_sign": True}, "refit": "never"})
    workspace = replay(folder, 9, 14)
    (back,) = decided(workspace, "rollback")
    assert (back.trigger, back.to_version in (1, 2), back.end <= day(13)) == ("lead", True, True)
    way_back = latest(workspace.metadata, Revision, cause=back.id)
    assert roles(way_back)["champion"] == [back.to_version]
    assert len(decided(workspace, "retrain")) >= 2

    # then the next model is on probation: it is a shadow first, and serves once it leads
    edit_policy(folder, training={"params": {"wrong_sign": False}, "refit": "after_gates"})
    workspace = replay(folder, 14, 16)
    after = [r for r in workspace.metadata.find(Revision, oldest_first=True) if way_back and r.number > way_back.number]
    assert after[0].action == "shadow"
    text = typed("status", "-p", folder).stdout
    assert "champion before" in text
    assert (
        "on probation" in " ".join(s.outcome for s in workspace.metadata.find(WorkflowStep, model="m", step="compare"))
        or after[-1].action == "shadow"
    )


def test_grossly_wrong_labels_neither_train_nor_stay_unnoticed(folder: Path) -> None:
    # given labels that are all wrong for two days
    bring_rest(folder, days=14, flipped=(9, 11))
    # when the loop runs through them
    workspace = replay(folder, 6, 14)
    # then these windows are suspected by their loss and held back from every training set
    found = workspace.metadata.find(Suspicion, model="m", oldest_first=True)
    assert {s.rule for s in found} == {"loss"}
    assert {(s.start, s.end) for s in found} >= {(day(9 + n / 4), day(9.25 + n / 4)) for n in range(8)}
    assert sum(not day(9) <= s.start < day(11) for s in found) <= 4, "18 rows a window are few: some leap by chance"
    for dataset in workspace.metadata.find(DatasetVersion, model="m"):
        if dataset.as_of > day(11.5):
            assert any(begin <= day(9) and end >= day(11) for begin, end in dataset.without)
    # then a person is told, and no refresh makes the champion worse
    notes = [d for d in decided(workspace, "review") if any("check the pipe" in r for r in d.reasons)]
    assert notes[0].start == day(9), "at the first wrong window"
    last = workspace.metadata.find(WindowReport, model="m", stage="matured", role="champion", limit=8)
    assert np.mean([w.metrics["roc_auc"] for w in last]) > 0.8
    text = typed("suspects", "-p", folder).stdout
    assert "held" in text
    said = typed("suspects", "let-in", found[0].start.isoformat(), "--reason", "they were right", "-p", folder).stdout
    assert "let in" in said
