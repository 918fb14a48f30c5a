"""What one policy did on a history: losses and money by window, trainings, and what served when."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from trimtab.metric_catalog import Task
from trimtab.tasks import RULES

Floats = npt.NDArray[np.float64]

LOSS_NAMES: dict[Task, str] = {
    "binary": "log-loss",
    "multiclass": "log-loss",
    "regression": "squared error",
    "anomaly": "wrong decisions",
}
"""By task, the loss that is shown."""


class Retrained(msgspec.Struct, frozen=True, kw_only=True):
    """One retraining that a policy asked for. Times in microseconds since 1970."""

    asked_at: int
    """End of the window that led to it."""
    began_at: int
    """As of which the rows were taken."""
    trigger: str
    reason: str
    version: int | None
    """None when it was refused, or could not be trained."""
    refused: str = ""
    cpu_seconds: float = 0.0
    served_at: int | None = None
    """When the new version became champion; None when it never did."""
    gain: float | None = None
    """Mean loss that it saved a row against the version before on the windows that followed; None without labels."""
    gain_windows: int = 0


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change of what serves."""

    at: int
    action: str
    champion: int
    reason: str


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of event time that was kept out of training."""

    start: int
    end: int
    reason: str


class PolicyRun(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one policy. Lists of windows have one entry for each window with labelled rows."""

    name: str
    task: Task
    starts: list[int]
    rows: list[int]
    """Labelled rows."""
    losses: list[float]
    """Sum of the losses of these rows."""
    money: list[float] | None
    """Sum of what their mistakes cost; None where the policy names no costs."""
    windows: int
    """All windows, those without labelled rows too."""
    retrained: list[Retrained]
    changes: list[Change]
    held: list[Held] = []
    decisions: dict[str, int] = {}
    """Number of decisions by action."""
    remarks: list[str] = []

    @property
    def loss(self) -> float:
        """Mean loss a labelled row."""
        return sum(self.losses) / max(sum(self.rows), 1)

    @property
    def total_money(self) -> float | None:
        """What all mistakes cost."""
        return None if self.money is None else sum(self.money)

    @property
    def trained(self) -> int:
        """Retrainings that made a version."""
        return sum(each.version is not None for each in self.retrained)

    @property
    def promotions(self) -> int:
        """Retrainings whose version came to serve."""
        return sum(each.served_at is not None for each in self.retrained)

    @property
    def false_alarms(self) -> int:
        """Retrainings whose version was not better than the one before on the windows that followed."""
        return sum(each.gain is not None and each.gain <= 0 for each in self.retrained)

    @property
    def cpu_seconds(self) -> float:
        """Processor time of all its trainings."""
        return sum(each.cpu_seconds for each in self.retrained)

    def delays(self) -> list[int]:
        """Return the time from the window that led to a retraining to its service, of each that came to serve."""
        return [each.served_at - each.asked_at for each in self.retrained if each.served_at is not None]


def row_losses(y: Floats, score: Floats, task: Task) -> Floats:
    """Return the loss of each row, of labels and scores without NaN: log-loss, squared error, or a wrong decision.

    Anomaly scores are those of NativeScorer, whose threshold is 0.
    """
    return RULES[task].loss(y, score, 0.0)


def window_sums(numbers: npt.NDArray[np.int64], values: Sequence[Floats]) -> tuple[list[int], list[list[float]]]:
    """Return the different window numbers in order, and for each array of values the sums by window."""
    found, place = np.unique(numbers, return_inverse=True)
    return found.tolist(), [np.bincount(place, weights=each, minlength=len(found)).tolist() for each in values]
