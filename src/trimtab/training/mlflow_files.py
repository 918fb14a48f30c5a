"""Writes MLmodel and python_env.yaml of a bundle, so that MLflow can load, evaluate and serve the folder.

The python_function flavour takes the features by name; its loader is in the bundle (trimtab_pyfunc). The flavour of the
model's own library is described as well, for functions such as `mlflow.onnx.load_model`.
"""

from __future__ import annotations

import pickletools
import re
import shutil
import sys
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import msgspec
import yaml

from trimtab.bundle import trimtab_pyfunc, typed_matrix
from trimtab.bundle.categories import CategoryTables, category_tables
from trimtab.bundle.spec import Limits, Spec
from trimtab.tasks import RULES
from trimtab.training.mlflow_client import load_mlflow

ENVIRONMENT = "python_env.yaml"
LOADER, LOADER_FOLDER = "trimtab_pyfunc", "mlflow"
"""The module that MLflow imports, and its folder in the bundle."""
TYPED_ROWS = "trimtab_typed"
"""The module of typed rows in the same folder."""
COLUMNS = {
    "text": "string",
    "category": "string",
    "boolean": "boolean",
    "integer": "long",
    "decimal": "string",
    "date": "datetime",
    "timestamp": "datetime",
}
"""Type of a feature -> MLflow's type of its column; a decimal is text, since MLflow has no exact type for it."""


def write_description(folder: Path, spec: Spec) -> None:
    """Write both files and the loader into a bundle's folder. spec: the content of its bundle.json."""
    mlflow = load_mlflow()
    # imported here, because it takes seconds to import, as MLflow does
    from mlflow.models import Model as Description

    python = ".".join(str(part) for part in sys.version_info[:3])
    description = Description(
        run_id=spec.run,
        signature=_signature(spec),
        metadata={"trimtab": _about(folder, spec)},
        mlflow_version=mlflow.__version__,
    )
    (folder / LOADER_FOLDER).mkdir()
    shutil.copyfile(trimtab_pyfunc.__file__, folder / LOADER_FOLDER / f"{LOADER}.py")
    if spec.feature_types:
        shutil.copyfile(typed_matrix.__file__, folder / LOADER_FOLDER / f"{TYPED_ROWS}.py")
    description.add_flavor(
        "python_function",
        loader_module=LOADER,
        code=LOADER_FOLDER,
        **({"config": {"output": trimtab_pyfunc.OUTPUTS[spec.task][0]}} if RULES[spec.task].decides else {}),
        python_version=python,
        env={"virtualenv": ENVIRONMENT},
    )
    for name, flavour in _flavours(folder, spec).items():
        description.add_flavor(name, code=None, **flavour)
    description.save(str(folder / "MLmodel"))
    environment = {"python": python, "build_dependencies": [], "dependencies": ["-r requirements.txt"]}
    (folder / ENVIRONMENT).write_text(yaml.safe_dump(environment, sort_keys=False), encoding="utf-8")


def needed_modules(folder: Path, spec: Spec) -> list[str]:
    """Return the modules that a bundle needs in MLflow, its model's library among them."""
    needed = ["mlflow", "numpy", "pandas"]
    if spec.runtime == "onnx":
        return [*needed, "onnx", "onnxruntime"]
    if spec.runtime == "torchscript":
        return [*needed, "torch"]
    if spec.runtime == "project":
        return [*needed, "cloudpickle", *_pickled_modules((folder / spec.model_file).read_bytes())]
    if spec.runtime != "skops":
        return [*needed, spec.runtime]
    # imported here, because it imports scikit-learn, which takes seconds
    from skops.io import get_untrusted_types

    own = {name.partition(".")[0] for name in get_untrusted_types(file=folder / spec.model_file)}
    return [*needed, "skops", "sklearn", "scipy", *sorted(own)]


def _pickled_modules(content: bytes) -> list[str]:
    """Return the top-level modules that a pickle may name, sorted. Nothing is unpickled."""
    names = (argument for _, argument, _ in pickletools.genops(content) if isinstance(argument, str))
    roots = {re.split(r"[. ]", name)[0] for name in names}
    return sorted(root for root in roots if root in sys.modules)


def _about(folder: Path, spec: Spec) -> dict[str, Any]:
    """Return the settings of the loader as plain values."""
    limits = msgspec.to_builtins(spec.limits or Limits())
    tables = None if spec.input == "frame" else _tables(folder, spec)
    return {
        **({"typed": typed_settings(spec)} if spec.feature_types else {}),
        "model": spec.model,
        "task": spec.task,
        "features": list(spec.features),
        "threshold": spec.threshold,
        **({"classes": list(spec.classes)} if spec.classes else {}),
        "runtime": spec.runtime,
        "file": spec.model_file,
        "limits": {name: list(part) if isinstance(part, tuple) else part for name, part in limits.items()},
        "categories": {} if tables is None else {spec.features[n]: v.tolist() for n, v in tables.values.items()},
    }


def typed_settings(spec: Spec) -> dict[str, Any]:
    """Return the arguments of a schema but the features, as plain values."""
    return {
        "types": dict(spec.feature_types),
        "categories": {name: list(known) for name, known in spec.feature_categories.items()},
        "form": spec.input,
        "unseen": spec.unseen,
    }


def _tables(folder: Path, spec: Spec) -> CategoryTables | None:
    path = folder / spec.model_file
    if spec.runtime == "lightgbm":
        import lightgbm

        return category_tables(lightgbm.Booster(model_str=path.read_text(encoding="utf-8")))
    if spec.runtime == "xgboost":
        import xgboost

        booster = xgboost.Booster()
        booster.load_model(str(path))
        return category_tables(booster)
    return None


def _signature(spec: Spec) -> Any:
    from mlflow.models.signature import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    rules, score = RULES[spec.task], trimtab_pyfunc.OUTPUTS.get(spec.task, ("prediction",))[0]
    params: Any = ParamSchema([ParamSpec("output", "string", None)]) if rules.decides else None
    return ModelSignature(
        inputs=Schema(
            [ColSpec(COLUMNS.get(spec.feature_types.get(name, ""), "double"), name) for name in spec.features]
        ),
        outputs=Schema([ColSpec("double", name) for name in (spec.classes if rules.by_class else (score,))]),
        params=params,
    )


def _flavours(folder: Path, spec: Spec) -> dict[str, dict[str, Any]]:
    """Return the flavour of the model's own library: its settings by its name; empty when MLflow has none."""
    if spec.runtime in ("project", "torchscript"):
        return {}
    name, flavour = _flavour(folder, spec)
    return {name: flavour}


def _flavour(folder: Path, spec: Spec) -> tuple[str, dict[str, Any]]:
    file, about = spec.model_file, dict[str, Any]()
    data = {"data": file}
    if spec.runtime == "lightgbm":
        return "lightgbm", {**data, "lgb_version": installed("lightgbm"), "model_class": "lightgbm.basic.Booster"}
    if spec.runtime == "xgboost":
        import xgboost

        about = {"xgb_version": xgboost.__version__, "model_class": "xgboost.core.Booster", "model_format": "ubj"}
        return "xgboost", {**data, **about}
    if spec.runtime == "catboost":
        about = {"catboost_version": installed("catboost"), "model_type": "CatBoost", "save_format": "cbm"}
        return "catboost", {**data, **about}
    if spec.runtime == "skops":
        # imported here, because it imports scikit-learn, which takes seconds
        from skops.io import get_untrusted_types

        about = {"serialization_format": "skops", "skops_trusted_types": get_untrusted_types(file=folder / file)}
        return "sklearn", {"pickled_model": file, "sklearn_version": installed("scikit-learn"), **about}
    about = {"onnx_version": installed("onnx"), "providers": ["CPUExecutionProvider"], "onnx_session_options": None}
    return "onnx", {**data, **about}
