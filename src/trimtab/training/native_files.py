"""Writes a fitted model as the file of its own library, or as a pickle that only its own project may open."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trimtab.bundle.spec import CATBOOST_FILE, LIGHTGBM_FILE, PICKLE_FILE, SKOPS_FILE, TORCH_FILE, XGBOOST_FILE, Runtime
from trimtab.errors import StageError
from trimtab.places import PROJECT_MODULE
from trimtab.training.canonical import canonical_skops
from trimtab.training.torch_modules import is_module, torchscript


@dataclass(frozen=True, kw_only=True)
class Native:
    """A file of an estimator's own library, and the runtime that opens it."""

    runtime: Runtime
    name: str
    content: bytes


def native_file(estimator: Any, features: int = 0) -> Native | None:
    """Return a fitted estimator as the file of its own library, without pickles.

    features: number of inputs, which only a PyTorch module needs. None if the library has no such format, or cannot
    write this estimator. A bundle holds the file in addition to the graph: TreeSHAP needs the trees of LightGBM,
    XGBoost and CatBoost, and auditors can open a skops file.
    """
    library = "torch" if is_module(estimator) else type(estimator).__module__.partition(".")[0]
    writers: dict[str, tuple[Runtime, str, Callable[[Any], bytes]]] = {
        "sklearn": ("skops", SKOPS_FILE, _skops),
        "lightgbm": ("lightgbm", LIGHTGBM_FILE, _lightgbm),
        "xgboost": ("xgboost", XGBOOST_FILE, _xgboost),
        "catboost": ("catboost", CATBOOST_FILE, _catboost),
        "torch": ("torchscript", TORCH_FILE, lambda module: torchscript(module, features)),
    }
    if library not in writers:
        return None
    runtime, name, write = writers[library]
    try:
        return Native(runtime=runtime, name=name, content=write(estimator))
    except Exception:  # libraries raise errors without a common base class
        return None


def _skops(estimator: Any) -> bytes:
    # imported here, because it imports scikit-learn, which takes seconds
    from skops.io import dumps

    return canonical_skops(dumps(estimator))


def _lightgbm(estimator: Any) -> bytes:
    booster = estimator.booster_ if hasattr(estimator, "booster_") else estimator
    return str(booster.model_to_string()).encode()


def _xgboost(estimator: Any) -> bytes:
    booster = estimator.get_booster() if hasattr(estimator, "get_booster") else estimator
    return bytes(booster.save_raw(raw_format="ubj"))


def _catboost(estimator: Any) -> bytes:
    with TemporaryDirectory(prefix="trimtab-") as folder:
        path = Path(folder) / CATBOOST_FILE
        estimator.save_model(str(path), format="cbm")
        return path.read_bytes()


def pickled(estimator: Any) -> Native:
    """Return a fitted Python object as a pickle that holds the project's own classes and functions by value.

    The same object gives the same bytes in every process: names that depend on the process are numbered. Raises
    StageError naming what cannot be pickled.
    """
    # installed with MLflow; imported here, because only such models need it
    import cloudpickle

    modules = [module for name, module in sys.modules.items() if name.startswith(PROJECT_MODULE)]
    target = io.BytesIO()
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        cloudpickle.dump(estimator, target, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # objects raise errors without a common base class
        raise StageError(f"{type(estimator).__name__} cannot be pickled: {type(error).__name__}: {error}") from error
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)
    content = _canonical(target.getvalue(), [module.__name__ for module in modules])
    return Native(runtime="project", name=PICKLE_FILE, content=content)


def _canonical(content: bytes, modules: list[str]) -> bytes:
    """Replace the names of project modules, and cloudpickle's random ids of classes, by numbers of the same length."""
    from cloudpickle import cloudpickle

    ids = getattr(cloudpickle, "_DYNAMIC_CLASS_TRACKER_BY_CLASS", {}).values()
    found = sorted((content.find(name.encode()), name) for name in (*modules, *ids) if name.encode() in content)
    for number, (_, name) in enumerate(found, 1):
        kept = PROJECT_MODULE if name.startswith(PROJECT_MODULE) else ""
        content = content.replace(name.encode(), f"{kept}{number:0{len(name) - len(kept)}d}".encode())
    return content
