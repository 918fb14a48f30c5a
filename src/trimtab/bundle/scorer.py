"""Scores rows with a bundle's model, whatever runtime opens it. Used by parity checks, gates and the gateway."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, cast

import numpy as np

from trimtab.bundle.spec import Runtime, Spec, Task
from trimtab.errors import DataError, MissingExtra

PYFUNC = "pyfunc"
"""What policy `serving.trust` must hold before an MLflow model with pickles is run."""

TIMEOUT_S = 30.0

RUNTIMES: dict[Runtime, tuple[str, str]] = {
    "onnx": ("trimtab.bundle.runtimes.onnx", "onnxruntime"),
    "lightgbm": ("trimtab.bundle.runtimes.lightgbm", "lightgbm"),
    "xgboost": ("trimtab.bundle.runtimes.xgboost", "xgboost"),
    "skops": ("trimtab.bundle.runtimes.skops", "skops"),
    "pyfunc": ("trimtab.bundle.runtimes.pyfunc", "mlflow"),
}
"""The file of each runtime, which has a function `open_model`, and the package that it needs; imported on first use."""


class Scorer(Protocol):
    """A model that is ready to score. Safe to share between threads."""

    @property
    def task(self) -> Task:
        """What the scores are."""
        ...

    @property
    def in_process(self) -> bool:
        """False when scoring waits for another process, and so does not belong on an event loop."""
        ...

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return one score a row: float64 (rows,) for float32 (rows, features), NaN for what is missing.

        It is the probability of the positive class of a binary model, the predicted value of a regression.
        Raises what the runtime raises; DataError when the model gives anything but one number a row.
        """
        ...

    def close(self) -> None:
        """Let go of the model; it is not scored afterwards."""
        ...


@dataclass(frozen=True, kw_only=True)
class Options:
    """What opening a model depends on beside its file."""

    trust: Collection[str] = ()
    """Policy `serving.trust`."""
    timeout_s: float = TIMEOUT_S
    """Longest wait for a model in another process."""
    aside: bool = False
    """Whether it answers nobody: a process of its own then runs only when nobody else wants the processor."""


Opener = Callable[[Path, Task, Options], Scorer]
"""What `open_model` of a runtime's file is: it takes the model's file, or for pyfunc its folder."""


def open_scorer(
    folder: Path, spec: Spec, *, trust: Collection[str] = (), timeout_s: float = TIMEOUT_S, aside: bool = False
) -> Scorer:
    """Open the model of a folder whose digests were checked. Nothing is unpickled unless `trust` says "pyfunc".

    trust: policy `serving.trust`: "pyfunc", and names of types that a skops file may hold beyond those that are
    known to be safe. timeout_s: longest wait for a model that runs in a process of its own. aside: it answers nobody,
    so such a process has the lowest priority. Raises DataError naming the file, and what to add to `trust`;
    MissingExtra when the runtime's package is not installed.
    """
    options = Options(trust=trust, timeout_s=timeout_s, aside=aside)
    if spec.runtime != PYFUNC:
        return open_model(inside(folder, spec.model_file), runtime=spec.runtime, task=spec.task, options=options)
    if PYFUNC not in trust:
        raise DataError(
            f"{folder}: the model is loaded by unpickling ({spec.runtime_reason or 'an MLflow python_function'}), "
            "which runs whatever code it holds; when you trust its source, add to trimtab.yaml: "
            "serving: { trust: [pyfunc] }, or serve it with --trust pyfunc"
        )
    return open_model(folder, runtime=spec.runtime, task=spec.task, options=options)


def open_model(path: Path, *, runtime: Runtime, task: Task, options: Options) -> Scorer:
    """Open a model's file. Raises as `open_scorer`, which callers that have a bundle want."""
    module, package = RUNTIMES[runtime]
    if find_spec(package) is None:
        raise MissingExtra(package, "boosting" if runtime in ("lightgbm", "xgboost") else "all")
    return cast(Opener, import_module(module).open_model)(path, task, options)


def inside(folder: Path, name: str) -> Path:
    """Return a file of a folder. Raises DataError when the name leads outside, or there is no such file."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name:
        raise DataError(f"{folder}: the model's file '{name}' leads outside the folder")
    if not (folder / name).is_file():
        raise DataError(f"{folder / name}: no such file")
    return folder / name
