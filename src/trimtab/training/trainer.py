"""Calls a project's trainer with fixed seeds, and names the trainer's own line in errors."""

from __future__ import annotations

import copy
import inspect
import random
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from trimtab import places
from trimtab.bundle.typed_matrix import model_input
from trimtab.definitions.arguments import takes_any, trainer_parameters
from trimtab.definitions.models import Dataset, Model
from trimtab.errors import StageError, TrainerFailed, TrimtabError, nearest
from trimtab.places import of_function
from trimtab.policy.reader import line_of
from trimtab.runtimes.python_objects import by_name
from trimtab.training.torch_modules import is_module

UNEXPECTED = re.compile(r"(?P<called>[\w.]+?)(?:\.__init__)?\(\) got an unexpected keyword argument '(?P<name>\w+)'")
"""How Python names a keyword that a function does not take."""


def fit(model: Model, data: Dataset, params: dict[str, Any], seed: int) -> Any:
    """Call the trainer of a model and return the fitted estimator.

    data: the training rows. params: copied, so that the trainer cannot change them; those that it declares by name are
    passed by name, too. seed: passed to the trainer, and set for Python and NumPy. Raises TrainerFailed naming file,
    line, model and the error, StageError without a trainer, and for a parameter that it requires.
    """
    if model.fit is None:
        raise StageError(f"model '{model.name}' has no trainer; decorate one with @{model.name}.trainer")
    named = _named(model, params)
    with seeded(seed):
        try:
            estimator = model.fit(as_given(data), copy.deepcopy(params), seed, **copy.deepcopy(named))
        except TrimtabError:
            raise
        except (Exception, SystemExit) as error:  # user code may raise anything
            kind = type(error).__name__
            raise TrainerFailed(
                f"{_place(model, error)}: the trainer of model '{model.name}' failed: {_without_values(data)}"
                f"{kind}: {error}{_unknown_parameter(model, error, params)}"
            ) from error
    if isinstance(estimator, type) or not (hasattr(estimator, "predict") or is_module(estimator)):
        kind = f"the class {estimator.__name__}" if isinstance(estimator, type) else type(estimator).__name__
        code = getattr(model.fit, "__code__", None)
        where = f"{code.co_filename}:{code.co_firstlineno}" if code else "definitions.py"
        raise TrainerFailed(
            f"{where}: the trainer of model '{model.name}' returned {kind}; "
            "expected a fitted estimator or a PyTorch module (is 'return' missing?)"
        )
    return by_name(estimator, data.feature_names)


def as_given(data: Dataset) -> Dataset:
    """Return rows with X as the trainer takes it: a frame where the model asks for one, else a plain matrix."""
    later = None if data.validation is None else as_given(data.validation)
    return replace(data, X=model_input(data.X), validation=later)


def _named(model: Model, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that a trainer declares by name. Raises StageError for one that it needs and lacks."""
    assert model.fit is not None
    declared = trainer_parameters(model.fit)
    if declared is None:
        return dict(params) if takes_any(model.fit) else {}
    for name, needed in declared.items():
        if needed and name not in params:
            raise StageError(
                f"{of_function(model.fit)}: the trainer of model '{model.name}' needs a parameter '{name}'; add it to "
                "training.params, or give it a default"
            )
    return {name: value for name, value in params.items() if name in declared}


def _without_values(data: Dataset) -> str:
    """Return which features have no value in any row, which some estimators refuse."""
    matrix = np.asarray(data.X)
    if matrix.dtype.kind != "f" or not len(matrix):
        return ""
    names = [name for name, empty in zip(data.feature_names, np.isnan(matrix).all(axis=0), strict=True) if empty]
    some = ", ".join(f"'{name}'" for name in names[:5])
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    null = f"null in all {len(matrix):,} training rows, which some estimators refuse: {some}{more}. The trainer said: "
    return null if names else ""


def _unknown_parameter(model: Model, error: BaseException, params: Mapping[str, Any]) -> str:
    """Return where the policy has a parameter that a function in the trainer refused, and the nearest that it takes."""
    found = UNEXPECTED.search(str(error)) if isinstance(error, TypeError) else None
    if found is None or found["name"] not in params:
        return ""
    name, called, words = found["name"], found["called"].split(".")[0], ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if callable(known := {**frame.f_globals, **frame.f_locals}.get(called)):
            words = nearest(name, set(inspect.signature(known).parameters))
    assert model.fit is not None
    policy = Path(inspect.unwrap(model.fit).__code__.co_filename).parent / "trimtab.yaml"
    key = f"training.params.{name}"
    where = f"{policy}:{line_of(policy, key)}: " if policy.is_file() else ""
    return f". {where}{key}: {called} takes no '{name}'.{words}"


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Python's and NumPy's global generators for the block, and restore their states after it."""
    python, numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _place(model: Model, error: BaseException) -> str:
    """Return file:line of the deepest frame in the project's own files, or of the deepest frame."""
    code = getattr(inspect.unwrap(model.fit), "__code__", None) if model.fit else None
    if code is not None and (own := places.of_error(error, Path(code.co_filename).parent)):
        return f"{own[0]}:{own[1]}"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename}:{frame.lineno}"
