"""Money lost on each row by a project's own function, in place of the prices of `impact.cost`.

The money of a row is counted as one more kind of mistake, with the price 1. Its name holds the hash of the function's
text, so a reference that another text made does not count it: the model must be trained again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab import places
from trimtab.bundle.typed_matrix import OTHER
from trimtab.definitions.impact_function import ImpactFunction
from trimtab.errors import ImpactFailed
from trimtab.metric_catalog import Task
from trimtab.policy.decide import Impact
from trimtab.tasks import UNKNOWN_CLASS

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]
Names = Mapping[str, Sequence[str]]
"""Names of the known categories of features, in the order of their codes."""


def prices(policy: Impact, task: Task, function: ImpactFunction | None) -> dict[str, float]:
    """Return the price of each kind of mistake of a model: those of the policy, unless the model has a function."""
    return policy.cost_for(task) if function is None else {function.kind: 1.0}


@dataclass(frozen=True, kw_only=True)
class RowMoney:
    """An impact function with the values of its inputs in some rows of a version.

    columns: by feature, each of shape (rows,): numbers, or names of categories, None for a missing one. classes: of the
    version, in the order of its scores, if it has several; the function gets those that its model declares.
    """

    function: ImpactFunction
    columns: Mapping[str, npt.NDArray[Any]]
    classes: Sequence[str] = ()

    @classmethod
    def of(
        cls,
        function: ImpactFunction | None,
        columns: Mapping[str, npt.NDArray[np.floating]],
        *,
        names: Names,
        classes: Sequence[str] = (),
    ) -> RowMoney | None:
        """Return it, or None where a model has no function. columns: with codes of categories. names: of the version.

        The function gets names, because the codes of a category are other ones after each training.
        """
        if function is None:
            return None
        own = {name: values for name, values in columns.items() if name in function.inputs}
        own = {name: _named(values, names[name]) if name in names else values for name, values in own.items()}
        return cls(function=function, columns=own, classes=classes)

    def rows(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> RowMoney:
        """Return it for some of the rows."""
        return replace(self, columns={name: values[chosen] for name, values in self.columns.items()})

    def lost(self, y: Floats, score: Floats) -> Floats:
        """Return the money lost on each row, shape (rows,). Raises ImpactFailed naming file, line and reason.

        NaN in a row of a class that the version or the model's definition does not know: it has no price.
        """
        if missing := [name for name in self.function.inputs if name not in self.columns]:
            raise self._failed(self._place(), f"the version has no feature '{missing[0]}'")
        y, score = self._declared(y, score)
        known = y >= 0 if score.ndim == 2 else np.ones(len(y), dtype=bool)
        if known.all():
            return self._lost(y, score)
        if not known.any():
            raise self._failed(self._place(), f"all {len(y)} labels are of classes that are not known")
        log.warning(
            "%s: %d of %d rows are left out of the money: their labels are of classes that are not known",
            self.function.called,
            len(y) - int(known.sum()),
            len(y),
        )
        found = np.full(len(y), np.nan)
        found[known] = self.rows(known)._lost(y[known], score[known])
        return found

    def _declared(self, y: Floats, score: Floats) -> tuple[Floats, Floats]:
        """Return labels and scores in the order of the declared classes; UNKNOWN_CLASS for a label of another one."""
        declared = self.function.classes
        if score.ndim == 1 or not declared or not self.classes or tuple(self.classes) == tuple(declared):
            return y, score
        at = np.array([declared.index(c) if c in declared else UNKNOWN_CLASS for c in self.classes] + [UNKNOWN_CLASS])
        at = at.astype(np.int64)
        spread = np.zeros((len(y), len(declared)))
        spread[:, at[at >= 0]] = score[:, at[:-1] >= 0]
        return at[y.astype(np.int64)].astype(np.float64), spread

    def _lost(self, y: Floats, score: Floats) -> Floats:
        given = (self.columns[name] for name in self.function.inputs)
        inputs = [each.copy() if each.dtype == object else np.array(each, np.float64) for each in given]
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


def _named(codes: npt.NDArray[np.floating], names: Sequence[str]) -> npt.NDArray[Any]:
    """Return the names of categories, objects (rows,): "(other)" for one that was not known, None for a missing one."""
    table = np.array([*names, OTHER, None], dtype=object)
    missing = np.isnan(codes)
    place = np.clip(np.where(missing, 0, codes), 0, len(names)).astype(np.int64)
    found: npt.NDArray[Any] = table[np.where(missing, len(names) + 1, place)]
    return found
