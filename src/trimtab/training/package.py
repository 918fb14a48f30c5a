"""Fills the bundle folder that trimtab.bundle describes. Called by train.py, and `finish` by app after the gates."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import polars as pl
import yaml

from trimtab.bundle import Spec, write_manifest, write_spec
from trimtab.definitions import Dataset, Model
from trimtab.errors import DataError, StageError
from trimtab.records import DatasetVersion
from trimtab.training.client import load_mlflow
from trimtab.training.environment import Environment, code_files

GRAPH = "model.onnx"
REFERENCE_ROWS = 1000
SCORE = "score"


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What goes into a bundle beside the files that are made from it.

    scores: of the holdout by the graph, float64 (rows,). extra: relative path -> content.
    """

    model: Model
    run: str
    version: DatasetVersion
    estimator: Any
    graph: bytes
    holdout: Dataset
    scores: np.ndarray[Any, Any]
    threshold: float
    project: Path
    environment: Environment
    extra: Mapping[str, bytes]


def package(folder: Path, contents: Contents) -> None:
    """Write all files but the gates' report and the manifest. Raises StageError."""
    # skops brings scikit-learn, which takes seconds to import
    from skops.io import dump

    (folder / GRAPH).write_bytes(contents.graph)
    dump(contents.estimator, folder / "model.skops")
    write_spec(folder, _spec(contents))
    _write_description(folder, contents)
    _write_reference(folder, contents)
    (folder / "requirements.txt").write_text(contents.environment.requirements, encoding="utf-8")
    (folder / "code").mkdir()
    for path in code_files(contents.project):
        (folder / "code" / path.name).write_bytes(path.read_bytes())
    for name, content in contents.extra.items():
        _write_extra(folder, name, content)


def finish(folder: Path, report: bytes) -> str:
    """Add the gates' report (JSON) and the manifest, and return the bundle's digest."""
    (folder / "gate_report.json").write_bytes(report)
    return write_manifest(folder)


def _spec(contents: Contents) -> Spec:
    model, version = contents.model, contents.version
    return Spec(
        model=model.name,
        task=model.task,
        label=model.label,
        features=version.features,
        request_columns=model.request_columns,
        entity_keys=model.entity_keys,
        timestamp=model.examples.timestamp,
        threshold=contents.threshold,
        run=contents.run,
        dataset=version.id,
        views=version.views,
        code_hash=version.code_hash,
    )


def _write_description(folder: Path, contents: Contents) -> None:
    """Write MLmodel and python_env.yaml, so that MLflow itself can load and serve the folder.

    The signature is one tensor: with a column signature MLflow's ONNX loader turns the two outputs of a
    classifier into one table, which it cannot.
    """
    mlflow = load_mlflow()
    # these come with MLflow, and take as long
    from mlflow.models import Model as Description
    from mlflow.models.signature import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    f4, i8 = np.dtype(np.float32), np.dtype(np.int64)
    outputs: list[ColSpec | TensorSpec] = [TensorSpec(f4, (-1, 1), "variable")]
    if contents.model.task == "binary":
        outputs = [TensorSpec(i8, (-1,), "label"), TensorSpec(f4, (-1, 2), "probabilities")]
    description = Description(
        run_id=contents.run,
        signature=ModelSignature(
            inputs=Schema([TensorSpec(f4, (-1, len(contents.version.features)))]), outputs=Schema(outputs)
        ),
        metadata={"trimtab": {"model": contents.model.name, "features": list(contents.version.features)}},
        mlflow_version=mlflow.__version__,
    )
    python = ".".join(str(part) for part in sys.version_info[:3])
    description.add_flavor(
        "python_function",
        loader_module="mlflow.onnx",
        python_version=python,
        data=GRAPH,
        env={"virtualenv": "python_env.yaml"},
    )
    description.add_flavor(
        "onnx",
        onnx_version=installed("onnx"),
        data=GRAPH,
        providers=["CPUExecutionProvider"],
        onnx_session_options=None,
        code=None,
    )
    description.save(str(folder / "MLmodel"))
    environment = {"python": python, "build_dependencies": [], "dependencies": ["-r requirements.txt"]}
    (folder / "python_env.yaml").write_text(yaml.safe_dump(environment, sort_keys=False), encoding="utf-8")


def _write_reference(folder: Path, contents: Contents) -> None:
    if SCORE in contents.version.features:
        raise StageError(f"model '{contents.model.name}' has a feature called '{SCORE}'; rename it")
    count = len(contents.scores)
    chosen = np.unique(np.linspace(0, count - 1, min(count, REFERENCE_ROWS)).astype(np.int64))
    columns = {name: contents.holdout.X[chosen, j] for j, name in enumerate(contents.version.features)}
    target = folder / "reference" / "rows.parquet"
    target.parent.mkdir(exist_ok=True)
    pl.DataFrame({**columns, SCORE: contents.scores[chosen]}).write_parquet(target)


def _write_extra(folder: Path, name: str, content: bytes) -> None:
    inside = PurePosixPath(name)
    if inside.is_absolute() or ".." in inside.parts:
        raise DataError(f"'{name}' leads outside the bundle")
    target = folder / inside
    if target.exists():
        raise DataError(f"'{name}' is in the bundle already")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
