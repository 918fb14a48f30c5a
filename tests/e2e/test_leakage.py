"""An input that knows the outcome is refused by default for every task, and passes once it is acknowledged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.stages import ingesting, pipeline
from trimtab.errors import GateRefused

DEFINITIONS = """
import trimtab as tt

orders = tt.FileSource("orders", "orders.parquet", timestamp="at", known_at="known")
model = tt.Model("m", task="TASK", examples=orders, label="label", features=["x", "outcome"])


@model.trainer
def train(data, params, seed):
    from sklearn.linear_model import LinearRegression, LogisticRegression

    return ESTIMATOR().fit(data.X, data.y)
"""
LOSSES = {"binary": "log_loss", "regression": "rmse"}
ESTIMATORS = {"binary": "LogisticRegression", "regression": "LinearRegression"}


def project(folder: Path, task: str, **gates: object) -> Workspace:
    rng = np.random.default_rng(0)
    moments = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(800)]
    x = rng.normal(size=800)
    outcome = x + rng.normal(size=800)
    label = (outcome > 0) * 1.0 if task == "binary" else 3 * outcome + 2
    columns = {"at": moments, "known": [at + timedelta(hours=2) for at in moments], "x": x, "label": label}
    pl.DataFrame({**columns, "outcome": np.round(5 - 2 * label, 3)}).write_parquet(folder / "orders.parquet")
    code = DEFINITIONS.replace("TASK", task).replace("ESTIMATOR", ESTIMATORS[task])
    (folder / "definitions.py").write_text(code)
    loss = LOSSES[task]
    policy = {
        "project": "leak",
        "gates": {"accuracy": {"metric": loss, "resamples": 100}, "performance": None, **gates},
        "rollout": {"promote_when": {"metric": loss}},
    }
    (folder / "trimtab.yaml").write_text(yaml.safe_dump(policy))
    return open_workspace(folder)


def judged(ws: Workspace) -> None:
    ingesting.ingest(ws)
    run = pipeline.train(ws, "m", pipeline.snapshot(ws, "m", as_of=ws.now()))
    pipeline.refuse(pipeline.evaluate(ws, run))


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_a_label_in_disguise_is_refused_with_what_to_write(tmp_path: Path, task: str) -> None:
    with pytest.raises(GateRefused, match=r"leakage: 'outcome' alone explains the label: .*acknowledged: \[outcome\]"):
        judged(project(tmp_path, task))


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_an_acknowledged_one_passes(tmp_path: Path, task: str) -> None:
    judged(project(tmp_path, task, leakage={"acknowledged": ["outcome"]}))
