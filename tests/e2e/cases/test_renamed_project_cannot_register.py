"""A project whose name or registry is new goes on with its own version numbers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from trimtab.app import stages
from trimtab.app.rollout import open_rollouts
from trimtab.app.tracking import open_registry, set_aliases
from trimtab.app.workspace import Workspace, open_workspace
from trimtab.records import Bundle, DatasetVersion

DEFINITIONS = """
import trimtab as tt

examples = tt.FileSource("examples", "data/examples.parquet", timestamp="at")
model = tt.Model("m", task="TASK", examples=examples, label="y", features=["a", "b"])


@model.trainer
def train(data, params, seed):
    from sklearn.linear_model import LinearRegression, LogisticRegression

    return (LogisticRegression() if model.task == "binary" else LinearRegression()).fit(data.X, data.y)
"""
POLICY = """
project: NAME
training: { min_examples: 100, seed: SEED }
gates: GATES
rollout: { strategy: blue-green, rollback_when: { error_rate: 2% }, promote_when: { metric: METRIC } }
"""
GATES = {
    "binary": "{ accuracy: { metric: roc_auc, min: 0.6, resamples: 100 } }",
    "regression": "{ accuracy: { metric: rmse, max: 9, resamples: 100 } }",
}
START = datetime(2024, 1, 1, tzinfo=UTC)


def write_policy(folder: Path, *, name: str, seed: int, task: str) -> None:
    text = POLICY.replace("NAME", name).replace("SEED", str(seed)).replace("GATES", GATES[task])
    (folder / "trimtab.yaml").write_text(text.replace("METRIC", "log_loss" if task == "binary" else "rmse"))


def write_project(folder: Path, task: str) -> Path:
    (folder / "data").mkdir(parents=True)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 2))
    score = X[:, 0] + 0.7 * X[:, 1] + 0.3 * rng.normal(size=600)
    frame = pl.DataFrame(
        {
            "at": [START + timedelta(minutes=30 * n) for n in range(600)],
            "a": X[:, 0],
            "b": X[:, 1],
            "y": (score > 0).astype(float) if task == "binary" else score,
        }
    )
    frame.write_parquet(folder / "data" / "examples.parquet")
    (folder / "definitions.py").write_text(DEFINITIONS.replace("TASK", task))
    write_policy(folder, name="old-name", seed=1, task=task)
    return folder


def run(folder: Path) -> tuple[Workspace, Bundle]:
    """Train, register and deploy, as `trimtab run` does."""
    workspace = open_workspace(folder)
    stages.ingest(workspace)
    known = workspace.metadata.find(DatasetVersion, model="m", limit=1)
    as_of = START + timedelta(days=30)
    dataset = known[0] if known else stages.snapshot(workspace, "m", as_of=as_of)
    done = stages.train(workspace, "m", dataset)
    bundle = stages.register(workspace, done, stages.evaluate(workspace, done))
    stages.deploy(workspace, bundle, cause=bundle.id, reason="test", by="test")
    return workspace, bundle


def rename(folder: Path) -> None:
    pass


def delete_registry(folder: Path) -> None:
    registry = open_registry(open_workspace(folder))
    registry._client.delete_registered_model(registry.name("m"))


@pytest.mark.parametrize("task", ["binary", "regression"])
@pytest.mark.parametrize(("name", "before"), [("new-name", rename), ("old-name", delete_registry)])
def test_numbering_goes_on(tmp_path: Path, task: str, name: str, before: Callable[[Path], None]) -> None:
    # given a project with one version, renamed, or without its registry
    folder = write_project(tmp_path / "project", task)
    _, first = run(folder)
    before(folder)
    write_policy(folder, name=name, seed=2, task=task)
    # when it is run again
    workspace, second = run(folder)
    # then the numbers go on, and a rollback finds its version in the registry
    assert (first.version, second.version) == (1, 2)
    assert open_registry(workspace).alias("m", "champion") == 2
    set_aliases(workspace, open_rollouts(workspace, "m").rollback(cause="r", reason="test", by="test"))
    assert open_registry(workspace).alias("m", "champion") == 1
    assert open_registry(workspace).tags("m", 1)["trimtab.digest"] == first.digest


def test_a_rollback_right_after_a_renaming_moves_the_alias(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project", "binary")
    run(folder)
    write_policy(folder, name="old-name", seed=2, task="binary")
    run(folder)
    write_policy(folder, name="new-name", seed=2, task="binary")
    workspace = open_workspace(folder)
    set_aliases(workspace, open_rollouts(workspace, "m").rollback(cause="r", reason="test", by="test"))
    assert open_registry(workspace).alias("m", "champion") == 1
