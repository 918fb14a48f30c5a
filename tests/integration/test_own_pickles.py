"""A class of the project, from training to the gateway's orders: it serves from its own project alone."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from trimtab.app.gateway.project_control import ProjectControl
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.stages import ingesting, pipeline
from trimtab.bundle.manifest import write_manifest
from trimtab.bundle.spec import read_spec
from trimtab.cli.stages import show_run
from trimtab.errors import DataError, StageError
from trimtab.records.training import Bundle, Run
from trimtab.runtimes.opening import open_scorer
from trimtab.testing.judged import FIRST

DEFINITIONS = """
import numpy as np
import trimtab as tt

flights = tt.FileSource("flights", "flights.parquet", timestamp="moment")
delay = tt.Model("delay", task="binary", examples=flights, label="late", features=["row"])


class Rates:
    classes_ = np.array([0.0, 1.0])

    def predict(self, X):
        return (self.predict_proba(X)[:, 1] > 0.5).astype(float)

    def predict_proba(self, X):
        p = np.array([self.rates.get(value, 0.5) for value in X[:, 0].tolist()])
        return np.column_stack([1 - p, p])


@delay.trainer
def train(data, params, seed):
    made = Rates()
    made.rates = {value: float(data.y[data.X[:, 0] == value].mean()) for value in np.unique(data.X[:, 0]).tolist()}
    return made
"""
POLICY = "project: p\ntraining: { min_examples: 10 }\nserving: { trust: [project] }\n"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    folder = tmp_path / "project"
    folder.mkdir()
    rows = {
        "moment": [FIRST + timedelta(hours=hour) for hour in range(300)],
        "late": [int((hour % 3 == 0) != (hour % 5 == 0)) for hour in range(300)],
        "row": [float(hour % 3) for hour in range(300)],
    }
    pl.DataFrame(rows).write_parquet(folder / "flights.parquet")
    (folder / "trimtab.yaml").write_text(POLICY)
    (folder / "definitions.py").write_text(DEFINITIONS)
    opened = open_workspace(folder)
    ingesting.ingest(opened)
    return opened


def bundle_of(workspace: Workspace) -> Bundle:
    dataset = pipeline.snapshot(workspace, "delay", as_of=FIRST + timedelta(hours=299))
    run = pipeline.train(workspace, "delay", dataset)
    report = pipeline.evaluate(workspace, run, measured=False)
    bundle = pipeline.register(workspace, run, report)
    pipeline.deploy(workspace, bundle, cause="test", reason="test", by="test")
    return bundle


def test_a_class_of_the_project_serves_from_its_project_alone(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    # given a bundle that is a pickle of this project's training
    bundle = bundle_of(workspace)
    folder = workspace.artifacts.open(bundle.path)
    spec = read_spec(folder)
    assert (spec.runtime, spec.model_file) == ("project", "model.pkl")
    show_run(workspace, workspace.metadata.get(Run, bundle.run))
    assert f"project serves it: {spec.runtime_reason}" in capsys.readouterr().out

    # then the gateway is told to serve it, and it answers
    (order,) = ProjectControl(workspace).orders() or ()
    assert (order.error, order.variants[0].bundle.digest) == ("", bundle.digest)
    scorer = open_scorer(folder, spec, trust=workspace.project.policy.serving.trust)
    answers = scorer.score(np.array([[0.0], [1.0]], dtype=np.float32))
    assert 0.5 < answers[0] < 1
    assert 0 < answers[1] < 0.5
    scorer.close()

    # but not when its pickle was replaced, manifest and all
    (folder / "model.pkl").write_bytes((folder / "model.pkl").read_bytes() + b"\0")
    write_manifest(folder)
    (order,) = ProjectControl(workspace).orders() or ()
    assert order.variants == ()
    assert "model.pkl is not the file that run" in order.error

    # nor in a policy that does not trust the project
    with pytest.raises(DataError, match=r"serving: \{ trust: \[project\] \}"):
        open_scorer(folder, spec)
    workspace.metadata.close()


def test_without_trust_the_training_says_what_to_add(workspace: Workspace) -> None:
    (workspace.project.folder / "trimtab.yaml").write_text("project: p\ntraining: { min_examples: 10 }\n")
    again = open_workspace(workspace.project.folder)
    dataset = pipeline.snapshot(again, "delay", as_of=FIRST + timedelta(hours=299))
    with pytest.raises(StageError, match=r"Rates cannot be converted.*serving: \{ trust: \[project\] \}"):
        pipeline.train(again, "delay", dataset)
    again.metadata.close()
    workspace.metadata.close()
