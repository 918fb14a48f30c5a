"""The kinds of estimator: all of scikit-learn's, pipelines, and those of other libraries."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import catboost
import lightgbm
import numpy as np
import scipy.stats
import statsmodels.api as sm
import xgboost
from sklearn import (
    base,
    calibration,
    cluster,
    compose,
    covariance,
    decomposition,
    ensemble,
    feature_selection,
    gaussian_process,
    impute,
    kernel_approximation,
    linear_model,
    model_selection,
    neighbors,
    pipeline,
    preprocessing,
    svm,
)
from sklearn.experimental import enable_iterative_imputer  # noqa: F401  # makes IterativeImputer public
from sklearn.utils import all_estimators

from benchmarks.parity.real_rows import Array
from trimtab.definitions.models import Task
from trimtab.places import PROJECT_MODULE

Fit = Callable[[Task, Array, Array], Any]
"""Fits on float32 (rows, features) and labels (rows,)."""
SLOW_ROWS = 300
SLOW = ("GaussianProcessClassifier", "GaussianProcessRegressor", "LabelPropagation", "LabelSpreading")
"""Kinds that are fitted on SLOW_ROWS, because their cost grows with the cube of the rows."""
SETTINGS: dict[str, dict[str, Any]] = {
    "LocalOutlierFactor": {"novelty": True},
    "MLPClassifier": {"max_iter": 30, "hidden_layer_sizes": (16,)},
    "MLPRegressor": {"max_iter": 30, "hidden_layer_sizes": (16,)},
    "RadiusNeighborsClassifier": {"radius": 1e6},
    "RadiusNeighborsRegressor": {"radius": 1e6},
    "CCA": {"n_components": 1},
    "PLSCanonical": {"n_components": 1},
    "RANSACRegressor": {"estimator": None},
    "SGDClassifier": {"loss": "log_loss"},
    "TheilSenRegressor": {"max_subpopulation": 500},
    "VotingClassifier": {"voting": "soft"},
}
BEFORE: dict[str, Callable[[], Any]] = {
    "CategoricalNB": lambda: preprocessing.KBinsDiscretizer(encode="ordinal", quantile_method="averaged_inverted_cdf"),
    "ComplementNB": lambda: preprocessing.MinMaxScaler(clip=True),
    "IsotonicRegression": lambda: feature_selection.SelectKBest(feature_selection.f_regression, k=1),
    "MultinomialNB": lambda: preprocessing.MinMaxScaler(clip=True),
}
"""Steps that a kind needs before it: they give it the only values that it takes."""
POSITIVE = ("GammaRegressor", "PoissonRegressor", "catboost Poisson")
"""Kinds whose labels must be above 0."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of estimator, for one task."""

    name: str
    task: Task
    fit: Fit


def kinds() -> Iterator[Kind]:
    """Yield every kind, those of one library together."""
    for name, class_ in all_estimators():
        for task in _tasks_of(class_):
            yield Kind(name=name, task=task, fit=partial(_fit_sklearn, name, class_))
    for name, make in PIPELINES.items():
        for task in ("binary", "multiclass", "regression"):
            yield Kind(name=name, task=task, fit=partial(_fit_pipeline, make))
    for name, (task, fit) in OTHERS.items():
        yield Kind(name=name, task=task, fit=fit)


def _tasks_of(class_: Any) -> tuple[Task, ...]:
    if issubclass(class_, base.OutlierMixin):
        return ("anomaly",)
    if issubclass(class_, base.ClassifierMixin):
        return ("binary", "multiclass")
    return ("regression",) if issubclass(class_, base.RegressorMixin) else ()


def _fit_sklearn(name: str, class_: Any, task: Task, X: Array, y: Array) -> Any:
    wanted = inspect.signature(class_).parameters
    members = [("a", _base(task)), ("b", _trees(task))]
    given: dict[str, Any] = {"n_estimators": 10, "n_jobs": 1, "random_state": 0, "estimators": members}
    if name.startswith("HistGradientBoosting"):
        given["max_iter"] = 10
    if "estimator" in wanted and wanted["estimator"].default in (inspect.Parameter.empty, None):
        given["estimator"] = _base(task)
    given |= {"param_grid": {}, "param_distributions": {}, "base_estimator": _base(task), **SETTINGS.get(name, {})}
    if "Chain" in name or ("Multi" in name and not name.startswith("Multinomial")):
        y = y[:, None]
    made = class_(**{key: value for key, value in given.items() if key in wanted})
    if name in BEFORE:
        made = pipeline.make_pipeline(BEFORE[name](), made)
    return _fitted(name, made, task, X, y)


def _fitted(name: str, made: Any, task: Task, X: Array, y: Array) -> Any:
    if name in SLOW:
        X, y = X[:SLOW_ROWS], y[:SLOW_ROWS]
    if name in POSITIVE:
        y = np.maximum(y, 1.0)
    return made.fit(X) if task == "anomaly" else made.fit(X, y)


def _base(task: Task) -> Any:
    return linear_model.Ridge() if task == "regression" else linear_model.LogisticRegression(max_iter=300)


def _trees(task: Task) -> Any:
    regression = task == "regression"
    kind = ensemble.HistGradientBoostingRegressor if regression else ensemble.HistGradientBoostingClassifier
    return kind(max_iter=10, random_state=0)


def _boosted(library: str, task: Task) -> Any:
    regression = task == "regression"
    if library == "lightgbm":
        kind = lightgbm.LGBMRegressor if regression else lightgbm.LGBMClassifier
        return kind(n_estimators=10, n_jobs=1, verbose=-1)
    if library == "xgboost":
        return (xgboost.XGBRegressor if regression else xgboost.XGBClassifier)(n_estimators=10, n_jobs=1)
    kind = catboost.CatBoostRegressor if regression else catboost.CatBoostClassifier
    return kind(iterations=10, thread_count=1, verbose=0, allow_writing_files=False)


def _steps(*steps: Any) -> Callable[[Task], Any]:
    return lambda task: pipeline.make_pipeline(*(step() for step in steps), _base(task))


def _voting(task: Task) -> Any:
    members = [("x", _boosted("xgboost", task)), ("l", _boosted("lightgbm", task))]
    if task == "regression":
        return ensemble.VotingRegressor(members)
    return ensemble.VotingClassifier(members, voting="soft")


def _columns() -> Any:
    return compose.ColumnTransformer(
        [
            ("one_hot", preprocessing.OneHotEncoder(handle_unknown="ignore"), [3]),
            ("scaled", preprocessing.StandardScaler(), [0, 1]),
        ],
        remainder="passthrough",
    )


def _searched(task: Task) -> Any:
    return model_selection.RandomizedSearchCV(
        _trees(task), {"max_depth": scipy.stats.randint(2, 5)}, n_iter=2, cv=2, random_state=0
    )


def _of_project() -> Any:
    """Return a step that calls a function of a project's definitions.py."""
    module = ModuleType(f"{PROJECT_MODULE}parity")
    exec("import numpy as np\ndef logarithm(X): return np.log1p(np.abs(X))\n", vars(module))
    sys.modules[module.__name__] = module
    return preprocessing.FunctionTransformer(module.logarithm)


def _fit_pipeline(make: Callable[[Task], Any], task: Task, X: Array, y: Array) -> Any:
    return make(task).fit(X, y)


FILL, SCALE = impute.SimpleImputer, preprocessing.StandardScaler
PIPELINES: dict[str, Callable[[Task], Any]] = {
    "fill, scale": _steps(FILL, SCALE),
    "fill with an indicator, scale": _steps(partial(FILL, add_indicator=True), SCALE),
    "fill by neighbours": _steps(impute.KNNImputer),
    "fill by regressions": _steps(partial(impute.IterativeImputer, random_state=0)),
    "robust scale": _steps(FILL, preprocessing.RobustScaler),
    "power transform": _steps(FILL, preprocessing.PowerTransformer),
    "quantile transform": _steps(FILL, partial(preprocessing.QuantileTransformer, n_quantiles=100)),
    "bins, one-hot": _steps(FILL, partial(preprocessing.KBinsDiscretizer, quantile_method="averaged_inverted_cdf")),
    "polynomials": _steps(FILL, SCALE, preprocessing.PolynomialFeatures),
    "splines": _steps(FILL, preprocessing.SplineTransformer),
    "PCA": _steps(FILL, SCALE, partial(decomposition.PCA, 3)),
    "union of PCA and scale": _steps(
        FILL, lambda: pipeline.make_union(decomposition.PCA(2), preprocessing.StandardScaler())
    ),
    "random Fourier features": _steps(FILL, SCALE, partial(kernel_approximation.RBFSampler, random_state=0)),
    "Nystroem": _steps(FILL, SCALE, partial(kernel_approximation.Nystroem, n_components=20, random_state=0)),
    "distances to k-means": _steps(FILL, partial(cluster.KMeans, 5, n_init=1, random_state=0)),
    "columns apart, one-hot": _steps(FILL, _columns),
    "function of NumPy": _steps(FILL, partial(preprocessing.FunctionTransformer, np.abs)),
    "function of the project": _steps(FILL, _of_project),
    "search over trees": _searched,
    "trees with categories": lambda task: _trees(task).set_params(categorical_features=[0, 3]),
    "fill, LightGBM": lambda task: pipeline.make_pipeline(FILL(), _boosted("lightgbm", task)),
    "fill, XGBoost": lambda task: pipeline.make_pipeline(FILL(), _boosted("xgboost", task)),
    "fill, CatBoost": lambda task: pipeline.make_pipeline(FILL(), _boosted("catboost", task)),
    "vote of XGBoost and LightGBM": _voting,
    "LightGBM": partial(_boosted, "lightgbm"),
    "XGBoost": partial(_boosted, "xgboost"),
    "CatBoost": partial(_boosted, "catboost"),
}


def _lightgbm_booster(task: Task, X: Array, y: Array) -> Any:
    objective: dict[str, Any] = {"objective": task, "num_class": 3 if task == "multiclass" else 1}
    return lightgbm.train({**objective, "verbose": -1, "num_threads": 1}, lightgbm.Dataset(X, y), 10)


def _xgboost_booster(task: Task, X: Array, y: Array) -> Any:
    classes = {"num_class": 3} if task == "multiclass" else {}
    objectives = {"binary": "binary:logistic", "multiclass": "multi:softprob", "regression": "reg:squarederror"}
    return xgboost.train({"objective": objectives[task], **classes, "nthread": 1}, xgboost.DMatrix(X, y), 10)


def _linear_lightgbm(task: Task, X: Array, y: Array) -> Any:
    return lightgbm.LGBMRegressor(n_estimators=5, linear_tree=True, n_jobs=1, verbose=-1).fit(X, y)


def _dart(task: Task, X: Array, y: Array) -> Any:
    return xgboost.XGBClassifier(booster="dart", n_estimators=10, n_jobs=1).fit(X, y)


def _linear_xgboost(task: Task, X: Array, y: Array) -> Any:
    return xgboost.XGBRegressor(booster="gblinear", n_estimators=10, n_jobs=1).fit(X, y)


def _poisson(task: Task, X: Array, y: Array) -> Any:
    return _boosted("catboost", task).set_params(loss_function="Poisson").fit(X, np.maximum(y, 0.0))


def _of_statsmodels(make: Callable[[Array, Array], Any], task: Task, X: Array, y: Array) -> Any:
    scaled = X.astype(np.float64)
    return make(y, sm.add_constant(scaled)).fit(**({"disp": 0} if task == "binary" else {}))


def _robust(task: Task, X: Array, y: Array) -> Any:
    return pipeline.make_pipeline(FILL(), covariance.EllipticEnvelope(random_state=0)).fit(X)


OTHERS: dict[str, tuple[Task, Fit]] = {
    "lightgbm.Booster, binary": ("binary", _lightgbm_booster),
    "lightgbm.Booster, classes": ("multiclass", _lightgbm_booster),
    "lightgbm.Booster, values": ("regression", _lightgbm_booster),
    "LightGBM, linear trees": ("regression", _linear_lightgbm),
    "xgboost.Booster, binary": ("binary", _xgboost_booster),
    "xgboost.Booster, classes": ("multiclass", _xgboost_booster),
    "xgboost.Booster, values": ("regression", _xgboost_booster),
    "XGBoost, dart": ("binary", _dart),
    "XGBoost, linear": ("regression", _linear_xgboost),
    "CatBoost, Poisson": ("regression", _poisson),
    "statsmodels OLS": ("regression", partial(_of_statsmodels, sm.OLS)),
    "statsmodels RLM": ("regression", partial(_of_statsmodels, sm.RLM)),
    "statsmodels QuantReg": ("regression", partial(_of_statsmodels, sm.QuantReg)),
    "statsmodels GLM, Gaussian": ("regression", partial(_of_statsmodels, sm.GLM)),
    "statsmodels Logit": ("binary", partial(_of_statsmodels, sm.Logit)),
    "statsmodels Probit": ("binary", partial(_of_statsmodels, sm.Probit)),
    "fill, elliptic envelope": ("anomaly", _robust),
    "calibrated SVM": (
        "multiclass",
        lambda task, X, y: calibration.CalibratedClassifierCV(svm.LinearSVC(), cv=2).fit(X, y),
    ),
    "neighbours in a ball tree": (
        "multiclass",
        lambda task, X, y: neighbors.KNeighborsClassifier(algorithm="ball_tree").fit(X, y),
    ),
    "Gaussian process, Matern": (
        "regression",
        lambda task, X, y: gaussian_process.GaussianProcessRegressor(gaussian_process.kernels.Matern()).fit(
            X[:SLOW_ROWS], y[:SLOW_ROWS]
        ),
    ),
}
