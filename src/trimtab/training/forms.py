"""Chooses the form in which a fitted estimator serves: its ONNX graph, else the file of its own library, else a pickle.

A pickle serves only where the policy trusts the project's own training. Every form must give the scores of the
estimator: on real rows, and on rows with values that training rows lack. Values that the estimator refuses become
limits, so that the gateway refuses them, too.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from trimtab.bundle.categories import REMEDY, category_tables
from trimtab.bundle.limits import Categorical
from trimtab.bundle.scorer import PROJECT, Options, Scorer
from trimtab.bundle.spec import GRAPH, Limits, Runtime
from trimtab.bundle.typed_matrix import TypedMatrix
from trimtab.definitions.models import Task
from trimtab.errors import DataError, StageError, TrimtabError
from trimtab.runtimes.onnx import OnnxScorer
from trimtab.runtimes.opening import open_model
from trimtab.runtimes.python_objects import NamedColumns, fitted_names, is_booster
from trimtab.training.convert import convert
from trimtab.training.graph_trees import inner_objects, thresholds_of
from trimtab.training.native_files import Native, native_file, pickled
from trimtab.training.parity import NATIVE_TOLERANCE, TOLERANCE, Parity, check_parity, describe_difference, differing
from trimtab.training.probes import make_probes
from trimtab.training.scores import native_scores
from trimtab.training.typed.frame_graphs import convert_typed
from trimtab.training.typed.frame_probes import typed_probes

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Form:
    """The form of a model in serving.

    files: content by name, `model_file` among them. reason: why ONNX Runtime does not serve the model, "" if it does.
    """

    runtime: Runtime
    model_file: str
    reason: str
    files: Mapping[str, bytes]
    parity: Parity
    scorer: Scorer
    limits: Limits
    """Values that the model refuses."""

    @property
    def content(self) -> bytes:
        """The content of `model_file`."""
        return self.files[self.model_file]


def choose(
    estimator: Any, X: np.ndarray[Any, Any], *, task: Task, features: Sequence[str], trust: Collection[str] = ()
) -> Form:
    """Return the form that reproduces an estimator.

    Args:
        estimator: the fitted estimator.
        X: real rows, float32 (rows, features); the forms are compared on them and on rows derived from them.
        task: the task of the model.
        features: names of the columns.
        trust: policy `serving.trust`: further types that a skops file may contain, and "project" for pickles.

    Raises:
        StageError: no form reproduces the estimator; names all reasons, and what to add to the policy.
    """
    estimator = getattr(estimator, "best_estimator_", estimator)  # of a search for parameters
    schema = X.schema if isinstance(X, TypedMatrix) and X.schema.form == "frame" else None
    X = X if schema is not None else np.asarray(X)
    _check_columns(estimator, features)
    own = _Own(estimator, X, task, tuple(features), trust)
    native = native_file(estimator, len(features))
    own_file = {native.name: native.content} if native and native.runtime != "torchscript" else {}
    try:
        if schema is None and native is not None and category_tables(estimator) is not None:
            raise StageError("its categories are those of pandas, which only its own file stores by their values")
        if schema is None:
            graph = convert(estimator, task=task, features=len(features))
        else:
            graph = convert_typed(estimator, schema, task=task)
        scorer = OnnxScorer(graph, task)
        parity = check_parity(estimator, scorer, X, task, exact=native is not None)
        limits = own.limits(
            scorer, "the ONNX graph", thresholds_of(graph) if schema is None else (), last=native is None
        )
    except Exception as error:  # converters and ONNX Runtime raise errors without a common base class
        reason = str(error) if isinstance(error, TrimtabError) else f"the ONNX graph fails: {_first_line(error)}"
        form = _other_form(native, own, reason)
        logger.info("%s serves from %s by %s: %s", _kind(estimator), form.model_file, form.runtime, form.reason)
        return form
    return Form(
        runtime="onnx",
        model_file=GRAPH,
        reason="",
        files={GRAPH: graph, **own_file},
        parity=parity,
        scorer=scorer,
        limits=limits,
    )


def _check_columns(estimator: Any, features: Sequence[str]) -> None:
    """Raise StageError for an estimator with another order of features, or with an inner model on category codes."""
    fitted = fitted_names(estimator)
    if fitted != list(features) and sorted(fitted) == sorted(features):
        raise StageError(
            f"{type(estimator).__name__} was fitted on the columns in the order {', '.join(fitted)}; the model's "
            f"features come as {', '.join(features)}. Fit it on data.feature_names in their order"
        )
    for inner in inner_objects(estimator):
        if inner is not estimator and not isinstance(inner, type) and is_booster(inner):
            _check_inner(estimator, inner)


def _kind(estimator: Any) -> str:
    """Return the name of the class of an estimator, or of the model inside of NamedColumns."""
    return type(estimator.model if isinstance(estimator, NamedColumns) else estimator).__name__


def _check_inner(estimator: Any, booster: Any) -> None:
    if type(estimator).__module__.partition(".")[0] in ("lightgbm", "xgboost"):
        return  # the booster of the estimator itself
    library = "LightGBM" if type(booster).__module__.startswith("lightgbm") else "XGBoost"
    try:
        known = category_tables(booster) is not None
    except DataError:
        known = True
    if known:
        raise StageError(
            f"{type(estimator).__name__} holds a {library} model that was fitted on pandas categories, and only that "
            f"model knows their codes; return the {library} estimator itself, or {REMEDY}"
        )


class _Own:
    """An estimator, and real rows of its training and holdout data, from which probes are derived."""

    def __init__(
        self, estimator: Any, X: np.ndarray[Any, Any], task: Task, features: tuple[str, ...], trust: Collection[str]
    ) -> None:
        self.estimator, self.X, self.task, self.features, self.trust = estimator, X, task, features, trust
        self.scale = float(np.nanstd(native_scores(estimator, X, task))) or 1.0

    def limits(
        self,
        scorer: Scorer,
        what: str,
        thresholds: Iterable[tuple[int, float]] = (),
        *,
        last: bool,
        tolerance: float = TOLERANCE,
    ) -> Limits:
        """Return limits within which a scorer gives the scores of the estimator. Raises StageError if there are none.

        what: name of the form, for the message. thresholds: column and value of the splits of trees. last: there is no
        other form, so the limits may also exclude values that the estimator accepts.
        """
        if isinstance(self.X, TypedMatrix):
            probes = typed_probes(self._scores, self.X, self.features)
        else:
            known = scorer.categories() if isinstance(scorer, Categorical) else {}
            probes = make_probes(self._scores, self.X, self.features, thresholds, known)
        wrong = differing(probes, scorer, task=self.task, scale=self.scale, tolerance=tolerance)
        if not wrong.any():
            return probes.limits
        limits = probes.narrowed(wrong, self.features, far=not last)
        if limits is None:
            raise StageError(
                f"{what} of {type(self.estimator).__name__} does not reproduce it on probe rows "
                f"({describe_difference(probes, scorer, wrong, self.features)})"
            )
        return limits

    def _scores(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return native_scores(self.estimator, rows, self.task)


def _other_form(native: Native | None, own: _Own, reason: str) -> Form:
    """Return the native file as form, else the pickle, else raise StageError with all reasons."""
    reasons = [reason.rstrip(".")]
    if native is not None:
        try:
            return _form_of(native, own, reason)
        except TrimtabError as error:
            reasons.append(f"Nor can its own library serve it: {error}".rstrip("."))
    if PROJECT in own.trust:
        try:
            return _form_of(pickled(own.estimator), own, ". ".join(reasons))
        except TrimtabError as error:
            raise StageError(f"{'. '.join(reasons)}. Nor can a pickle of it be served: {error}") from error
    raise StageError(
        f"{'. '.join(reasons)}. To serve it as a pickle of this project's own training, in a process of its own, add "
        "to trimtab.yaml: serving: { trust: [project] }"
    )


def _form_of(native: Native, own: _Own, reason: str) -> Form:
    folder = TemporaryDirectory(prefix="trimtab-")
    path = Path(folder.name) / native.name
    path.write_bytes(native.content)
    try:
        scorer = open_model(path, runtime=native.runtime, task=own.task, options=Options(trust=own.trust))
        weakref.finalize(scorer, folder.cleanup)  # a model in a process of its own may be loaded again
        parity = check_parity(own.estimator, scorer, own.X, own.task, what=native.name)
        limits = own.limits(scorer, native.name, last=True, tolerance=NATIVE_TOLERANCE)
    except Exception as error:  # a border: the model's library may raise any exception
        text = str(error) if isinstance(error, TrimtabError) else _first_line(error)
        raise StageError(text.replace(str(path), native.name)) from error
    return Form(
        runtime=native.runtime,
        model_file=native.name,
        reason=reason,
        files={native.name: native.content},
        parity=parity,
        scorer=scorer,
        limits=limits,
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
