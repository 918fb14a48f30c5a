"""Multiclass and anomaly models go through all stages: data set, training, gates, bundle, refit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc import load_model

from kit.task_projects import AS_OF, CLASSES, make_anomaly, make_multiclass, make_quantile
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.stages import ingesting, pipeline
from trimtab.bundle.spec import read_spec
from trimtab.clock import ManualClock
from trimtab.metric_catalog import BY_TASK
from trimtab.monitoring.reference import Reference
from trimtab.records.gate_reports import GateReport
from trimtab.records.training import Bundle, DatasetVersion, Run
from trimtab.runtimes.opening import open_scorer
from trimtab.training.dataset import Frozen, load


def through(workspace: Workspace, model: str) -> tuple[Run, GateReport, Bundle]:
    """Run all stages up to the bundle."""
    ingesting.ingest(workspace)
    dataset = pipeline.snapshot(workspace, model, as_of=AS_OF)
    run = pipeline.train(workspace, model, dataset)
    report = pipeline.evaluate(workspace, run, measured=False)
    return run, report, pipeline.register(workspace, run, report)


def frozen_of(workspace: Workspace, run: Run) -> Frozen:
    """Return the data set of a run."""
    return load(workspace.metadata.get(DatasetVersion, run.dataset), workspace.artifacts)


def test_texts_are_classes_from_the_table_to_the_bundle(tmp_path: Path) -> None:
    workspace = make_multiclass(tmp_path / "parcels")
    run, report, bundle = through(workspace, "size")

    # the labels of the data set are indices of the declared classes, and the trainer got its columns
    frozen = frozen_of(workspace, run)
    assert frozen.version.classes == CLASSES
    assert set(np.unique(frozen.train.y)) == {0.0, 1.0, 2.0}
    assert frozen.train.weight is not None
    assert frozen.train.group is not None
    assert set(frozen.train.group) == {"north", "south"}
    assert (frozen.holdout.extra["value"] > 0).all()

    # the bundle gives the probability of each class, in their order, also after the fit on all rows
    folder = workspace.artifacts.open(bundle.path)
    spec = read_spec(folder)
    scores = open_scorer(folder, spec).score(frozen.holdout.X)
    assert (spec.task, spec.classes) == ("multiclass", CLASSES)
    assert scores.shape == (len(frozen.holdout.y), 3)
    assert np.allclose(scores.sum(axis=1), 1, atol=1e-5)
    assert (scores.argmax(axis=1) == frozen.holdout.y).mean() > 0.8
    assert bundle.refit is not None
    assert run.metrics["balanced_accuracy"] > 0.8

    # MLflow reads the same from it
    loaded: Any = load_model(str(folder))
    frame = pd.DataFrame(frozen.holdout.X, columns=spec.features)
    assert list(loaded.predict(frame).columns) == list(CLASSES)
    assert np.allclose(loaded.predict(frame), scores, atol=1e-6)
    labels = loaded.predict(frame, params={"output": "label"})
    assert labels.tolist() == [CLASSES[place] for place in scores.argmax(axis=1)]

    # every gate judged it, and monitoring has a reference
    assert {result.gate for result in report.results} == {"accuracy", "leakage", "bias", "robustness", "calibration"}
    calibration = next(result for result in report.results if result.gate == "calibration")
    assert set(calibration.details["classes"]) == set(CLASSES)
    reference = Reference.from_json((folder / "reference" / "windows.json").read_bytes())
    assert reference.classes == CLASSES
    assert bundle.usual == reference.usual()
    assert set(bundle.usual) == set(BY_TASK["multiclass"].summary)


@pytest.mark.parametrize("labelled", [True, False])
def test_an_outlier_detector_needs_no_labels(tmp_path: Path, labelled: bool) -> None:
    workspace = make_anomaly(tmp_path / "pump", labelled=labelled)
    run, report, bundle = through(workspace, "pump")
    frozen = frozen_of(workspace, run)
    folder = workspace.artifacts.open(bundle.path)
    spec = read_spec(folder)
    scores = open_scorer(folder, spec).score(np.concatenate([frozen.train.X, frozen.holdout.X]))

    # all rows are trained on, and the threshold flags the share that the policy says
    assert len(frozen.train.y) + len(frozen.holdout.y) == frozen.version.rows == 720
    assert np.isnan(frozen.train.y).any()
    assert spec.task == "anomaly"
    assert (scores >= spec.threshold).mean() == pytest.approx(0.08, abs=0.02)

    # MLflow reads the same from it
    frame = pd.DataFrame(frozen.holdout.X, columns=spec.features)
    loaded: Any = load_model(str(folder))
    assert np.allclose(loaded.predict(frame), scores[len(frozen.train.y) :], atol=1e-6)
    flagged = loaded.predict(frame, params={"output": "label"})
    assert flagged.tolist() == (scores[len(frozen.train.y) :] >= spec.threshold).astype(int).tolist()

    # where there are labels they judge it; else the gates say that they do not
    accuracy = next(result for result in report.results if result.gate == "accuracy")
    robustness = next(result for result in report.results if result.gate == "robustness")
    if labelled:
        assert accuracy.metric == "roc_auc"
        assert run.metrics["roc_auc"] > 0.9
        assert robustness.metric == "roc_auc drop"
    else:
        assert not run.metrics
        assert (accuracy.verdict, accuracy.metric) == ("warn", "labels")
        assert robustness.metric == "share of changed decisions"
    assert robustness.details["changed_decisions"]


def test_a_predicted_quantile_is_judged_by_its_own_loss(tmp_path: Path) -> None:
    workspace = make_quantile(tmp_path / "trips")
    run, report, bundle = through(workspace, "late")
    spec = read_spec(workspace.artifacts.open(bundle.path))
    assert (spec.objective, spec.threshold) == ("quantile:0.9", 0.9)
    accuracy = next(result for result in report.results if result.gate == "accuracy")
    assert accuracy.value == pytest.approx(run.metrics["mean_pinball_loss"])
    frozen = frozen_of(workspace, run)
    scores = open_scorer(workspace.artifacts.open(run.staging), spec).score(frozen.holdout.X)
    assert (frozen.holdout.y <= scores).mean() == pytest.approx(0.9, abs=0.08)


def test_another_contamination_makes_another_run(tmp_path: Path) -> None:
    workspace = make_anomaly(tmp_path / "pump", labelled=False)
    ingesting.ingest(workspace)
    dataset = pipeline.snapshot(workspace, "pump", as_of=AS_OF)
    first = pipeline.train(workspace, "pump", dataset)
    policy = workspace.project.folder / "trimtab.yaml"
    policy.write_text(policy.read_text().replace("contamination: 0.08", "contamination: 0.02"))
    again = pipeline.train(open_workspace(workspace.project.folder, clock=ManualClock(AS_OF)), "pump", dataset)
    thresholds = [read_spec(workspace.artifacts.open(run.staging)).threshold for run in (first, again)]
    assert first.id != again.id
    assert thresholds[0] < thresholds[1]
