"""`project:` alone is a policy for every task, and for models of several tasks in one project."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from trimtab.app import stages
from trimtab.app.project import open_project
from trimtab.app.workspace import Workspace, open_workspace
from trimtab.errors import PolicyError
from trimtab.records import GateReport

START = datetime(2024, 1, 1, tzinfo=UTC)
ROWS = 900

HEAD = """
import trimtab as tt

ex = tt.FileSource("ex", "data/ex.parquet", timestamp="at", known_at="known")
"""
REGRESSION = """
value = tt.Model("value", task="regression", examples=ex, label="y", features=["a"])

@value.trainer
def train(data, params, seed):
    from sklearn.linear_model import LinearRegression
    return LinearRegression().fit(data.X, data.y)
"""
BINARY = """
high = tt.Model("high", task="binary", examples=ex, label="is_high", features=["a"])

@high.trainer
def train_high(data, params, seed):
    from sklearn.linear_model import LogisticRegression
    return LogisticRegression().fit(data.X, data.y)
"""


def project(folder: Path, *definitions: str, policy: str = "project: houses\n") -> Path:
    """Write a project whose label follows one feature, with noise."""
    random = np.random.default_rng(1)
    a = random.normal(size=ROWS)
    y = 100 * a + random.normal(size=ROWS) * 30
    at = [START + timedelta(hours=2 * n) for n in range(ROWS)]
    rows = {"at": at, "known": [one + timedelta(hours=1) for one in at], "a": a, "y": y, "is_high": (y > 0) * 1.0}
    (folder / "data").mkdir(parents=True)
    pl.DataFrame(rows).write_parquet(folder / "data" / "ex.parquet")
    (folder / "definitions.py").write_text(HEAD + "".join(definitions))
    (folder / "trimtab.yaml").write_text(policy)
    return folder


def judged(workspace: Workspace, model: str) -> GateReport:
    """Take the model to service through all stages, and return its gates' report."""
    stages.ingest(workspace)
    dataset = stages.snapshot(workspace, model, as_of=workspace.now())
    run = stages.train(workspace, model, dataset)
    report = stages.evaluate(workspace, run)
    bundle = stages.register(workspace, run, report)
    stages.deploy(workspace, bundle, cause="test", reason="test", by="test")
    return report


def test_models_of_both_tasks_are_trained_judged_and_deployed_by_a_policy_of_one_line(tmp_path: Path) -> None:
    workspace = open_workspace(project(tmp_path, REGRESSION, BINARY))
    found = {model: judged(workspace, model).results[0] for model in ("value", "high")}
    assert {model: result.metric for model, result in found.items()} == {"value": "rmse", "high": "roc_auc"}
    assert {result.verdict for result in found.values()} == {"pass"}


@pytest.mark.parametrize(
    ("definitions", "policy", "message"),
    [
        (REGRESSION, "gates: { accuracy: { min: 0.6 } }", r":2: gates.accuracy.min: the metric is rmse .*; give max"),
        (BINARY, "gates: { accuracy: { max: 5 } }", r":2: gates.accuracy.max: the metric is roc_auc .*; give min"),
        (REGRESSION, "impact: { cost: { false_negative: 5 } }", r":2: impact.cost.false_negative: a regression model"),
        (BINARY, "impact: { cost: { over_prediction: 5 } }", r":2: impact.cost.over_prediction: a binary model"),
        (REGRESSION, "rollout: { promote_when: { metric: brier } }", r":2: .*'brier' does not fit model 'value'"),
        (
            REGRESSION,
            "gates: { bias: { sensitive: [a], metric: equalized_odds_ratio, min: 0.8 } }",
            r":2: gates.bias.metric: .* expected mean_error_difference, ",
        ),
        (REGRESSION + BINARY, "gates: { robustness: { metric: rmse } }", r"'rmse' does not fit model 'high'.*leave it"),
    ],
)
def test_what_no_model_can_use_is_refused_when_the_policy_is_read(
    tmp_path: Path, definitions: str, policy: str, message: str
) -> None:
    folder = project(tmp_path, definitions, policy=f"project: houses\n{policy}\n")
    with pytest.raises(PolicyError, match=message):
        open_project(folder)


def test_limits_and_costs_of_both_tasks_stand_side_by_side(tmp_path: Path) -> None:
    policy = "gates: { accuracy: { min: 0.6, max: 40 } }\nimpact: { cost: { false_negative: 5, absolute_error: 1 } }\n"
    folder = project(tmp_path, REGRESSION, BINARY, policy=f"project: houses\n{policy}")
    assert open_project(folder).policy.impact.for_task("regression").cost == {"absolute_error": 1.0}
