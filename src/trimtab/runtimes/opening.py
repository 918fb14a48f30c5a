"""Opens a bundle's model with the runtime that its spec names. Each runtime is imported on first use."""

from __future__ import annotations

from collections.abc import Callable, Collection
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from trimtab.bundle.scorer import PROJECT, PYFUNC, TIMEOUT_S, Options, Scorer, inside
from trimtab.bundle.spec import Runtime, Spec, Task
from trimtab.errors import DataError, MissingExtra

RUNTIMES: dict[Runtime, tuple[str, str]] = {
    "onnx": ("trimtab.runtimes.onnx", "onnxruntime"),
    "lightgbm": ("trimtab.runtimes.lightgbm", "lightgbm"),
    "xgboost": ("trimtab.runtimes.xgboost", "xgboost"),
    "catboost": ("trimtab.runtimes.catboost", "catboost"),
    "skops": ("trimtab.runtimes.skops", "skops"),
    "torchscript": ("trimtab.runtimes.torchscript", "torch"),
    "pyfunc": ("trimtab.runtimes.pyfunc", "mlflow"),
    "project": ("trimtab.runtimes.own_pickle", "cloudpickle"),
}
"""Runtime -> its module with `open_model`, and the package that it needs."""

Opener = Callable[[Path, Task, Options], Scorer]
"""The type of `open_model`. It takes the model's file, or for pyfunc its folder."""


def open_scorer(
    folder: Path, spec: Spec, *, trust: Collection[str] = (), timeout_s: float = TIMEOUT_S, low_priority: bool = False
) -> Scorer:
    """Open the model of a folder whose digests were checked. Nothing is unpickled unless `trust` holds "pyfunc", or
    "project" for a pickle of the project's own training, whose origin the caller has checked (bundle/origin.py).

    trust: policy `serving.trust`: "pyfunc", "project", and names of types that a skops file may hold beyond those that
    are known to be safe. timeout_s: longest wait for scores of a model that runs in a process of its own. low_priority:
    such a process runs only when the processor is otherwise idle. Raises DataError, which names the file and what to
    add to `trust`; MissingExtra when the runtime's package is not installed.
    """
    scorer = _open(folder, spec, Options(trust=trust, timeout_s=timeout_s, low_priority=low_priority))
    if not spec.feature_types:
        return scorer
    return cast(Scorer, import_module("trimtab.runtimes.typed_scorer").open_typed(scorer, spec))


def _open(folder: Path, spec: Spec, options: Options) -> Scorer:
    if spec.runtime == PROJECT and PROJECT not in options.trust:
        raise DataError(
            f"{folder}: the model is a pickle that the project's training made ({spec.runtime_reason}); to run it, in "
            "a process of its own, add to trimtab.yaml: serving: { trust: [project] }"
        )
    if spec.runtime != PYFUNC:
        return open_model(inside(folder, spec.model_file), runtime=spec.runtime, task=spec.task, options=options)
    if PYFUNC not in options.trust:
        raise DataError(
            f"{folder}: the model is loaded by unpickling ({spec.runtime_reason or 'an MLflow python_function'}), "
            "which runs whatever code it holds; when you trust its source, add to trimtab.yaml: "
            "serving: { trust: [pyfunc] }, or serve it with --trust pyfunc"
        )
    return open_model(folder, runtime=spec.runtime, task=spec.task, options=options)


def open_model(path: Path, *, runtime: Runtime, task: Task, options: Options) -> Scorer:
    """Open a model's file. Raises the same errors as `open_scorer`, which opens bundles."""
    module, package = RUNTIMES[runtime]
    if find_spec(package) is None:
        extra = {"lightgbm": "boosting", "xgboost": "boosting", "catboost": "catboost"}.get(runtime, "all")
        raise MissingExtra(package, extra)
    return cast(Opener, import_module(module).open_model)(path, task, options)
