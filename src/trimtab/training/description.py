"""MLmodel and python_env.yaml of a bundle, so that MLflow itself can load and serve the folder. Called by package.py.

The signature is one tensor: with a column signature MLflow's ONNX loader turns the two outputs of a classifier into
one table, which it cannot.
"""

from __future__ import annotations

import sys
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from trimtab.bundle import Spec
from trimtab.training.client import load_mlflow

ENVIRONMENT = "python_env.yaml"


def write_description(folder: Path, spec: Spec) -> None:
    """Write both files for what the spec says."""
    mlflow = load_mlflow()
    # this comes with MLflow, and takes as long
    from mlflow.models import Model as Description

    python = ".".join(str(part) for part in sys.version_info[:3])
    description = Description(
        run_id=spec.run,
        signature=_signature(spec),
        metadata={"trimtab": {"model": spec.model, "features": list(spec.features)}},
        mlflow_version=mlflow.__version__,
    )
    name, function, flavour = _flavour(folder, spec)
    description.add_flavor(
        "python_function",
        loader_module=f"mlflow.{name}",
        python_version=python,
        env={"virtualenv": ENVIRONMENT},
        **function,
    )
    description.add_flavor(name, code=None, **flavour)
    description.save(str(folder / "MLmodel"))
    environment = {"python": python, "build_dependencies": [], "dependencies": ["-r requirements.txt"]}
    (folder / ENVIRONMENT).write_text(yaml.safe_dump(environment, sort_keys=False), encoding="utf-8")


def _signature(spec: Spec) -> Any:
    from mlflow.models.signature import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    f4, f8, i8 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)
    outputs: list[ColSpec | TensorSpec]
    if spec.runtime != "onnx":
        outputs = [TensorSpec(f8, (-1,))]
    elif spec.task == "binary":
        outputs = [TensorSpec(i8, (-1,), "label"), TensorSpec(f4, (-1, 2), "probabilities")]
    else:
        outputs = [TensorSpec(f4, (-1, 1), "variable")]
    return ModelSignature(inputs=Schema([TensorSpec(f4, (-1, len(spec.features)))]), outputs=Schema(outputs))


def _flavour(folder: Path, spec: Spec) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return the flavour's name, what its python_function needs, and what it needs itself."""
    file, about = spec.model_file, dict[str, Any]()
    data = {"data": file}
    if spec.runtime == "lightgbm":
        return "lightgbm", data, {**data, "lgb_version": installed("lightgbm"), "model_class": "lightgbm.basic.Booster"}
    if spec.runtime == "xgboost":
        import xgboost

        about = {"xgb_version": xgboost.__version__, "model_class": "xgboost.core.Booster", "model_format": "ubj"}
        return "xgboost", data, {**data, **about}
    if spec.runtime == "skops":
        # it brings scikit-learn, which takes seconds to import
        from skops.io import get_untrusted_types

        predict = "predict_proba" if spec.task == "binary" else "predict"
        about = {"serialization_format": "skops", "skops_trusted_types": get_untrusted_types(file=folder / file)}
        own = {"pickled_model": file, "sklearn_version": installed("scikit-learn"), **about}
        return "sklearn", {"model_path": file, "predict_fn": predict}, own
    about = {"onnx_version": installed("onnx"), "providers": ["CPUExecutionProvider"], "onnx_session_options": None}
    return "onnx", data, {**data, **about}
