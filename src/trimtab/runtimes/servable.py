"""Describes a folder that is to be served: a Trimtab bundle, or any MLflow model.

Of the flavours of an MLflow model the safest is taken: a graph, a native file or a skops file before a pickle.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from trimtab.bundle.manifest import MANIFEST, file_names, verify
from trimtab.bundle.mlmodel import MLMODEL, MlModel, feature_names, read_mlmodel, told_task
from trimtab.bundle.scorer import PYFUNC, Options, inside
from trimtab.bundle.spec import SPEC, Runtime, Spec, Task, read_spec
from trimtab.errors import DataError
from trimtab.runtimes.opening import open_model
from trimtab.runtimes.pyfunc import PyfuncScorer

KINDS = {"double": "number", "float": "number", "integer": "integer", "long": "integer", "boolean": "boolean"}
"""MLflow's column type -> type of a request column."""
TIMESTAMP = "timestamp"


def describe(folder: Path, *, trust: Collection[str] = (), task: Task | None = None) -> Spec:
    """Return the spec of a folder: bundle.json of a bundle, whose digests are checked, or a spec made from its MLmodel.

    trust: policy `serving.trust`. A skops file with other types, and a model with pickles, are not opened to find their
    task. task: of an MLflow model that names none; by default a graph with "probabilities", a booster with a binary
    objective and a classifier are binary, all other models are regressions.
    Raises DataError, which names the file and what is wrong: links, missing files, no signature, inputs that are not
    numbers.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected a bundle or an MLflow model (a folder with {MLMODEL})")
    if (folder / SPEC).exists() or (folder / MANIFEST).exists():
        verify(folder)
        return read_spec(folder)
    file_names(folder)
    model = read_mlmodel(folder)
    features = feature_names(folder, model)
    runtime, file, reason = _served(folder, model)
    return Spec(
        model=folder.resolve().name,
        task=task or told_task(model) or _found_task(folder, runtime, file, trust),
        label=(model.outputs[0].name or "") if len(model.outputs) == 1 else "",
        features=features,
        request_columns=features,
        entity_keys=(),
        timestamp="" if TIMESTAMP in features else TIMESTAMP,
        threshold=0.5,
        run=model.run,
        dataset="",
        views=(),
        code_hash="",
        runtime=runtime,
        model_file=file,
        runtime_reason=reason,
        request_types=_request_types(features, model),
    )


def _served(folder: Path, model: MlModel) -> tuple[Runtime, str, str]:
    """Return the runtime, the file that it opens, and why it is not ONNX Runtime."""
    flavours = model.flavours
    if "onnx" in flavours:
        return "onnx", _file(folder, flavours["onnx"], "data"), ""
    for runtime in ("lightgbm", "xgboost"):
        if runtime in flavours:
            return _boosted(folder, runtime, flavours[runtime])
    if "sklearn" in flavours:
        file = _file(folder, flavours["sklearn"], "pickled_model")
        if flavours["sklearn"].get("serialization_format") == "skops":
            return "skops", file, "the MLflow model is a skops file"
        return "pyfunc", MLMODEL, f"its scikit-learn estimator is pickled in {file}"
    if "python_function" in flavours:
        loader = flavours["python_function"].get("loader_module", "unknown")
        return "pyfunc", MLMODEL, f"its only flavour is python_function, loaded by {loader}"
    raise DataError(
        f"{folder / MLMODEL}: its flavours are {', '.join(map(str, flavours)) or 'none'}; "
        "expected one of onnx, lightgbm, xgboost, sklearn, python_function"
    )


def _boosted(folder: Path, runtime: Runtime, flavour: Any) -> tuple[Runtime, str, str]:
    file = _file(folder, flavour, "data")
    if file.endswith(".skops"):
        return "skops", file, "the MLflow model is a skops file"
    if file.endswith((".pkl", ".pickle")):
        return "pyfunc", MLMODEL, f"its estimator is pickled in {file}"
    return runtime, file, f"the MLflow model is {runtime}'s own file"


def _file(folder: Path, flavour: Any, key: str) -> str:
    name = flavour.get(key)
    if not isinstance(name, str):
        raise DataError(f"{folder / MLMODEL}: the flavour names no file under '{key}'")
    inside(folder, name)
    return name


def _request_types(features: tuple[str, ...], model: MlModel) -> dict[str, str]:
    kinds = ["number"] * len(features)
    if model.inputs[0].type != "tensor":
        kinds = [KINDS[column.type] for column in model.inputs]
    return dict(zip(features, kinds, strict=True))


def _found_task(folder: Path, runtime: Runtime, file: str, trust: Collection[str]) -> Task:
    """Return the task that the model fits. Raises DataError when it fits none, or when `trust` does not allow it."""
    if runtime == PYFUNC:
        if PYFUNC not in trust:
            return "regression"  # serving it is refused later
        asked = PyfuncScorer(folder, None)
        asked.close()
        return asked.task
    path, options = folder / file, Options(trust=trust)
    try:
        open_model(path, runtime=runtime, task="binary", options=options).close()
    except DataError as binary:
        try:
            open_model(path, runtime=runtime, task="regression", options=options).close()
        except DataError as regression:
            if str(regression) == str(binary):
                raise
            raise DataError(f"{binary}; nor is it a regression: {regression}") from regression
        return "regression"
    return "binary"
