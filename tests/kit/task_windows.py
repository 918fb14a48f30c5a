"""Small projects of each task that have served for some days: real versions, logged rows, labels, judged windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from kit.small_project import AS_OF, make_project, open_small
from kit.task_projects import make_anomaly, make_multiclass, make_quantile
from trimtab.app.loop.steering import decide_once
from trimtab.app.project.workspace import Workspace
from trimtab.app.stages import ingesting, pipeline
from trimtab.bundle.spec import Spec, read_spec
from trimtab.clock import ManualClock, to_micros
from trimtab.metric_catalog import Task
from trimtab.records.record import Role
from trimtab.records.training import Bundle, DatasetVersion
from trimtab.runtimes.opening import open_scorer
from trimtab.tasks import RULES
from trimtab.testing.predictions import label_rows, prediction_rows
from trimtab.training.dataset import load
from trimtab.units import MICROS

MODELS: dict[Task, str] = {"binary": "risk", "multiclass": "size", "regression": "late", "anomaly": "pump"}
COSTS: dict[Task, str] = {
    "binary": "{ false_negative: 40, false_positive: 20 }",
    "multiclass": "{ misclassification: 30, matrix: { large: { small: 90 } } }",
    "regression": "{ over_prediction: 0.2, under_prediction: 0.5 }",
    "anomaly": "{ false_negative: 100, false_positive: 5 }",
}
DAY_ROWS = 48
Served = Callable[[Task], Workspace]
"""Returns the project of a task that has served."""
POLICY = """
impact: {{ cost: {cost}, medium: 100/day, high: 400/day }}
rollout: {{ rollback_when: {{ p99: 250ms }}, promote_when: {{ min_labels: 100 }} }}
"""


def make_served(folder: Path, task: Task, *, days: int = 12, shifted_from: int | None = None) -> Workspace:
    """Train a model and let it serve.

    Version 2, the same model whose scores are a little lower, challenges it from the fourth day on; from the day
    `shifted_from` on the inputs are three times as large and the labels as they were.
    """
    workspace = _made(folder, task)
    policy = workspace.project.folder / "trimtab.yaml"
    policy.write_text(policy.read_text() + POLICY.format(cost=COSTS[task]))
    workspace = open_small(folder, AS_OF)
    ingesting.ingest(workspace)
    run = pipeline.train(workspace, MODELS[task], pipeline.snapshot(workspace, MODELS[task], as_of=AS_OF))
    champion = pipeline.register(workspace, run, pipeline.evaluate(workspace, run, measured=False))
    challenger = msgspec.structs.replace(champion, id=f"{champion.model}/2", version=2)
    workspace.metadata.put(challenger)
    for bundle in (champion, challenger):
        pipeline.deploy(workspace, bundle, cause=bundle.id, reason="a test", by="tests")
    for day in range(days):
        factor = 3.0 if shifted_from is not None and day >= shifted_from else 1.0
        serve(workspace, champion, day, factor=factor)
        if day >= 3:
            serve(workspace, challenger, day, factor=factor, role="challenger")
    workspace.predictions.sync()
    clock = workspace.clock
    assert isinstance(clock, ManualClock)
    clock.move_to(AS_OF + timedelta(days=days))
    decide_once(workspace)
    return workspace


def serve(workspace: Workspace, bundle: Bundle, day: int, *, factor: float = 1.0, role: Role = "champion") -> None:
    """Log one day of rows of the training set again, with their labels an hour later."""
    frozen = load(workspace.metadata.get(DatasetVersion, bundle.dataset), workspace.artifacts)
    folder = workspace.artifacts.open(bundle.path)
    spec = read_spec(folder)
    random = np.random.default_rng(day)
    place = random.integers(0, len(frozen.train.y), DAY_ROWS)
    X, y = np.asarray(frozen.train.X)[place] * factor, frozen.train.y[place]
    scores = open_scorer(folder, spec).score(X) * (1.0 if role == "champion" else 0.97)
    ids = [f"{bundle.model}-{day}-{n}" for n in range(DAY_ROWS)]
    begin = to_micros(AS_OF + timedelta(days=day))
    at = [begin + n * MICROS["h"] // 2 for n in range(DAY_ROWS)]
    main = RULES[spec.task].main_score(scores)
    columns: dict[str, Sequence[Any]] = {
        "model": [bundle.model] * DAY_ROWS,
        "version": [bundle.version] * DAY_ROWS,
        "role": [role] * DAY_ROWS,
        "served": [role == "champion"] * DAY_ROWS,
        "event_time": at,
        "logged_at": at,
        "features": [[float(value) for value in row] for row in X],
        "score": [float(value) for value in main],
        "latency_us": [1000 + n for n in range(DAY_ROWS)],
    }
    if spec.classes:
        columns["probabilities"] = [[float(value) for value in row] for row in scores]
    workspace.predictions.append(prediction_rows(ids, **columns))
    if role == "champion":
        _label(workspace, spec, ids, y, at, bundle.model)


def _label(workspace: Workspace, spec: Spec, ids: list[str], y: np.ndarray, at: list[int], model: str) -> None:
    known = np.flatnonzero(np.isfinite(y))
    if not len(known):
        return
    given: dict[str, Sequence[Any]] = {
        "model": [model] * len(known),
        "known_at": [at[n] + MICROS["h"] for n in known],
        "received_at": [at[n] + MICROS["h"] for n in known],
        "label": [None if spec.classes else float(y[n]) for n in known],
        "class_name": [spec.classes[int(y[n])] if spec.classes else None for n in known],
    }
    workspace.predictions.append_labels(label_rows([ids[n] for n in known], **given))


def _made(folder: Path, task: Task) -> Workspace:
    if task == "multiclass":
        return make_multiclass(folder)
    if task == "regression":
        return make_quantile(folder)
    if task == "anomaly":
        return make_anomaly(folder, labelled=True)
    return open_small(make_project(folder))
