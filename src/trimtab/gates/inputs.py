"""The inputs of the gates: holdout rows, the candidate, and the champion on the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.bundle.scorer import Scorer
from trimtab.definitions.models import Task
from trimtab.definitions.own_gates import OwnGate
from trimtab.metric_catalog import CONTAMINATION
from trimtab.policy.model import Prices
from trimtab.tasks import RULES

Array = np.ndarray[Any, Any]

MIN_DAYS = 10


@dataclass(frozen=True, kw_only=True)
class GateInputs:
    """Labelled holdout rows and the models that score them.

    X: float32 (rows, features), missing values NaN. y: float64 (rows,); NaN among them: they count as without labels.
    timestamps: datetime64[us] (rows,). groups: one value a row, by sensitive column. champion_X: the same rows in the
    champion's features, when they differ. folder: the packaged candidate, with reference/rows.parquet.
    """

    X: Array
    y: Array
    timestamps: Array
    feature_names: tuple[str, ...]
    candidate: Scorer
    folder: Path
    threshold: float = 0.5
    seed: int = 0
    groups: Mapping[str, Array] = field(default_factory=dict)
    champion: Scorer | None = None
    champion_X: Array | None = None
    classes: tuple[str, ...] = ()
    """Names of the classes of a multiclass candidate."""
    objective: str = ""
    """What a regression has minimised, such as quantile:0.9; empty where that is not known."""
    champion_threshold: float | None = None
    """The champion's own threshold; None: that of the candidate."""
    champion_id: str | None = None
    """Id of the champion's bundle, for the texts."""
    champion_seen_until: datetime | None = None
    """The champion was trained on rows before this time; None: on none of the rows."""
    own_gates: tuple[OwnGate, ...] = ()
    """Gates that the project defines for the model."""
    contamination: float = CONTAMINATION
    """Share of rows that an anomaly candidate was trained to report."""
    prices: Prices = field(default_factory=Prices)
    """What computing costs."""
    trust: tuple[str, ...] = ()
    """Policy `serving.trust`, for the process that measures the candidate."""
    personal: frozenset[str] = frozenset()
    """Columns and features with personal data: results name their groups by numbers."""

    @property
    def task(self) -> Task:
        """Task of the candidate."""
        return self.candidate.task

    @cached_property
    def scores(self) -> Array:
        """The candidate's scores, float64 (rows,)."""
        return self.candidate.score(self.X)

    @cached_property
    def main_scores(self) -> Array:
        """One number a row, float64 (rows,): the probability of the predicted class of a multiclass candidate."""
        return RULES[self.task].main_score(self.scores)

    @cached_property
    def champion_scores(self) -> Array | None:
        """The champion's scores of the same rows, or None."""
        if self.champion is None:
            return None
        return self.champion.score(self.X if self.champion_X is None else self.champion_X)

    @property
    def thresholds(self) -> tuple[float, float]:
        """The thresholds by which the candidate and the champion are compared."""
        if self.champion_threshold is None:
            return self.threshold, self.threshold
        return self.threshold, RULES[self.task].threshold_beside(self.threshold, self.champion_threshold)

    @cached_property
    def labelled(self) -> bool:
        """Whether the rows have labels to judge by: of an anomaly model, of both classes."""
        return not np.isnan(self.y).any() and (RULES[self.task].needs_labels or len(np.unique(self.y)) > 1)

    @cached_property
    def unseen(self) -> Array:
        """Which rows the champion was not trained on, bool (rows,)."""
        if self.champion_seen_until is None:
            return np.ones(len(self.y), bool)
        until = np.datetime64(self.champion_seen_until.astimezone(UTC).replace(tzinfo=None), "us")
        found: Array = self.timestamps >= until
        return found

    @cached_property
    def clusters(self) -> Array:
        """The cluster of each row: its UTC day, or its hour where there are few days."""
        return self.timestamps.astype("datetime64[D]" if self.enough_days else "datetime64[h]")

    @property
    def unit(self) -> str:
        """Unit of the intervals: days, or hours where there are few days."""
        return "days" if self.enough_days else "hours"

    @property
    def remark(self) -> str:
        """What a result must say of its interval; empty where there are days enough."""
        return (
            "" if self.enough_days else f"; fewer than {MIN_DAYS} days, so hours are the unit and the interval is rough"
        )

    @cached_property
    def enough_days(self) -> bool:
        """Whether there are days enough for an interval; if not, it is rough."""
        return len(np.unique(self.timestamps.astype("datetime64[D]"))) >= MIN_DAYS
