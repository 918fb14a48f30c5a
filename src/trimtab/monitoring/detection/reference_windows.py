"""Chooses the windows that a version's windows are compared with (`decide.reference`).

training     the windows of the training span; windows since join them when they were ordinary (stats/holdback.py)
rolling      the last 60 windows, whatever they were like; a change is forgotten when it has become the usual
same-season  the windows of the same weeks one or more years before, so that a season is no drift

The choice depends on the windows and their order alone. It is made anew every 7 windows, and evidence continues.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from trimtab.monitoring.reference import Reference
from trimtab.stats.profile import ColumnProfile, WindowProfile
from trimtab.stats.sequential import ENOUGH_WINDOWS
from trimtab.units import MICROS

Mode = Literal["training", "rolling", "same-season"]

ROLLING = 60
"""Windows of a rolling reference."""
HELD_BACK = 10
"""The newest windows are not in it, so that a change is compared with what was before it."""
RENEWED_EVERY = 7
YEAR = 365 * MICROS["d"] + MICROS["d"] // 4
SEASON = 21 * MICROS["d"]
"""A window is of the same season if it began within so much of the same day of a year before."""


class ReferenceWindows:
    """The windows that one version is compared with, and those that may be chosen later."""

    def __init__(self, reference: Reference, mode: Mode) -> None:
        self.mode = mode
        self._reference = reference
        self._since: list[tuple[int, WindowProfile]] = []
        """Start and profile of the windows since, oldest first."""
        self._count = 0
        self._known, self._at = 0, (reference.starts[-1] if reference.starts else 0) + reference.window
        """How many of `_since` were known, and the start of the next window, when the choice was made last."""

    def take(self, profile: WindowProfile, start: int) -> bool:
        """Add a window; return True if the choice may have changed."""
        if self.mode == "training":
            return False
        self._since.append((start, profile))
        if self.mode == "rolling":
            del self._since[: -(ROLLING + HELD_BACK)]
        self._count += 1
        if self._count % RENEWED_EVERY:
            return False
        before = self._of_training
        self._known, self._at = len(self._since), start + self._reference.window
        return not (before and self._of_training)

    @property
    def _of_training(self) -> bool:
        return self.mode == "same-season" and len(self._season()) < ENOUGH_WINDOWS

    @property
    def chosen(self) -> Sequence[WindowProfile]:
        """The windows to compare with, oldest first."""
        if self.mode == "rolling":
            known = [*self._reference.profiles, *(profile for _, profile in self._since[: self._known])]
            held_back = min(HELD_BACK, self._known)
            return known[: len(known) - held_back][-ROLLING:]
        return self._reference.profiles if self.mode == "training" or self._of_training else self._season()

    @property
    def said(self) -> str:
        """The choice in words, for reasons; empty for the training span."""
        if self.mode == "training":
            own = self._reference.made_of == "own"
            return f"the version's own first {len(self.chosen)}" if own else ""
        if self.mode == "rolling":
            return f"the last {len(self.chosen)} but for the newest {HELD_BACK}"
        found = len(self._season())
        if found >= ENOUGH_WINDOWS:
            return "of the same weeks a year before"
        return f"of training; of the same weeks a year before there are {found}, {ENOUGH_WINDOWS} are needed"

    def state(self) -> dict[str, Any]:
        """Return what JSON can hold; `load` restores it."""
        since = [[start, {name: c.to_dict() for name, c in profile.items()}] for start, profile in self._since]
        return {"since": since, "count": self._count, "known": self._known, "at": self._at}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self._since = [
            (start, {name: ColumnProfile.from_dict(column) for name, column in columns.items()})
            for start, columns in state["since"]
        ]
        self._count, self._known, self._at = state["count"], state["known"], state["at"]

    def _season(self) -> list[WindowProfile]:
        known = [*zip(self._reference.starts, self._reference.profiles, strict=True), *self._since[: self._known]]
        return [profile for start, profile in known if _years_before(self._at - start)]


def _years_before(age: int) -> bool:
    """Return True if it is within SEASON of one or more whole years."""
    years = round(age / YEAR)
    return years >= 1 and abs(age - years * YEAR) <= SEASON
