"""A fitted estimator as the file of its own library, without pickles. Called by forms.py.

LightGBM's text and XGBoost's UBJSON stand beside the graph in any case, because TreeSHAP needs the trees; the skops
file of scikit-learn does, because it is the estimator as auditors want to open it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trimtab.bundle import LIGHTGBM_FILE, SKOPS_FILE, XGBOOST_FILE, Runtime
from trimtab.training.canonical import canonical_skops


@dataclass(frozen=True, kw_only=True)
class Native:
    """A file, and the runtime that opens it."""

    runtime: Runtime
    name: str
    content: bytes


def native_file(estimator: Any) -> Native | None:
    """Return the file of a fitted estimator; None when its library has none, or cannot write this one."""
    library = type(estimator).__module__.partition(".")[0]
    writers: dict[str, tuple[Runtime, str, Callable[[Any], bytes]]] = {
        "sklearn": ("skops", SKOPS_FILE, _skops),
        "lightgbm": ("lightgbm", LIGHTGBM_FILE, _lightgbm),
        "xgboost": ("xgboost", XGBOOST_FILE, _xgboost),
    }
    if library not in writers:
        return None
    runtime, name, write = writers[library]
    try:
        return Native(runtime=runtime, name=name, content=write(estimator))
    except Exception:  # a border: a library that cannot write an estimator raises what it likes
        return None


def _skops(estimator: Any) -> bytes:
    # it brings scikit-learn, which takes seconds to import
    from skops.io import dumps

    return canonical_skops(dumps(estimator))


def _lightgbm(estimator: Any) -> bytes:
    booster = estimator.booster_ if hasattr(estimator, "booster_") else estimator
    return str(booster.model_to_string()).encode()


def _xgboost(estimator: Any) -> bytes:
    booster = estimator.get_booster() if hasattr(estimator, "get_booster") else estimator
    return bytes(booster.save_raw(raw_format="ubj"))
