"""Runs a model's fallback rule: on examples before the model is packaged, and on requests in the gateway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trimtab.definitions.models import Model, Task
from trimtab.definitions.on_demand import FallbackRule
from trimtab.errors import DataError, DefinitionError
from trimtab.features.request_columns import for_transform
from trimtab.features.transforms import check_rows_apart, run
from trimtab.features.value_types import Array, Kind

LIMITS: dict[Task, tuple[float, float, str]] = {
    "binary": (0.0, 1.0, "a probability from 0 to 1"),
    "multiclass": (0.0, 1e9, "the index of a class"),
    "anomaly": (-np.finfo(np.float64).max, np.finfo(np.float64).max, "a number"),
    "regression": (-np.finfo(np.float64).max, np.finfo(np.float64).max, "a number"),
}
"""Lowest and highest score of each task, and how error texts call a score."""


class RulePlan:
    """A fallback rule with the converters of its input columns; thread-safe."""

    def __init__(self, model: Model, rule: FallbackRule, kinds: Mapping[str, Kind]) -> None:
        """Make the converters. kinds: kind of each request column; one that is missing is decided by each value."""
        self.name = rule.name
        self._rule = rule
        self._task = model.task
        self._timestamp = model.examples.timestamp
        self._inputs = [(name, for_transform(name, kinds.get(name))) for name in rule.inputs]

    def scores(self, columns: Mapping[str, Sequence[Any]], at: Sequence[int]) -> list[float]:
        """Return one score for each row.

        Args:
            columns: one sequence of `len(at)` values for each column of the request.
            at: time of each row, microseconds since the epoch; the timestamp if the request has none.

        Raises:
            DataError: the request lacks an input or has a wrong value.
            DefinitionError: the rule fails, or returns values that are no scores of the task.
        """
        arrays = []
        for name, convert in self._inputs:
            if name in columns:
                arrays.append(convert(columns[name]))
            elif name == self._timestamp:
                arrays.append(np.array(at, dtype=np.int64).view("datetime64[us]"))
            else:
                raise DataError(f"the request has no column '{name}'")
        with np.errstate(all="ignore"):
            (scores,) = run(self._rule, arrays, len(at))
        check_scores(self._rule, self._task, scores)
        found: list[float] = scores.astype(np.float64).tolist()
        return found


def try_rule(model: Model, rule: FallbackRule, inputs: Sequence[Array]) -> None:
    """Check on examples that the rule returns scores, and that the score of a row does not depend on other rows.

    inputs: one array for each of the rule's columns, of at least one row; NaN scores are accepted. Raises
    DefinitionError.
    """
    with np.errstate(all="ignore"):
        outputs = run(rule, inputs, len(inputs[0]))
        check_rows_apart(rule, inputs, outputs)
    scores = outputs[0].astype(np.float64)
    check_scores(rule, model.task, scores[~np.isnan(scores)])


def check_scores(rule: FallbackRule, task: Task, scores: Array) -> None:
    """Raise DefinitionError if a score lies outside the range of the task, or is NaN."""
    low, high, expected = LIMITS[task]
    wrong = ~((scores >= low) & (scores <= high))
    if task == "multiclass":
        wrong |= scores != np.floor(scores)
    if wrong.any():
        raise DefinitionError(f"{rule.called} gave {scores[wrong][0]:g}; expected {expected}")
