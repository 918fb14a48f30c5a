"""Calls a project's trainer with fixed seeds, and names the trainer's own line in errors."""

from __future__ import annotations

import copy
import inspect
import random
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from trimtab import places
from trimtab.bundle.typed_matrix import model_input
from trimtab.definitions.models import Dataset, Model
from trimtab.errors import StageError, TrainerFailed, TrimtabError
from trimtab.runtimes.python_objects import by_name
from trimtab.training.torch_modules import is_module


def fit(model: Model, data: Dataset, params: dict[str, Any], seed: int) -> Any:
    """Call the trainer of a model and return the fitted estimator.

    data: the training rows. params: copied, so that the trainer cannot change them. seed: passed to the trainer, and
    set for Python and NumPy. Raises TrainerFailed naming file, line, model and the error, StageError without a trainer.
    """
    if model.fit is None:
        raise StageError(f"model '{model.name}' has no trainer; decorate one with @{model.name}.trainer")
    with seeded(seed):
        try:
            estimator = model.fit(as_given(data), copy.deepcopy(params), seed)
        except TrimtabError:
            raise
        except (Exception, SystemExit) as error:  # user code may raise anything
            kind = type(error).__name__
            raise TrainerFailed(
                f"{_place(model, error)}: the trainer of model '{model.name}' failed: {kind}: {error}"
            ) from error
    if estimator is None or not (hasattr(estimator, "predict") or is_module(estimator)):
        code = getattr(model.fit, "__code__", None)
        where = f"{code.co_filename}:{code.co_firstlineno}" if code else "definitions.py"
        raise TrainerFailed(
            f"{where}: the trainer of model '{model.name}' returned {type(estimator).__name__}; "
            "expected a fitted estimator or a PyTorch module (is 'return' missing?)"
        )
    return by_name(estimator, data.feature_names)


def as_given(data: Dataset) -> Dataset:
    """Return rows with X as the trainer takes it: a frame where the model asks for one, else a plain matrix."""
    later = None if data.validation is None else as_given(data.validation)
    return replace(data, X=model_input(data.X), validation=later)


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
