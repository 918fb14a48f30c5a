"""Money lost on each row by a project's own function, in place of the prices of `impact.cost`.

The money of a row is counted as one more kind of mistake, with the price 1. Its name holds the hash of the function's
text, so a reference that another text made does not count it: the model must be trained again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trimtab import places
from trimtab.definitions.impact_function import ImpactFunction
from trimtab.errors import ImpactFailed
from trimtab.metric_catalog import Task
from trimtab.policy.decide import Impact

Floats = npt.NDArray[np.float64]


def prices(policy: Impact, task: Task, function: ImpactFunction | None) -> dict[str, float]:
    """Return the price of each kind of mistake of a model: those of the policy, unless the model has a function."""
    return policy.cost_for(task) if function is None else {function.kind: 1.0}


@dataclass(frozen=True, kw_only=True)
class RowMoney:
    """An impact function with the values of its inputs in some rows; columns: by feature, each of shape (rows,)."""

    function: ImpactFunction
    columns: Mapping[str, npt.NDArray[np.floating]]

    @classmethod
    def of(cls, function: ImpactFunction | None, columns: Mapping[str, npt.NDArray[np.floating]]) -> RowMoney | None:
        """Return it, or None where a model has no function."""
        return None if function is None else cls(function=function, columns=columns)

    def rows(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> RowMoney:
        """Return it for some of the rows."""
        some = {name: values[chosen] for name, values in self.columns.items() if name in self.function.inputs}
        return RowMoney(function=self.function, columns=some)

    def lost(self, y: Floats, score: Floats) -> Floats:
        """Return the money lost on each row, shape (rows,). Raises ImpactFailed naming file, line and reason."""
        if missing := [name for name in self.function.inputs if name not in self.columns]:
            raise self._failed(self._place(), f"the version has no feature '{missing[0]}'")
        inputs = [np.array(self.columns[name], np.float64) for name in self.function.inputs]
        try:
            found = np.asarray(self.function.function(y.copy(), score.copy(), *inputs), np.float64)
        except (Exception, SystemExit) as error:  # the project's code may raise anything
            raise self._failed(self._place(error), f"{type(error).__name__}: {error}") from error
        if found.shape != y.shape:
            raise self._failed(
                self._place(), f"it returned shape {found.shape} for {len(y)} rows; expected shape ({len(y)},)"
            )
        if wrong := int((~np.isfinite(found)).sum()):
            raise self._failed(self._place(), f"{wrong} of {len(y)} rows have no finite money; expected a number each")
        return found

    def expected(self, score: Floats) -> Floats:
        """Return the money that a calibrated model expects to lose on each row. Raises ImpactFailed.

        score: probability of 1, shape (rows,), or of each class, shape (rows, classes).
        """
        p = score if score.ndim == 2 else np.column_stack([1 - score, score])
        losses = [self.lost(np.full(len(p), float(label)), score) for label in range(p.shape[1])]
        found: Floats = (p * np.column_stack(losses)).sum(axis=1)
        return found

    def _place(self, error: Exception | SystemExit | None = None) -> str:
        code = getattr(self.function.function, "__code__", None)
        if error is not None and code is not None:
            found = places.of_error(error, Path(code.co_filename).parent)
            if found is not None:
                return f"{found[0].name}:{found[1]}"
        return places.of_function(self.function.function)

    def _failed(self, place: str, why: str) -> ImpactFailed:
        return ImpactFailed(f"{place}: {self.function.called} failed: {why}")
