"""The rules by which windows are suspected: their rows neither train nor judge a model until a person lets them in.

A window is suspected when the mean of a column leaps further from its last good windows than it ever did, when far more
values of a column are missing than ever, when the loss leaps, or when an absolute rule of the monitor is broken. What
is found about a window depends on the records of it and of earlier windows alone, so a restart finds the same.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Literal

from trimtab.control.window_facts import WindowFacts
from trimtab.policy.decide import Quarantine
from trimtab.records.control import Suspicion, SuspicionEnd
from trimtab.records.monitoring import ABSOLUTE, Signal, WindowReport
from trimtab.stores.metadata.contract import Metadata

GOOD_WINDOWS = 7
"""A leap is the distance from the median of so many last good windows."""
MIN_LEAPS = 14
"""A column is not judged by fewer leaps."""
LONG_LEAP = 3
"""The loss is judged over one window, and over so many."""
SLACK = 1e-9
"""Relative; a leap as large as the limit is none."""

Stretch = tuple[datetime, datetime]
State = Literal["good", "suspected", "new world"]


TIME = "%Y-%m-%dT%H:%MZ"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Windows that a rule suspects, and why."""

    rule: Literal["inputs", "missing", "loss", "absolute"]
    subject: str
    value: float
    limit: float
    windows: tuple[WindowFacts, ...]
    reason: str


@dataclass(frozen=True)
class Known:
    """The suspicions of one model that are written, with their ends by the id of the suspicion."""

    suspicions: tuple[Suspicion, ...] = ()
    ends: Mapping[str, SuspicionEnd] = field(default_factory=dict)

    def before(self, time: datetime) -> Known:
        """Return what was known before an event time."""
        return Known(
            tuple(s for s in self.suspicions if s.known_at < time),
            {id_: end for id_, end in self.ends.items() if end.known_at < time},
        )

    def end_of(self, suspicion: Suspicion) -> SuspicionEnd | None:
        """Return the end of a suspicion, or None while it holds."""
        return self.ends.get(suspicion.id)

    def open(self) -> list[Suspicion]:
        """Return the suspicions that hold."""
        return [s for s in self.suspicions if self.end_of(s) is None]

    def dropped(self) -> set[str]:
        """Return the rules that were dropped."""
        ended = ((s, self.end_of(s)) for s in self.suspicions)
        return {s.rule for s, end in ended if end is not None and end.outcome == "rule_dropped"}


@dataclass(frozen=True, kw_only=True)
class Quarantined:
    """What the rules say when a window is judged."""

    found: tuple[Suspicion, ...] = ()
    """Suspicions that were found with this window."""
    ended: tuple[SuspicionEnd, ...] = ()
    """Suspicions that ended with it."""
    suspected: bool = False
    """The window is held back."""
    run: int = 0
    """So many windows in a row, this one included, are suspected by the rules."""

    @property
    def begins(self) -> bool:
        """Whether a person is to be told: the first window of a stretch."""
        return bool(self.found) and self.run <= len(self.found)

    @property
    def reasons(self) -> tuple[str, ...]:
        """What was found and what ended, in words."""
        said = [end.reason for end in self.ended[:1]]
        if self.found:
            start, end = min(s.start for s in self.found), max(s.end for s in self.found)
            said.insert(
                0,
                f"{self.found[0].reason}: check the pipe first. Rows from {start:{TIME}} to {end:{TIME}} neither train "
                "nor judge a model until they are let in (trimtab suspects)",
            )
        return tuple(said)


def read(metadata: Metadata, model: str) -> Known:
    """Return all suspicions of a model."""
    found = metadata.find(Suspicion, oldest_first=True, model=model)
    if not found:
        return Known()
    return Known(tuple(found), {end.suspicion: end for end in metadata.find(SuspicionEnd, model=model)})


def held(metadata: Metadata, model: str, *, as_of: datetime) -> tuple[Stretch, ...]:
    """Return the stretches of event time whose rows neither train nor judge at an event time, oldest first.

    Each is from (included) and to (not included); those that touch are joined.
    """
    known = read(metadata, model)
    stretches = []
    for suspicion in known.suspicions:
        end = known.end_of(suspicion)
        if suspicion.known_at <= as_of and (end is None or end.known_at > as_of):
            stretches.append((suspicion.start, suspicion.end))
    return joined(stretches)


def joined(stretches: Iterable[Stretch]) -> tuple[Stretch, ...]:
    """Return the stretches in order of time, those that touch or overlap joined."""
    found: list[Stretch] = []
    for start, end in sorted(stretches):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return tuple(found)


def overlaps(window: WindowFacts | WindowReport | Suspicion, stretches: Iterable[Stretch]) -> bool:
    """Return True if a window has a part of some stretch."""
    return any(window.start < end and start < window.end for start, end in stretches)


def _states(windows: Sequence[WindowFacts], known: Known) -> list[State]:
    """Return the state of each window; "new world" for the first of a stretch that lasted too long for a fault."""
    opened = joined((s.start, s.end) for s in known.open())
    ended = ((s, known.end_of(s)) for s in known.suspicions)
    worlds = joined((s.start, s.end) for s, end in ended if end is not None and end.outcome == "new_world")
    found: list[State] = []
    world: Stretch | None = None
    for window in windows:
        if overlaps(window, opened):
            found.append("suspected")
            continue
        before, world = world, next((each for each in worlds if overlaps(window, [each])), None)
        found.append("new world" if world is not None and world != before else "good")
    return found


class SuspicionRules:
    """The rules of the policy. Keeps what earlier windows showed, so that each is taken in once."""

    def __init__(self) -> None:
        self._policy: Quarantine | None = None
        self._taken: list[tuple[datetime, State]] = []
        self._leaps = _Leaps(Quarantine())

    def find(
        self, windows: Sequence[WindowFacts], known: Known, signals: Iterable[Signal], policy: Quarantine
    ) -> tuple[Finding, ...]:
        """Return what is suspected when the last of the windows is judged.

        windows: all so far, oldest first. known: what was known before it. signals: of the last window.
        """
        if not windows:
            return ()
        earlier, last = windows[:-1], windows[-1]
        states = _states(earlier, known)
        taken = [(window.end, state) for window, state in zip(earlier, states, strict=True)]
        if policy != self._policy or self._taken != taken[: len(self._taken)]:
            self._policy, self._taken, self._leaps = policy, [], _Leaps(policy)
        for window, state in list(zip(earlier, states, strict=True))[len(self._taken) :]:
            if state == "new world":
                self._leaps.begin_again()
            if state != "suspected":
                self._leaps.add(window)
        self._taken = taken
        dropped = known.dropped()
        found = [*_absolute(last, signals), *self._leaps.judge(last)]
        return tuple(f for f in found if f.rule not in dropped)


def _absolute(window: WindowFacts, signals: Iterable[Signal]) -> Iterable[Finding]:
    """Yield what the monitor's absolute rules found, of the first column."""
    broken = [s for s in signals if s.kind == "quality" and s.subject.startswith(ABSOLUTE)]
    for signal in sorted(broken, key=lambda s: s.subject)[:1]:
        yield Finding(
            rule="absolute",
            subject=signal.subject.removeprefix(ABSOLUTE),
            value=signal.value,
            limit=0.0,
            windows=(window,),
            reason=signal.reason,
        )


class _Series:
    """The means of one column in good windows: the last ones, and the largest leap so far."""

    def __init__(self) -> None:
        self.recent: deque[float] = deque(maxlen=GOOD_WINDOWS)
        self.largest = 0.0
        self.leaps = 0

    def add(self, value: float) -> None:
        """Take in the value of the next good window."""
        if (leap := self.leap(value)) is not None:
            self.largest = max(self.largest, leap)
            self.leaps += 1
        self.recent.append(value)

    def leap(self, value: float) -> float | None:
        """Return the distance from the median of the last good windows; None while they are too few."""
        return abs(value - median(self.recent)) if len(self.recent) == GOOD_WINDOWS else None


class _Leaps:
    """The leaps of good windows so far, from which the next one is judged."""

    def __init__(self, policy: Quarantine) -> None:
        self._policy = policy
        self._means: dict[str, _Series] = {}
        self._missing: dict[str, float] = {}
        self._lossy: deque[WindowFacts] = deque(maxlen=GOOD_WINDOWS + LONG_LEAP - 1)
        """The last good windows with a loss."""
        self._largest_loss = {1: 0.0, LONG_LEAP: 0.0}
        """Largest leap of the loss so far, by the windows that it is a mean of."""
        self._recent: dict[int, deque[float]] = {1: deque(), LONG_LEAP: deque()}
        """The newest leaps, which share windows with the next one."""
        self._valid = 0

    def begin_again(self) -> None:
        """Begin a new world: there are no last good windows yet, and the largest leaps stay."""
        for series in self._means.values():
            series.recent.clear()
        self._lossy.clear()

    def add(self, window: WindowFacts) -> None:
        """Take in the next good window."""
        for name, mean in window.means.items():
            if math.isfinite(mean):
                self._means.setdefault(name, _Series()).add(mean)
        for name, share in window.missing.items():
            self._missing[name] = max(self._missing.get(name, 0.0), share)
        if window.loss is not None:
            for over, (leap, _) in self._loss_leaps(window.loss).items():
                recent = self._recent[over]
                recent.append(leap)
                while len(recent) >= over:  # those of windows that the next leap is a mean of are not its measure
                    self._largest_loss[over] = max(self._largest_loss[over], recent.popleft())
            self._lossy.append(window)
            self._valid += 1

    def judge(self, window: WindowFacts) -> list[Finding]:
        """Return what is suspected of the next window: the worst column, missing values, and the loss."""
        return [f for f in (self._inputs(window), self._missing_values(window), self._loss(window)) if f is not None]

    def _inputs(self, window: WindowFacts) -> Finding | None:
        times = self._policy.input_leap
        worst: tuple[float, str] | None = None
        for name, mean in window.means.items():
            series = self._means.get(name)
            if series is None or not math.isfinite(mean) or series.leaps < MIN_LEAPS or series.largest <= 0:
                continue
            leap = series.leap(mean)
            if leap is not None and leap > times * series.largest * (1 + SLACK):
                worst = max(worst or (0.0, ""), (leap / series.largest, name))
        if worst is None:
            return None
        ratio, name = worst
        series = self._means[name]
        leap = ratio * series.largest
        return Finding(
            rule="inputs",
            subject=name,
            value=leap,
            limit=times * series.largest,
            windows=(window,),
            reason=(
                f"the mean of {name} is {window.means[name]:.4g}, {leap:.3g} away from the median of the last "
                f"{GOOD_WINDOWS} good windows ({median(series.recent):.4g}); the largest such distance was "
                f"{series.largest:.3g}, and more than {times:g} times as much is suspected"
            ),
        )

    def _missing_values(self, window: WindowFacts) -> Finding | None:
        jump = self._policy.missing_jump
        over = [
            (share - self._missing[name], name)
            for name, share in window.missing.items()
            if name in self._missing and share > self._missing[name] + jump + SLACK
        ]
        if not over:
            return None
        _, name = max(over)
        return Finding(
            rule="missing",
            subject=name,
            value=window.missing[name],
            limit=self._missing[name] + jump,
            windows=(window,),
            reason=(
                f"{window.missing[name]:.0%} of the values of {name} are missing, where at most "
                f"{self._missing[name]:.0%} were in a good window; more than {jump:.0%} beyond that is suspected"
            ),
        )

    def _loss(self, window: WindowFacts) -> Finding | None:
        if window.loss is None or self._valid < self._policy.min_windows:
            return None
        times = self._policy.loss_leap
        for over, (leap, base) in self._loss_leaps(window.loss).items():
            largest = self._largest_loss[over]
            if largest <= 0 or leap <= times * largest * (1 + SLACK):
                continue
            before = list(self._lossy)[len(self._lossy) - over + 1 :]
            stretch = f"of {over} windows " if over > 1 else ""
            return Finding(
                rule="loss",
                subject="loss",
                value=leap,
                limit=times * largest,
                windows=(*before, window),
                reason=(
                    f"the loss {stretch}is {base + leap:.4g}, {leap:.3g} above the median of the {GOOD_WINDOWS} good "
                    f"windows before ({base:.4g}); the largest such leap was {largest:.3g}, and more than {times:g} "
                    "times as much is suspected"
                ),
            )
        return None

    def _loss_leaps(self, loss: float) -> dict[int, tuple[float, float]]:
        """Return leap and median before it, by the windows that the loss is a mean of; what is unknown is left out."""
        known, found = [w.loss or 0.0 for w in self._lossy], {}
        for over in (1, LONG_LEAP):
            before = known[: len(known) - over + 1][-GOOD_WINDOWS:]
            if len(before) == GOOD_WINDOWS:
                mean = math.fsum([loss, *known[len(known) - over + 1 :]]) / over
                found[over] = (mean - median(before), median(before))
        return found
