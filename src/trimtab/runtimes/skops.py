"""The skops runtime: loads scikit-learn estimators from a skops file, without unpickling.

A skops file names the types of its objects. Those of scikit-learn, NumPy and SciPy that skops knows, and those below,
only hold numbers. Any other type must be in policy `serving.trust`, because creating its objects may run code.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from threadpoolctl import ThreadpoolController

from trimtab.bundle.categories import RowCodes, category_tables
from trimtab.bundle.outputs import check_estimator, estimator_scores
from trimtab.bundle.scorer import Options, Scorer
from trimtab.bundle.spec import Task
from trimtab.bundle.typed_matrix import model_input
from trimtab.errors import DataError
from trimtab.lazy_library import LazyLibrary
from trimtab.runtimes.opening import Opener
from trimtab.runtimes.tree_checks import CHECKED, check_trees
from trimtab.tasks import RULES

if TYPE_CHECKING:
    import skops.io as skops_io
else:
    skops_io = LazyLibrary("skops.io")

KERNELS = (
    "CompoundKernel",
    "ConstantKernel",
    "DotProduct",
    "ExpSineSquared",
    "Exponentiation",
    "Matern",
    "PairwiseKernel",
    "Product",
    "RBF",
    "RationalQuadratic",
    "Sum",
    "WhiteKernel",
)
"""Kernels of Gaussian processes."""
SCORES = ("chi2", "f_classif", "f_oneway", "f_regression", "r_regression")
"""Functions by which features are selected; a fitted selection does not call them."""
KNOWN_SAFE = frozenset(
    (
        *CHECKED,
        *(f"sklearn.gaussian_process.kernels.{kernel}" for kernel in KERNELS),
        *(f"sklearn.feature_selection._univariate_selection.{score}" for score in SCORES),
        *(f"sklearn.metrics._dist_metrics.{metric}Distance64" for metric in ("Chebyshev", "Euclidean", "Manhattan")),
        "catboost.core.CatBoostClassifier",
        "catboost.core.CatBoostRegressor",
        "collections.OrderedDict",
        "functools.partial",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm.sklearn.LGBMRegressor",
        "numpy.dtype",
        "sklearn._loss.link.IdentityLink",
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.LogLink",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.loss.AbsoluteError",
        "sklearn._loss.loss.HalfBinomialLoss",
        "sklearn._loss.loss.HalfGammaLoss",
        "sklearn._loss.loss.HalfPoissonLoss",
        "sklearn._loss.loss.HalfSquaredError",
        "sklearn._loss.loss.HalfTweedieLossIdentity",
        "sklearn._loss.loss.PinballLoss",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "scipy._lib.array_api_compat.numpy._aliases.asarray",
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.impute._iterative._ImputerTriplet",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.utils._bunch.Bunch",
        "sklearn.utils.validation.check_array",
        "xgboost.core.Booster",
        "xgboost.sklearn.XGBClassifier",
        "xgboost.sklearn.XGBRegressor",
        "xgboost.sklearn.XGBRFClassifier",
        "xgboost.sklearn.XGBRFRegressor",
    )
)
"""Types that fitted estimators of scikit-learn, LightGBM, XGBoost and CatBoost hold beyond those that skops knows; they
hold numbers, or the bytes of a model that its own library reads. A
partial, which HistGradientBoosting with categories holds, calls only functions that are listed here or trusted."""


class SkopsScorer:
    """A fitted estimator. Raises DataError for one that does not fit the task."""

    in_process = True

    def __init__(self, estimator: Any, task: Task) -> None:
        check_estimator(estimator, task)
        self._codes = RowCodes(category_tables, estimator)
        self.estimator = _one_job(estimator)
        self.task = task
        self._threads = ThreadpoolController()

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the scores of rows."""
        if not len(X):
            return RULES[self.task].no_scores
        rows = model_input(X)
        if type(rows) is np.ndarray:
            rows = self._codes.rows(rows)
        with self._threads.limit(limits=1):
            return estimator_scores(self.estimator, rows, self.task)

    def close(self) -> None:
        """No-op: the model holds memory only."""


def unknown_types(path: Path, trust: Collection[str] = ()) -> list[str]:
    """Return the types in a skops file that are neither known to be safe nor trusted, sorted. Raises DataError."""
    try:
        found = skops_io.get_untrusted_types(file=path)
    except (BadZipFile, KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a skops file: {type(error).__name__}: {error}") from error
    return sorted(name for name in found if name not in KNOWN_SAFE and name not in trust)


def load_estimator(path: Path, trust: Collection[str] = ()) -> Any:
    """Read the estimator of a skops file. Raises DataError listing the types that `trust` lacks."""
    unknown = unknown_types(path, trust)
    here = [name.rpartition(".")[2] for name in unknown if find_spec(name.partition(".")[0]) is None]
    if here:
        raise DataError(
            f"{path}: it names {', '.join(here)} of the project, which no other process can import, and does not hold "
            "their code"
        )
    if unknown:
        raise DataError(
            f"{path}: it holds types that are not known to be safe; when you trust its source, add to trimtab.yaml: "
            f"serving: {{ trust: [{', '.join(unknown)}] }}"
        )
    try:
        estimator = skops_io.load(path, trusted=sorted({*KNOWN_SAFE, *trust}))
    except Exception as error:  # a backend wrapper: the libraries of the objects may raise any exception
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no message"
        raise DataError(f"{path}: the estimator cannot be made: {type(error).__name__}: {reason}") from error
    if not any(name in trust for name in CHECKED):
        check_trees(estimator, where=str(path))
    return estimator


def open_model(path: Path, task: Task, options: Options) -> Scorer:
    """Open the skops file. Raises DataError.

    Features come in the order of the spec, without names; scikit-learn's warning about that is switched off.
    """
    warnings.filterwarnings("ignore", message="X does not have valid feature names", category=UserWarning)
    return SkopsScorer(load_estimator(path, options.trust), task)


def _one_job(estimator: Any) -> Any:
    """Return the estimator with all `n_jobs` set to 1: for a few rows, more jobs take longer."""
    if hasattr(estimator, "get_params"):
        jobs = {name: 1 for name in estimator.get_params() if name == "n_jobs" or name.endswith("__n_jobs")}
        if jobs:
            estimator.set_params(**jobs)
    return estimator


_: Opener = open_model
