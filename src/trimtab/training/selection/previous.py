"""Opens the estimator of a packaged model again, so that a fit can start from it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.bundle.spec import CATBOOST_FILE, LIGHTGBM_FILE, SKOPS_FILE, XGBOOST_FILE, read_spec
from trimtab.errors import DataError
from trimtab.lazy_library import LazyLibrary
from trimtab.records.training import DatasetVersion
from trimtab.runtimes.skops import load_estimator
from trimtab.training.selection.calibrators import plain

lightgbm, xgboost, catboost = LazyLibrary("lightgbm"), LazyLibrary("xgboost"), LazyLibrary("catboost")


SAME = {
    "features": "features",
    "classes": "classes",
    "feature_types": "types of the features",
    "feature_categories": "categories of the features",
    "input": "input of the trainer",
    "unseen": "treatment of unseen categories",
}
"""What a fit has in common with the one that it starts from, by field of the record and of the spec: what the numbers
of a row and of a label stand for."""


@dataclass(frozen=True, kw_only=True)
class Previous:
    """An estimator to start from. run: the run that fitted it."""

    run: str
    estimator: Any


def open_previous(
    folder: Path, run: str, *, dataset: DatasetVersion, trust: Collection[str] = ()
) -> tuple[Previous | None, str]:
    """Return the estimator of a packaged model, and why there is none.

    Args:
        folder: of the packaged model.
        run: that fitted it.
        dataset: of the new fit; its features, their types and categories, and its classes must be those of the old one.
        trust: policy `serving.trust`.

    Returns:
        A Booster of LightGBM or XGBoost, a model of CatBoost, or an estimator of scikit-learn; otherwise None, with the
        reason.
    """
    spec = read_spec(folder)
    changed = next((what for field, what in SAME.items() if getattr(spec, field) != getattr(dataset, field)), None)
    if changed is not None:
        return None, f"the {changed} changed after run {run[:8]}"
    openers: dict[str, Callable[[Path], Any]] = {
        LIGHTGBM_FILE: lambda path: lightgbm.Booster(model_file=str(path)),
        XGBOOST_FILE: lambda path: xgboost.Booster(model_file=str(path)),
        CATBOOST_FILE: lambda path: catboost.CatBoost().load_model(str(path)),
        SKOPS_FILE: lambda path: load_estimator(path, trust),
    }
    for name, opened in openers.items():
        if (folder / name).is_file():
            try:
                return Previous(run=run, estimator=_to_start_from(opened(folder / name))), ""
            except DataError as error:
                return None, str(error)
    return None, f"run {run[:8]} has no file of its own library that a fit can start from"


def _to_start_from(estimator: Any) -> Any:
    """Return an estimator without its calibration, and of LightGBM and XGBoost the Booster."""
    estimator = plain(estimator)
    if hasattr(estimator, "get_booster"):
        return estimator.get_booster()
    return getattr(estimator, "booster_", estimator)
