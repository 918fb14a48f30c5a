"""Describes a folder that is to be served: a Trimtab bundle, or any MLflow model.

Of the flavours of an MLflow model the safest is taken: a graph, a native file or a skops file before a pickle.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.bundle.manifest import MANIFEST, file_names, verify
from trimtab.bundle.mlmodel import MLMODEL, MlModel, feature_names, feature_types, read_mlmodel, told_task
from trimtab.bundle.scorer import PYFUNC, Options, Scorer, inside
from trimtab.bundle.spec import SPEC, Limits, Runtime, Spec, Task, read_spec
from trimtab.errors import DataError
from trimtab.lazy_library import LazyLibrary
from trimtab.runtimes.opening import open_model
from trimtab.runtimes.pyfunc import PyfuncScorer
from trimtab.tasks import RULES

if TYPE_CHECKING:
    import numpy as np
else:
    np = LazyLibrary("numpy")

KINDS = {
    **dict.fromkeys(("double", "float"), "number"),
    **dict.fromkeys(("integer", "long"), "integer"),
    "boolean": "boolean",
    "string": "text",
    "datetime": "time",
}
"""MLflow's column type -> type of a request column."""
TIMESTAMP = "timestamp"
ORDER: tuple[Task, ...] = ("binary", "regression", "anomaly")
"""Tasks that a model is tried for, when it does not give probabilities of several classes."""


def describe(folder: Path, *, trust: Collection[str] = (), task: Task | None = None) -> Spec:
    """Return the spec of a folder: bundle.json of a bundle, whose digests are checked, or a spec made from its MLmodel.

    trust: policy `serving.trust`. A skops file with other types, and a model with pickles, are not opened to find their
    task. task: of an MLflow model that names none; by default a graph with "probabilities", a booster whose objective
    gives probabilities and a classifier are binary, or multiclass with more than two classes; an outlier detector is an
    anomaly model, and all other models are regressions. The metadata may name `classes` and `threshold`, too.
    Raises DataError, which names the file and what is wrong: links, missing files, no signature, inputs that are not
    numbers, an anomaly model without a threshold.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected a bundle or an MLflow model (a folder with {MLMODEL})")
    if (folder / SPEC).exists() or (folder / MANIFEST).exists():
        verify(folder)
        return read_spec(folder)
    file_names(folder)
    model = read_mlmodel(folder)
    runtime, file, reason = _served(folder, model)
    features = feature_names(folder, model, frames=runtime in (PYFUNC, "skops"))
    types = feature_types(model)
    task = task or told_task(model) or _found_task(folder, runtime, file, len(features), trust)
    scorer = None
    if runtime != PYFUNC and (RULES[task].by_class or not RULES[task].needs_labels):
        scorer = open_model(folder / file, runtime=runtime, task=task, options=Options(trust=trust))
    return Spec(
        model=folder.resolve().name,
        task=task,
        classes=_classes(model, task, scorer, len(features)),
        label=(model.outputs[0].name or "") if len(model.outputs) == 1 else "",
        features=features,
        request_columns=features,
        entity_keys=(),
        timestamp="" if TIMESTAMP in features else TIMESTAMP,
        threshold=_threshold(folder, model, task, scorer),
        run=model.run,
        dataset="",
        views=(),
        code_hash="",
        runtime=runtime,
        model_file=file,
        runtime_reason=reason,
        request_types=_request_types(features, model),
        feature_types=types,
        input="frame" if types else "matrix",
        limits=Limits() if types else None,
    )


def _served(folder: Path, model: MlModel) -> tuple[Runtime, str, str]:
    """Return the runtime, the file that it opens, and why it is not ONNX Runtime."""
    flavours = model.flavours
    if "onnx" in flavours:
        return "onnx", _file(folder, flavours["onnx"], "data"), ""
    for runtime in ("lightgbm", "xgboost", "catboost"):
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
        "expected one of onnx, lightgbm, xgboost, catboost, sklearn, python_function"
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


def _classes(model: MlModel, task: Task, scorer: Scorer | None, features: int) -> tuple[str, ...]:
    """Return the names of the classes: those of the metadata or the estimator, or their places."""
    told = model.metadata.get("classes")
    if isinstance(told, list) and told:
        return tuple(map(str, told))
    if not RULES[task].by_class or scorer is None:
        return ()
    own = getattr(getattr(scorer, "estimator", None), "classes_", None)
    if own is not None:
        return tuple(str(name.item() if hasattr(name, "item") else name) for name in own)
    return tuple(map(str, range(scorer.score(np.zeros((1, features), dtype=np.float32)).shape[1])))


def _threshold(folder: Path, model: MlModel, task: Task, scorer: Scorer | None) -> float:
    """Return the threshold of the metadata; of an outlier detector its own, of a probability 0.5."""
    told = model.metadata.get("threshold")
    if isinstance(told, int | float):
        return float(told)
    if task != "anomaly":
        return 0.5
    estimator: Any = getattr(scorer, "estimator", None)
    detector = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    if hasattr(detector, "offset_"):
        return -float(np.ravel(detector.offset_)[0])
    raise DataError(
        f"{folder / MLMODEL}: an anomaly model needs the score from which a row is an anomaly; name it in the "
        'metadata: save_model(..., metadata={"task": "anomaly", "threshold": 0.6})'
    )


def _found_task(folder: Path, runtime: Runtime, file: str, features: int, trust: Collection[str]) -> Task:
    """Return the task that the model fits. Raises DataError when it fits none, or when `trust` does not allow it."""
    if runtime == PYFUNC:
        if PYFUNC not in trust:
            return "regression"  # serving it is refused later
        asked = PyfuncScorer(folder, None)
        asked.close()
        return asked.task
    path, options = folder / file, Options(trust=trust)
    if _several_classes(path, runtime, features, options):
        return "multiclass"
    errors: list[DataError] = []
    for task in ORDER:
        try:
            open_model(path, runtime=runtime, task=task, options=options).close()
        except DataError as error:
            errors.append(error)
        else:
            return task
    binary, regression = errors[:2]
    if str(regression) == str(binary):
        raise binary
    raise DataError(f"{binary}; nor is it a regression: {regression}") from regression


def _several_classes(path: Path, runtime: Runtime, features: int, options: Options) -> bool:
    """Return True for a model that gives probabilities of more than two classes."""
    try:
        scorer = open_model(path, runtime=runtime, task="multiclass", options=options)
        return bool(scorer.score(np.zeros((1, features), dtype=np.float32)).shape[1] > 2)
    except Exception:  # a backend wrapper: the errors of the runtimes have no common base
        return False
