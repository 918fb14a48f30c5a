"""When the policies that others use would retrain: never, by the calendar, by the loss, by ADWIN.

A trigger is a value that says what a policy is. `watch` starts it; the world then hands it each window whose labels are
complete, and asks at the end of each window whether to retrain. After a retraining it starts afresh.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from trimtab import units
from trimtab.app.backtest.labelled_history import Floats
from trimtab.errors import MissingExtra

FIRST_WINDOWS = 7
"""Judged windows of a new model that its later loss is compared with."""
RISE_WINDOWS = 7
"""Windows over which a rise of the loss is averaged."""
CUSUM_WINDOWS = 14
"""Judged windows of a new model whose mean and spread the alarm takes as usual."""
ALLOWANCE_SD = 0.5
LIMIT_SD = 5.0
"""Allowance k and limit h of a one-sided CUSUM in standard deviations: the usual pair for a shift of one of them
(Page, Continuous inspection schemes, Biometrika 1954; Montgomery, Statistical Quality Control)."""


class Watch(Protocol):
    """A trigger at work."""

    def judged(self, losses: Floats) -> None:
        """Take the loss of each labelled row of the next judged window of the model that serves."""
        ...

    def asks(self, end: int, last: int) -> str:
        """Return why to retrain at the end of a window, or an empty text.

        end: of the window, last: of the window in which the last retraining was asked for, both in microseconds.
        """
        ...


class Trigger(Protocol):
    """A rule for retraining."""

    def watch(self) -> Watch:
        """Start the rule for a model that begins to serve."""
        ...


@dataclass(frozen=True)
class Never:
    """The first model serves to the end."""

    def watch(self) -> Watch:
        """Start the rule."""
        return _Calendar(None)


@dataclass(frozen=True)
class Every:
    """Retrain by the calendar. micros: from one retraining to the next."""

    micros: int

    def watch(self) -> Watch:
        """Start the rule."""
        return _Calendar(self.micros)


@dataclass(frozen=True)
class LossAlarm:
    """Retrain when a one-sided CUSUM of the windows' mean loss alarms."""

    def watch(self) -> Watch:
        """Start the rule."""
        return _Cusum()


@dataclass(frozen=True)
class ErrorRise:
    """Retrain when the mean loss of the last windows exceeds that of the model's first ones by a share."""

    share: float

    def watch(self) -> Watch:
        """Start the rule."""
        return _Rise(self.share)


@dataclass(frozen=True)
class Adwin:
    """Retrain when ADWIN finds a change upwards in the losses of single rows, with river's defaults (Bifet and
    Gavalda, Learning from time-changing data with adaptive windowing, 2007)."""

    def watch(self) -> Watch:
        """Start the rule. Raises MissingExtra without river."""
        return _Adwin(adwin())


def adwin() -> Any:
    """Return a new ADWIN of river. Raises MissingExtra."""
    try:
        return import_module("river.drift").ADWIN()
    except ImportError:
        raise MissingExtra("river", "river") from None


@dataclass
class _Calendar:
    micros: int | None

    def judged(self, losses: Floats) -> None:
        pass

    def asks(self, end: int, last: int) -> str:
        due = self.micros is not None and end - last >= self.micros
        return f"{units.short(end - last)} have passed" if due else ""


@dataclass
class _Rise:
    share: float
    means: list[float] = field(default_factory=list)

    def judged(self, losses: Floats) -> None:
        if len(losses):
            self.means.append(float(losses.mean()))

    def asks(self, end: int, last: int) -> str:
        if len(self.means) < FIRST_WINDOWS + RISE_WINDOWS:
            return ""
        usual, now = np.mean(self.means[:FIRST_WINDOWS]), np.mean(self.means[-RISE_WINDOWS:])
        return f"the loss rose from {usual:.4g} to {now:.4g}" if now > (1 + self.share) * usual else ""


@dataclass
class _Cusum:
    means: list[float] = field(default_factory=list)
    total: float = 0.0

    def judged(self, losses: Floats) -> None:
        if not len(losses):
            return
        self.means.append(float(losses.mean()))
        if len(self.means) > CUSUM_WINDOWS:
            usual = self.means[:CUSUM_WINDOWS]
            spread = float(np.std(usual, ddof=1)) or 1e-12
            self.total = max(0.0, self.total + (self.means[-1] - float(np.mean(usual))) / spread - ALLOWANCE_SD)

    def asks(self, end: int, last: int) -> str:
        return f"the CUSUM of the loss is {self.total:.3g}" if self.total > LIMIT_SD else ""


@dataclass
class _Adwin:
    detector: Any
    found: str = ""

    def judged(self, losses: Floats) -> None:
        for loss in losses.tolist():
            before = self.detector.estimation
            self.detector.update(loss)
            if self.detector.drift_detected and self.detector.estimation > before:
                self.found = f"ADWIN: the loss rose from {before:.4g} to {self.detector.estimation:.4g}"

    def asks(self, end: int, last: int) -> str:
        return self.found
