"""A small project of one model, written into a folder: two features, 600 rows, one every half hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

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
training: { min_examples: 100, seed: SEED MORE }
gates: GATES
rollout: { strategy: blue-green, rollback_when: { error_rate: 2% }, promote_when: { metric: METRIC } }
"""
GATES = {
    "binary": "{ accuracy: { metric: roc_auc, min: 0.6, resamples: 100 }, performance: { p99: 10s } }",
    "regression": "{ accuracy: { metric: rmse, max: 9, resamples: 100 }, performance: { p99: 10s } }",
}
START = datetime(2024, 1, 1, tzinfo=UTC)


def write_policy(folder: Path, *, name: str = "old-name", seed: int = 1, task: str = "binary", more: str = "") -> None:
    """Write trimtab.yaml. more: further keys of `training`."""
    text = POLICY.replace("NAME", name).replace("SEED", str(seed)).replace(" MORE", more).replace("GATES", GATES[task])
    (folder / "trimtab.yaml").write_text(text.replace("METRIC", "log_loss" if task == "binary" else "rmse"))


def write_project(folder: Path, task: str = "binary") -> Path:
    """Write data, definitions and policy, and return the folder."""
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
    write_policy(folder, task=task)
    return folder
