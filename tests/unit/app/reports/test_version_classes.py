"""Two versions of a multiclass model, which know other classes, compared from the log and the labels alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import yaml

from trimtab.app.pages.comparison_report import comparison_page
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.reports.version_comparison import compare_versions
from trimtab.app.rollout.rollouts import Rollouts
from trimtab.clock import to_micros
from trimtab.stats.metrics import metric_value
from trimtab.tasks import UNKNOWN_CLASS
from trimtab.testing.judged import DAY, FIRST, MODEL, bundle_record, dataset_record, window_report
from trimtab.testing.predictions import label_rows, prediction_rows

CLASSES = {1: ("on time", "late"), 2: ("late", "cancelled", "on time")}
TOGETHER = ("on time", "late", "cancelled")
DEFINITIONS = f"""
import trimtab as tt

flights = tt.FileSource("flights", "flights.parquet", timestamp="moment")
delay = tt.Model("{MODEL}", task="multiclass", examples=flights, label="arrival", features=["row"],
                 classes={list(TOGETHER)})
"""
ROWS, DAYS = 40, 12


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    cost = {"misclassification": 10, "matrix": {"cancelled": {"on time": 50}}}
    policy = {"project": "p", "impact": {"cost": cost}, "serving": {"port": 0}}
    (tmp_path / "trimtab.yaml").write_text(yaml.safe_dump(policy))
    made = open_workspace(tmp_path)
    rollouts = Rollouts(made.metadata, made.project.policy.rollout, MODEL, made.clock)
    for version, classes in CLASSES.items():
        dataset = msgspec.structs.replace(dataset_record(), id=f"dataset{version}", classes=classes)
        bundle = msgspec.structs.replace(bundle_record(version), dataset=dataset.id)
        made.metadata.put(dataset, bundle)
        rollouts.deploy(bundle, cause=f"deploy {version}", reason="test", by="test")
    yield made
    made.metadata.close()
    made.predictions.close()


def play(workspace: Workspace) -> tuple[npt.NDArray[np.int64], dict[int, npt.NDArray[np.float64]]]:
    """Log days that both versions scored, with labels; return labels and scores in the order of TOGETHER."""
    random = np.random.default_rng(0)
    found: dict[int, list[npt.NDArray[np.float64]]] = {1: [], 2: []}
    named: list[str] = []
    for day in range(DAYS):
        ids = [f"{day}-{n}" for n in range(ROWS)]
        at = [to_micros(FIRST + day * DAY) + n * 60_000_000 for n in range(ROWS)]
        for version, classes in CLASSES.items():
            p = random.dirichlet(np.ones(len(classes)) * 2, ROWS)
            found[version].append(p)
            role = "champion" if version == 1 else "challenger"
            workspace.predictions.append(
                prediction_rows(
                    ids,
                    event_time=at,
                    features=[[0.0]] * ROWS,
                    version=[version] * ROWS,
                    role=[role] * ROWS,
                    served=[version == 1] * ROWS,
                    score=p.max(axis=1).tolist(),
                    probabilities=p.tolist(),
                )
            )
        names = random.choice([*TOGETHER, "diverted"], ROWS, p=[0.5, 0.3, 0.15, 0.05]).tolist()
        named += names
        known = [time + 1 for time in at]
        workspace.predictions.append_labels(
            label_rows(ids, label=[None] * ROWS, class_name=names, known_at=known, received_at=known)
        )
        metrics = {"paired_rows": float(ROWS), "paired_version": 1.0, "paired_log_loss_gain": 0.1}
        workspace.metadata.put(window_report(day, version=2, role="challenger", metrics=metrics))
    workspace.predictions.sync()
    y = np.array([TOGETHER.index(name) if name in TOGETHER else UNKNOWN_CLASS for name in named])
    scores = {}
    for version, parts in found.items():
        scores[version] = np.zeros((len(y), 3))
        scores[version][:, [TOGETHER.index(name) for name in CLASSES[version]]] = np.concatenate(parts)
    return y, scores


def test_both_are_measured_on_the_classes_of_both(workspace: Workspace) -> None:
    y, scores = play(workspace)
    compared = compare_versions(workspace, MODEL, (2, 1))
    measures = {measure.name: measure for measure in compared.measures}
    assert compared.labels == len(y)
    order = [0, 1, 2]
    for name in ("log_loss", "accuracy", "brier"):
        assert measures[name].value == pytest.approx(metric_value(name, y, scores[2][:, order]))
        assert measures[name].against == pytest.approx(metric_value(name, y, scores[1][:, order]))
    said = scores[2].argmax(axis=1)
    assert measures["wrong decisions"].value == pytest.approx((said != y).mean())
    assert measures["decided cancelled"].value == pytest.approx((said == 2).mean())
    assert measures["decided cancelled"].against == 0.0
    lost = np.where(said != y, np.where((y == 2) & (said == 0), 50.0, 10.0), 0.0)
    assert compared.money is not None
    assert compared.money.value == pytest.approx(lost.sum() / DAYS)
    assert "decided cancelled" in comparison_page(compared)


def test_rows_of_classes_that_no_version_knows_have_no_price_by_the_projects_function(workspace: Workspace) -> None:
    def lost(y_true: Any, y_score: Any) -> Any:
        return np.array([1.0, 5.0, 1000.0])[y_true.astype(int)]

    workspace.model(MODEL).impact(lost)
    y, _ = play(workspace)
    compared = compare_versions(workspace, MODEL, (2, 1))
    days = y.reshape(DAYS, ROWS)
    means = [lost(day[day >= 0], day).mean() for day in days]
    assert (days < 0).any()
    assert compared.money is not None
    assert compared.money.value == pytest.approx(np.mean(means) * ROWS)
    assert compared.money.gain == 0
