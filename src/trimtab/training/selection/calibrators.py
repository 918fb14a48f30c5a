"""Maps the probabilities of a fitted classifier to frequencies, by rows that it was not fitted on.

scikit-learn's CalibratedClassifierCV around the estimator: `sigmoid` is a logistic curve, `isotonic` a monotone step
function, of several classes one for each class and then normalised. Sources: Platt, Probabilistic outputs for support
vector machines (1999); Zadrozny & Elkan, Transforming classifier scores into accurate multiclass probability estimates
(2002).
"""

from __future__ import annotations

import copy
import logging
from typing import Any, Literal, cast

import numpy as np

from trimtab.definitions.models import Dataset
from trimtab.errors import StageError

log = logging.getLogger(__name__)

Method = Literal["sigmoid", "isotonic"]
LEAST_OF_A_CLASS = 5


def calibrated(estimator: Any, rows: Dataset, method: Method) -> Any:
    """Return a fitted classifier with calibrated probabilities.

    Args:
        estimator: a fitted classifier with predict_proba.
        rows: labelled rows that it was not fitted on.
        method: shape of the curve.

    Raises:
        StageError: the estimator gives no probabilities, or the rows have too few of a class.
    """
    # imported here, because few policies calibrate
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    kind = type(estimator).__name__
    if not (hasattr(estimator, "predict_proba") and hasattr(estimator, "classes_")):
        raise StageError(
            f"training.calibrate: {kind} is no scikit-learn classifier with predict_proba and classes_; return such a "
            "classifier, or leave calibrate out"
        )
    for label in estimator.classes_:
        if (found := int((rows.y == float(label)).sum())) < LEAST_OF_A_CLASS:
            raise StageError(
                f"training.calibrate: the validation rows have {found} of class {label:g}; expected "
                f"{LEAST_OF_A_CLASS} or more of each. Take a larger training.validation"
            )
    known = np.isin(rows.y, np.asarray(estimator.classes_, np.float64))
    curves = CalibratedClassifierCV(FrozenEstimator(estimator), method=method)
    weight = None if rows.weight is None else rows.weight[known]
    return like(curves.fit(rows.X[known], rows.y[known], sample_weight=weight), estimator)


def like(fitted: Any, estimator: Any) -> Any:
    """Return an estimator with the curves of a calibrated one, which was fitted on other rows of the same model.

    An estimator that was fitted on other classes is returned as it is, with a warning in the log: scikit-learn pairs
    curves with columns by position, and the scores that the curves take (`decision_function`) have another scale when
    the number of classes differs.
    """
    known, own = ([float(label) for label in classes] for classes in (fitted.classes_, estimator.classes_))
    if own != known:
        log.warning(
            "%s was fitted on the classes %s, the curves of training.calibrate on %s; its probabilities are not "
            "calibrated",
            type(estimator).__name__,
            *(", ".join(f"{label:g}" for label in labels) for labels in (own, known)),
        )
        return estimator
    made = copy.copy(fitted)
    made.estimator = estimator
    made.calibrated_classifiers_ = [copy.copy(each) for each in fitted.calibrated_classifiers_]
    for each in made.calibrated_classifiers_:
        each.estimator = estimator  # not the frozen one, which no converter to ONNX knows
    return made


def plain(estimator: Any) -> Any:
    """Return an estimator without its calibration."""
    kind = type(estimator)
    of_sklearn = (kind.__module__, kind.__name__) == ("sklearn.calibration", "CalibratedClassifierCV")
    return estimator.estimator if of_sklearn else estimator


def method_of(name: str) -> Method:
    """Return the name of a record as a method."""
    return cast(Method, name)
