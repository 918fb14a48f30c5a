"""Explains scores: the contribution of each feature.

LightGBM, XGBoost and CatBoost compute exact Shapley values over the paths of their trees (TreeSHAP: Lundberg et al.,
"From local explanations to global understanding with explainable AI for trees", Nature Machine Intelligence 2 (2020),
56-67), in log-odds for binary models. For all other models the values are estimated from many scores (shapley.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np

from trimtab.bundle.scorer import Options, Scorer, inside
from trimtab.bundle.spec import BACKGROUND, CATBOOST_FILE, LIGHTGBM_FILE, XGBOOST_FILE, Runtime, Spec, Task
from trimtab.errors import DataError
from trimtab.runtimes.shapley import check_rows, sampled

Unit = Literal["log_odds", "probability", "value"]
TREES: dict[Runtime, tuple[str, str]] = {
    "lightgbm": (LIGHTGBM_FILE, "trimtab.runtimes.lightgbm"),
    "xgboost": (XGBOOST_FILE, "trimtab.runtimes.xgboost"),
    "catboost": (CATBOOST_FILE, "trimtab.runtimes.catboost"),
}
"""Library of trees -> its native file in a bundle, and the module with `open_trees`."""


@dataclass(frozen=True, kw_only=True)
class Contributions:
    """Contributions of rows: base + the sum of a row's contributions is the model's output for it, in `unit`."""

    values: np.ndarray[Any, Any]
    """float64 (rows, features)."""
    base: float
    method: str
    """"tree_shap", or "permutation"."""
    unit: Unit


class Trees(Protocol):
    """A booster with TreeSHAP."""

    def contributions(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return float64 (rows, features + 1); the last column is the base, the same for all rows."""
        ...


OpenTrees = Callable[[Path, Task, Options], Trees | None]
"""The type of `open_trees`; it returns None when the booster's output is not a plain sum of its leaves."""


class Explainer:
    """Explains the scores of one bundle. Safe to share between threads; too slow for the event loop."""

    def __init__(
        self, spec: Spec, scorer: Scorer, *, trees: Trees | None, background: np.ndarray[Any, Any] | None
    ) -> None:
        self._task = spec.task
        self._features = len(spec.features)
        self._scorer = scorer
        self._trees = trees
        self._background = None if spec.input == "frame" else background
        self._takes_frame = spec.input == "frame"

    @property
    def method(self) -> str:
        """The method of explanation: "tree_shap" or "permutation"."""
        return "tree_shap" if self._trees is not None else "permutation"

    def check(self, rows: int) -> None:
        """Raise DataError when `explain` would refuse so many rows."""
        if self._trees is None:
            check_rows(rows, self._features, len(self._compared_with()))

    def explain(self, X: np.ndarray[Any, Any]) -> Contributions:
        """Explain rows, float32 (rows, features). The same row always gets the same explanation.

        Raises DataError for other shapes, for too many rows, and when the bundle has no background rows to compare
        with.
        """
        if X.ndim != 2 or X.shape[1] != self._features:
            raise DataError(f"rows have shape {X.shape}; expected (rows, {self._features})")
        if self._trees is not None:
            return self._by_trees(self._trees, X)
        values, base = sampled(self._scorer.score, X, self._compared_with())
        unit: Unit = "probability" if self._task == "binary" else "value"
        return Contributions(values=values, base=base, method="permutation", unit=unit)

    def _compared_with(self) -> np.ndarray[Any, Any]:
        if self._takes_frame:
            raise DataError("scores of a model that takes a frame are explained for LightGBM and XGBoost alone")
        if self._background is None:
            raise DataError(f"there are no rows to compare with ({BACKGROUND}), so the scores cannot be explained")
        return self._background

    def _by_trees(self, trees: Trees, X: np.ndarray[Any, Any]) -> Contributions:
        found = trees.contributions(X if len(X) else np.zeros((1, self._features), dtype=np.float32))
        unit: Unit = "log_odds" if self._task == "binary" else "value"
        return Contributions(values=found[: len(X), :-1], base=float(found[0, -1]), method="tree_shap", unit=unit)


def open_explainer(folder: Path, spec: Spec, scorer: Scorer, *, trust: Collection[str] = ()) -> Explainer:
    """Return the explainer of a bundle. The caller has checked the folder's digests.

    scorer: the bundle's; it is used when there are no trees. Raises DataError for a file that cannot be read.
    """
    return Explainer(spec, scorer, trees=_trees(folder, spec, trust), background=_background(folder, spec))


def _trees(folder: Path, spec: Spec, trust: Collection[str]) -> Trees | None:
    for runtime, (native, module) in TREES.items():
        name = spec.model_file if spec.runtime == runtime else native
        if find_spec(runtime) is None or not (folder / name).is_file():
            continue
        trees = cast(OpenTrees, import_module(module).open_trees)(inside(folder, name), spec.task, Options(trust=trust))
        if trees is not None:
            return trees
    return None


def _background(folder: Path, spec: Spec) -> np.ndarray[Any, Any] | None:
    path = folder / BACKGROUND
    if not path.is_file():
        return None
    try:
        rows = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path}: not an array: {error}") from None
    if rows.ndim != 2 or rows.shape[1] != len(spec.features) or rows.dtype != np.float32 or not len(rows):
        raise DataError(f"{path}: {rows.dtype} {rows.shape}; expected float32 (rows, {len(spec.features)})")
    return np.ascontiguousarray(rows)
