"""Keeps with a run in MLflow what MLflow's own clients look for: a LoggedModel with its metrics, and plots.

A LoggedModel holds the packaged model, so `models:/MODEL_ID` loads it. On a local disk its files are links to those of
the artifact store and take no room.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import numpy as np

from trimtab import settings
from trimtab.bundle.limits import checked
from trimtab.bundle.scorer import Scorer
from trimtab.bundle.spec import Spec
from trimtab.records.training import DatasetVersion, Run
from trimtab.training.dataset import Frozen
from trimtab.training.mlflow_client import load_mlflow
from trimtab.training.plots.run_plots import Judged, draw
from trimtab.training.registry import logged_model_of
from trimtab.training.tracking import PLOTS, Tracking, params_of

log = logging.getLogger(__name__)


def keep_model(tracking: Tracking, run: Run, dataset: DatasetVersion, folder: Path, *, task: str) -> str:
    """Make the LoggedModel of a run, unless it has one, and return its id. folder: the packaged model."""
    client, entities = tracking.client, load_mlflow().entities
    if (known := logged_model_of(client, run.id)) is not None:
        return known
    made = client.create_logged_model(
        tracking.experiment(run.model),
        name=run.model,
        source_run_id=run.id,
        params=params_of(run),
        tags={
            "mlflow.user": settings.login(),
            "trimtab.dataset": dataset.id,
            "trimtab.model_hash": run.model_hash,
        },
        model_type=task,
    )
    id_ = str(made.model_id)
    where = urlparse(made.artifact_location)
    if where.scheme in ("", "file"):
        shutil.copytree(folder, Path(url2pathname(where.path)), copy_function=_link, dirs_exist_ok=True)
    else:
        client.log_model_artifacts(id_, str(folder))
    at = int(run.created_at.timestamp() * 1000)
    about = {"model_id": id_, "dataset_name": dataset.model, "dataset_digest": dataset.id[:36]}
    prefix = "judged_" if run.refit_of else ""
    metrics = [entities.Metric(f"{prefix}{name}", value, at, 0, **about) for name, value in run.metrics.items()]
    client.log_batch(run.id, metrics=metrics)
    client.finalize_logged_model(id_, "READY")
    client.log_outputs(run.id, [entities.LoggedModelOutput(id_, 0)])
    return id_


def keep_plots(tracking: Tracking, run: Run, frozen: Frozen, scorer: Scorer, spec: Spec) -> None:
    """Draw the plots of a run and keep them among its artifacts, unless it has some.

    A plot that fails is no reason to fail a training: it is logged as a warning.
    """
    if tracking.plots(run.id):
        return
    try:
        found = _draw(run, frozen, checked(scorer, spec), spec)
    except Exception as error:  # a border: models of any library score here
        log.warning("run %s has no plots: %s: %s", run.id, type(error).__name__, error)
        return
    with tempfile.TemporaryDirectory(prefix="trimtab-") as place:
        for name, text in found.items():
            (Path(place) / f"{name}.svg").write_text(text, encoding="utf-8")
        tracking.client.log_artifacts(run.id, place, PLOTS)


def _draw(run: Run, frozen: Frozen, scorer: Scorer, spec: Spec) -> Mapping[str, str]:
    rows = Judged(
        task=spec.task,
        features=spec.features,
        X=frozen.holdout.X,
        y=frozen.holdout.y,
        scores=np.asarray(scorer.score(frozen.holdout.X), dtype=np.float64),
        threshold=spec.threshold,
        classes=spec.classes,
    )
    return draw(rows, scorer, run.seed)


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)
    return target
