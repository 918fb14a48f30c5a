"""Chooses the form in which a fitted estimator serves: its ONNX graph, else the file of its own library.

Either must say what the estimator says, on real rows. Called by train.py.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from trimtab.bundle import Runtime, Scorer
from trimtab.bundle.runtimes.onnx import OnnxScorer
from trimtab.bundle.scorer import Options, open_model
from trimtab.bundle.spec import GRAPH
from trimtab.definitions import Task
from trimtab.errors import DataError, StageError, TrimtabError
from trimtab.training.convert import convert
from trimtab.training.native import Native, native_file
from trimtab.training.parity import Parity, check_parity
from trimtab.training.scores import native_scores

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Form:
    """How a model serves. files: content by name, `model_file` among them. reason: why it is not ONNX Runtime."""

    runtime: Runtime
    model_file: str
    reason: str
    files: Mapping[str, bytes]
    parity: Parity
    scorer: Scorer

    @property
    def content(self) -> bytes:
        """What the runtime opens."""
        return self.files[self.model_file]


def choose(estimator: Any, X: np.ndarray[Any, Any], *, task: Task, features: int, trust: Collection[str] = ()) -> Form:
    """Return the form that reproduces the estimator on the rows X, shape (rows, features).

    trust: policy `serving.trust`; a skops file with other types would not be opened by the gateway either.
    Raises StageError with both reasons when neither form does.
    """
    native_scores(estimator, X[:1], task)  # one that cannot do the task at all needs no form
    native = native_file(estimator)
    beside = {native.name: native.content} if native else {}
    try:
        graph = convert(estimator, task=task, features=features)
        scorer = OnnxScorer(graph, task)
        parity = check_parity(estimator, scorer, X, task)
    except Exception as error:  # a border: converters and ONNX Runtime raise errors with no common base
        reason = str(error) if isinstance(error, TrimtabError) else f"the ONNX graph fails: {_first_line(error)}"
        if native is None:
            raise StageError(reason) from error
        form = _native_form(native, estimator, X, task, trust, reason)
        logger.warning("%s serves from %s by %s: %s", type(estimator).__name__, native.name, native.runtime, reason)
        return form
    return Form(
        runtime="onnx", model_file=GRAPH, reason="", files={GRAPH: graph, **beside}, parity=parity, scorer=scorer
    )


def _native_form(
    native: Native, estimator: Any, X: np.ndarray[Any, Any], task: Task, trust: Collection[str], reason: str
) -> Form:
    with TemporaryDirectory(prefix="trimtab-") as folder:
        path = Path(folder) / native.name
        path.write_bytes(native.content)
        try:
            scorer = open_model(path, runtime=native.runtime, task=task, options=Options(trust=trust))
            parity = check_parity(estimator, scorer, X, task, what=native.name)
        except (DataError, StageError) as error:
            text = str(error).replace(str(path), native.name)
            raise StageError(f"{reason.rstrip('.')}. Nor can its own library serve it: {text}") from error
    return Form(
        runtime=native.runtime,
        model_file=native.name,
        reason=reason,
        files={native.name: native.content},
        parity=parity,
        scorer=scorer,
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
