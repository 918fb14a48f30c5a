"""Scores typed rows with the model of one bundle, whose known categories may differ from those of the rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from trimtab.bundle.scorer import Scorer
from trimtab.bundle.spec import Spec, Task
from trimtab.bundle.typed_matrix import Schema, TypedMatrix
from trimtab.bundle.typed_packing import feature_schema
from trimtab.errors import DataError


def open_typed(scorer: Scorer, spec: Spec) -> Scorer:
    """Return the scorer of a bundle with typed features."""
    schema = feature_schema(spec)
    return scorer if schema is None else TypedScorer(scorer, schema)


class TypedScorer:
    """A scorer of a bundle with typed features. Rows of another dataset get the codes of this bundle's categories."""

    def __init__(self, scorer: Scorer, schema: Schema) -> None:
        self.inner = scorer
        self._schema = schema

    @property
    def task(self) -> Task:
        """The task of the model."""
        return self.inner.task

    @property
    def in_process(self) -> bool:
        """Whether the model scores in this process."""
        return self.inner.in_process

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the scores of typed rows; of plain rows where the model takes a matrix. Raises DataError."""
        if isinstance(X, TypedMatrix):
            if X.schema is not self._schema and X.schema != self._schema:
                X = X.recoded(self._schema)
        elif self._schema.form == "frame":
            raise DataError("the model takes typed features, and the rows are plain numbers; send request columns")
        return self.inner.score(X)

    def close(self) -> None:
        """Close the model."""
        self.inner.close()
