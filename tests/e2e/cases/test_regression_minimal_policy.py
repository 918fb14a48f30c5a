"""`project:` alone is a policy for every task, and for models of several tasks in one project."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from rich.console import Console

from trimtab.app.project.project import open_project
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.replay.replay import Replay
from trimtab.app.replay.session import warnings_of_others, warnings_of_training
from trimtab.app.reports.summary import other_predictions, summarise
from trimtab.app.stages import ingesting, pipeline
from trimtab.cli.views import show_summary
from trimtab.errors import PolicyError
from trimtab.gates import performance
from trimtab.gates.measure import Measurement
from trimtab.gates.performance import TooMuch, run_measure
from trimtab.records.gate_reports import GateReport
from trimtab.records.training import DatasetVersion
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.predictions import label_rows, prediction_rows

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
    ingesting.ingest(workspace)
    dataset = pipeline.snapshot(workspace, model, as_of=workspace.now())
    run = pipeline.train(workspace, model, dataset)
    report = pipeline.evaluate(workspace, run)
    bundle = pipeline.register(workspace, run, report)
    pipeline.deploy(workspace, bundle, cause="test", reason="test", by="test")
    return report


@dataclass(frozen=True)
class Deployed:
    """A project with a model of each task in service, and the reports of their gates."""

    workspace: Workspace
    reports: dict[str, GateReport]


def measure_undisturbed(
    folder: Path, *, trust: Sequence[str] = (), most: int | None = None
) -> Measurement | TooMuch | str:
    """Measure a bundle as the gate does, but for the pauses of a machine on which other tests run."""
    found = run_measure(folder, trust=trust, most=most)
    return msgspec.structs.replace(found, p99_us=found.p50_us) if isinstance(found, Measurement) else found


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    workspace = open_workspace(project(tmp_path_factory.mktemp("houses"), REGRESSION, BINARY))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(performance, "run_measure", measure_undisturbed)
        return Deployed(workspace, {model: judged(workspace, model) for model in ("value", "high")})


@pytest.fixture
def workspace(deployed: Deployed, tmp_path: Path) -> Workspace:
    """A copy of the project with a log of its own."""
    folder = deployed.workspace.project.folder
    shutil.copytree(folder, tmp_path / "copy")
    return open_workspace(tmp_path / "copy")


def test_models_of_both_tasks_are_trained_judged_and_deployed_by_a_policy_of_one_line(deployed: Deployed) -> None:
    found = {model: report.results[0] for model, report in deployed.reports.items()}
    assert {model: result.metric for model, result in found.items()} == {"value": "rmse", "high": "roc_auc"}
    assert {result.verdict for result in found.values()} == {"pass"}


def answer(workspace: Workspace, model: str, ids: Sequence[str], *, score: Sequence[float], y: Sequence[float]) -> None:
    """Log predictions of version 1 with their labels."""
    log = SegmentLog(workspace.root / "predictions")
    rows = len(ids)
    log.append(prediction_rows(ids, model=[model] * rows, version=[1] * rows, features=[[0.5]] * rows, score=score))
    log.append_labels(label_rows(ids, model=[model] * rows, label=y))
    log.close()


def shown(workspace: Workspace, model: str) -> str:
    """Return what a replay prints at its end."""
    console = Console(record=True, width=200, file=io.StringIO())
    show_summary(console, summarise(workspace, model), failed=0)
    return console.export_text()


def test_a_summary_goes_by_the_metrics_of_the_task(workspace: Workspace) -> None:
    # given answers 10 too high and 10 too low, where the model itself says about 50
    answer(workspace, "value", ["ex-0", "ex-1"], score=[60.0, 40.0], y=[50.0, 50.0])
    answer(workspace, "high", ["ex-0", "ex-1"], score=[0.9, 0.2], y=[1.0, 0.0])

    # when both are summed up
    value, high = (summarise(workspace, model).comparison for model in ("value", "high"))

    # then each by its own metrics, and without costs no money is named
    assert value is not None
    assert high is not None
    assert list(value.loop) == ["rmse", "mae", "r2"]
    assert value.loop["rmse"] == pytest.approx(10.0)
    assert value.gain == pytest.approx(value.frozen["rmse"] - 10.0)
    assert (value.loop_money_lost, high.loop_money_lost) == (None, None)
    assert "log_loss" in high.loop
    text = shown(workspace, "value")
    assert "its rmse is 10.0000 against" in text
    assert "(less is better)" in text
    assert "log_loss" not in text


def test_errors_of_a_regression_cost_money_by_their_direction(workspace: Workspace) -> None:
    policy = "project: houses\nimpact: { cost: { absolute_error: 1, over_prediction: 2, false_negative: 9 } }\n"
    (workspace.project.folder / "trimtab.yaml").write_text(policy)
    workspace = open_workspace(workspace.project.folder)
    answer(workspace, "value", ["ex-0", "ex-1"], score=[60.0, 40.0], y=[50.0, 50.0])
    found = summarise(workspace, "value").comparison
    assert found is not None
    assert found.loop_money_lost == pytest.approx(10 * 1 + 10 * 2 + 10 * 1)
    assert "USD saved" in shown(workspace, "value")


def test_requests_that_no_replay_sent_are_counted_apart_and_told_before(workspace: Workspace) -> None:
    answer(workspace, "value", ["ex-0", "ex-1"], score=[60.0, 40.0], y=[50.0, 50.0])
    assert other_predictions(workspace, "value").predictions == 0
    answer(workspace, "value", ["mine", "ex-0x"], score=[1e6, 1e6], y=[50.0, 50.0])
    found = summarise(workspace, "value")
    assert (found.predictions, found.others.predictions) == (4, 2)
    assert found.comparison is not None
    assert found.comparison.loop["rmse"] == pytest.approx(10.0)
    assert "left out of this comparison: 2 predictions that no replay sent" in shown(workspace, "value")
    told = " ".join(warnings_of_others(workspace, "value", START - timedelta(days=365)))
    assert "2 predictions of model 'value' that no replay sent" in told
    assert "come too late" in told


def test_a_replay_tells_that_the_trainer_has_seen_its_rows(workspace: Workspace) -> None:
    def told(start: datetime) -> str:
        play = Replay(workspace, workspace.model("value"), start=start, end=START + timedelta(days=365))
        return " ".join(warnings_of_training(play, start))

    dataset = workspace.metadata.find(DatasetVersion, model="value")[0]
    assert told(dataset.split_at) != "", "the fit on all rows has seen the holdout, too"
    text = told(START)
    assert text.startswith(f"version 1 was trained on rows up to {dataset.as_of:%Y-%m-%d %H:%M} UTC")
    assert "trimtab run --as-of 2024-01-01T00:00:00Z" in text
    # a replay that goes on where it was stopped sends only what comes after
    ids = [f"ex-{n}" for n in range(ROWS)]
    answer(workspace, "value", ids, score=[1.0] * len(ids), y=[1.0] * len(ids))
    assert told(START) == ""


def test_a_summary_without_an_act_does_not_say_that_nothing_was_decided(workspace: Workspace) -> None:
    answer(workspace, "value", ["ex-0"], score=[60.0], y=[50.0])
    assert "no window was ready" not in shown(workspace, "value")


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
