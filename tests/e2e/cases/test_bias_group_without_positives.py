"""A large group without a positive label, to which the model says yes most of the time, fails the bias gate."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.stages import ingesting, pipeline
from trimtab.errors import GateRefused
from trimtab.records.gate_reports import GateReport
from trimtab.records.training import Run

ROWS = 6_000
DEFINITIONS = """
import trimtab as tt

ex = tt.FileSource("ex", "data/ex.parquet", timestamp="at")
m = tt.Model("m", task="binary", examples=ex, label="y", features=["a"])

@m.trainer
def train(data, params, seed):
    from sklearn.linear_model import LogisticRegression
    return LogisticRegression().fit(data.X, data.y)
"""
POLICY = """
project: bias-case
impact: { cost: { false_negative: 3, false_positive: 1 } }
gates:
  accuracy: { metric: roc_auc, min: 0.5, resamples: 100 }
  bias: { sensitive: [g], metric: equalized_odds_difference, max: 0.20 }
  performance: null
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Run]:
    """A project with groups A and B that fare alike, and C, which looks like positives and never is one."""
    folder, random = tmp_path_factory.mktemp("bias"), np.random.default_rng(1)
    group, a = random.choice(["A", "B", "C"], ROWS), random.normal(size=ROWS)
    a = np.where(group == "C", random.normal(1.5, 0.5, ROWS), a)
    y = np.where(group == "C", 0.0, (a + 0.3 * random.normal(size=ROWS) > 0.3) * 1.0)
    at = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=30 * n) for n in range(ROWS)]
    (folder / "data").mkdir()
    pl.DataFrame({"at": at, "g": group, "a": a, "y": y}).write_parquet(folder / "data" / "ex.parquet")
    (folder / "definitions.py").write_text(DEFINITIONS)
    (folder / "trimtab.yaml").write_text(POLICY)
    workspace = open_workspace(folder)
    ingesting.ingest(workspace)
    return workspace, pipeline.train(workspace, "m", pipeline.snapshot(workspace, "m", as_of=workspace.now()))


def judged(trained: tuple[Workspace, Run], policy: Mapping[str, str] | None = None) -> GateReport:
    """Judge the run by the policy with words replaced."""
    workspace, run = trained
    text = POLICY
    for old, new in (policy or {}).items():
        text = text.replace(old, new)
    (workspace.project.folder / "trimtab.yaml").write_text(text)
    return pipeline.evaluate(open_workspace(workspace.project.folder), run)


def test_the_gate_fails_by_the_rate_that_the_group_has(trained: tuple[Workspace, Run]) -> None:
    report = judged(trained)
    (bias,) = [result for result in report.results if result.gate == "bias"]
    assert bias.verdict == "fail"
    assert bias.value > 0.9
    worst = bias.details["worst"]
    assert (worst["measure"], worst["highest"]) == ("fpr", "C")
    assert "3 of 3 groups are compared" in bias.reason
    assert "not judged: tpr of 'C' (0 positive labels in" in bias.reason
    with pytest.raises(GateRefused, match="fpr"):
        pipeline.refuse(report)


def test_a_rate_that_the_group_lacks_is_a_warning_with_its_name(trained: tuple[Workspace, Run]) -> None:
    report = judged(trained, {"equalized_odds_difference": "equal_opportunity_difference", "0.20": "0.5"})
    (bias,) = [result for result in report.results if result.gate == "bias"]
    assert bias.verdict == "warn", bias.reason
    assert "not judged: tpr of 'C'" in bias.reason
