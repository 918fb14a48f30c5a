"""Absolute rules: values of a window that no window before it had, found on the first such window.

The drift statistic compares a window with how much windows usually differ. Where they differ much, as with 24 rows a
day, it needs many windows even for a column that is wholly missing. The rules of this file need one. They fire on what
cannot be an ordinary window, such as another unit; small changes are left to the statistic.

Windows that a rule fires on do not become part of what is known, unless they go on for LASTS windows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from trimtab.monitoring.reference import Reference
from trimtab.stats.profile import ColumnProfile, WindowProfile
from trimtab.stats.schemes import ABOVE, BELOW, FIRST_BIN, MISSING, OTHER, NumericBins

FEWEST_WINDOWS = 14
"""With fewer reference windows nothing is known about how much windows differ."""
RECENT = 7
"""The mean of a window is compared with the median of so many before it."""
LASTS = 21
"""After so many windows in a row that a rule fired on, a column's values count as known."""
FEWEST_OTHERS = 3
"""Rows that a constant window of an ordinary column would have with another value."""
FEWEST_ROWS = 8
"""Rows with (or, of a missing column, without) a value that a rule needs."""
LEAP = 1.25
"""A mean is far out if it leaps by more than this multiple of the largest leap before."""
UNIT_LEAP = 1.5
"""The same where the values would fit in another unit."""
SPREAD_LEAP = 1.5
SPREAD_ROOM = 0.3
"""Logarithm of a spread's ratio that always counts as ordinary."""
AT_ONCE = ("model_reported",)
"""Columns of prompts of which a single unknown category is told. Answers to examples are a reference for them, too."""
ERRORS = 3.0
"""Standard errors of a mean that always count as ordinary."""
GROSS_SHARE = 0.1
GROSS_FACTOR = 3.0
FEWEST_GROSS = 5
"""Fewest rows far out, or of unseen categories, that a rule fires on."""


@dataclass(frozen=True)
class Unit:
    """A change of unit: value = offset + factor * former value."""

    factor: float
    offset: float
    said: str


# Factors under 10 are left out except where an offset comes with them: ordinary days differ as much.
UNITS = (
    Unit(1.8, 32.0, "degrees Fahrenheit in place of Celsius"),
    Unit(1 / 1.8, -32 / 1.8, "degrees Celsius in place of Fahrenheit"),
    *(
        Unit(factor ** sign, 0.0, f"{'multiplied' if sign > 0 else 'divided'} by {factor:g}, {why}")
        for factor, why in (
            (100.0, "as of per cent or cents"),
            (1000.0, "as of thousandths"),
            (60.0, "as of minutes and hours"),
            (3600.0, "as of seconds and hours"),
            (10.0, "as of another decimal place"),
            (25.4, "as of inches and millimetres"),
            (1e6, "as of millionths"),
        )
        for sign in (1, -1)
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A column that a rule fired on."""

    column: str
    statistic: str
    value: float
    limit: float
    reason: str


@dataclass
class Known:
    """What is known of one column: extremes over windows, and the last ones."""

    sd: float = 0.0
    """Spread of the rows of all reference windows; 0 where means are not judged."""
    bins: int = 0
    """How many bins the scheme of an ordered column has."""
    all_missing: bool = False
    constant: bool = False
    """Whether some window held nothing else."""
    missing: float = 0.0
    """Largest share of missing values of a window."""
    same: float = 0.0
    """Largest share that one bin had among the values of a window."""
    gross: float = 0.0
    """Largest share of values far out or unseen."""
    low: float = math.inf
    high: float = -math.inf
    lowest_mean: float = math.inf
    highest_mean: float = -math.inf
    leap: float = 0.0
    """Largest distance of a window's mean from the median of those before it."""
    spread_leap: float = 0.0
    """The same of the logarithm of its standard deviation."""
    means: list[float] = field(default_factory=list)
    spreads: list[float] = field(default_factory=list)
    """Of the last windows."""
    narrowest: float = math.inf
    widest: float = 0.0
    """Smallest and largest standard deviation of a window, except 0."""
    held: list[tuple[float, float, float, float, float]] = field(default_factory=list)
    """What the last windows would add: a change that is not found at once must not make itself ordinary."""
    fired: int = 0
    """Windows in a row that a rule fired on."""

    def widen(self, leap: float, spread_leap: float, low: float, high: float, spread: float) -> None:
        """Add what one window held to the extremes."""
        self.leap, self.spread_leap = max(self.leap, leap), max(self.spread_leap, spread_leap)
        self.low, self.high = min(self.low, low), max(self.high, high)
        if spread:
            self.narrowest, self.widest = min(self.narrowest, spread), max(self.widest, spread)


class AbsoluteRules:
    """The rules for the features of one version, with what they know.

    Equal windows in equal order give equal results, also when `state` carries them over a restart.
    """

    def __init__(self, reference: Reference) -> None:
        self._known: dict[str, Known] = {}
        self._window = reference.window
        self._last = reference.starts[-1] if reference.starts else 0
        """Start of the last window."""
        examples = reference.made_of == "examples"
        if reference.windows < FEWEST_WINDOWS and not examples:
            return
        for name in AT_ONCE if examples else reference.names:
            bins = reference.schemes[name]
            known = Known()
            if isinstance(bins, NumericBins):
                known = Known(sd=bins.sd, bins=len(bins.edges) + 1)
            self._known[name] = known
            for window in reference.profiles:
                _take_in(known, window[name], of_reference=True)

    def step(self, profile: WindowProfile, start: int) -> list[Finding]:
        """Judge the next window; return a finding for each column that no window before was like.

        start: of the window, in microseconds. After a gap a window is not compared with the last ones, which are old.
        """
        found = []
        gap = start - self._last > (RECENT + 1) * self._window
        self._last = start
        for name, known in self._known.items():
            finding = next(_findings(name, profile[name], known, gap=gap), None)
            known.fired = 0 if finding is None else known.fired + 1
            if finding is not None:
                found.append(finding)
            if known.fired in (0, LASTS):
                _take_in(known, profile[name], anew=gap or known.fired == LASTS)
                known.fired = 0
        return found

    def state(self) -> dict[str, Any]:
        """Return what JSON can hold; `load` restores it in rules of the same reference."""
        known = {name: dict(vars(known), held=list(known.held)) for name, known in self._known.items()}
        return {"last": self._last, "known": known}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self._last = state["last"]
        self._known = {
            name: Known(**known | {"held": [tuple(held) for held in known["held"]]})
            for name, known in state["known"].items()
        }


def _findings(name: str, column: ColumnProfile, known: Known, *, gap: bool) -> Iterator[Finding]:
    """Yield what the rules find, the plainest first."""
    valid = column.n - column.missing
    if not valid:
        if not known.all_missing and column.n * (1 - known.missing) >= FEWEST_ROWS:
            yield Finding(
                column=name,
                statistic="share of missing values",
                value=1.0,
                limit=known.missing,
                reason=f"'{name}' is missing in all {column.n:,} rows; at most {known.missing:.1%} were missing before",
            )
        return
    same = _same(column)
    if same == 1.0 and _is_constant(column) and not known.constant and valid * (1 - known.same) >= FEWEST_OTHERS:
        value = f" ({column.minimum:.6g})" if column.kind == "ordered" else ""
        yield Finding(
            column=name,
            statistic="largest share of one value",
            value=1.0,
            limit=known.same,
            reason=f"'{name}' has one value{value} in all {valid:,} rows; no window before was constant",
        )
    if valid >= FEWEST_ROWS or name in AT_ONCE:
        category = column.kind == "category"
        yield from _unseen(name, column, known) if category else _far_out(name, column, known, valid, gap)


def _unseen(name: str, column: ColumnProfile, known: Known) -> Iterator[Finding]:
    fewest, least = (1, 0.0) if name in AT_ONCE else (FEWEST_GROSS, GROSS_SHARE)
    share, limit = column.gross / column.n, max(least, GROSS_FACTOR * known.gross)
    if column.gross >= fewest and share > limit:
        yield Finding(
            column=name,
            statistic="share of rows with an unknown category",
            value=share,
            limit=limit,
            reason=f"{share:.1%} of the rows of '{name}' have a category that the reference does not have; "
            f"at most {known.gross:.1%} had before",
        )


def _far_out(name: str, column: ColumnProfile, known: Known, valid: int, gap: bool) -> Iterator[Finding]:
    if not known.sd or len(known.means) < RECENT:
        return
    mean, spread = column.mean, _spread(column)
    centre = min(max(mean, known.lowest_mean), known.highest_mean) if gap else median(known.means)
    ordinary = max(known.leap, known.sd / 2) + ERRORS * known.sd / math.sqrt(valid)
    leap = abs(mean - centre)
    if (unit := _unit(column, known, centre, ordinary)) is not None:
        yield Finding(
            column=name,
            statistic="mean, where another unit fits",
            value=mean,
            limit=centre,
            reason=f"'{name}' looks as if in another unit ({unit.said}): mean {mean:.6g}, it was {centre:.6g} before, "
            f"and the spread changed with it ({spread:.3g}, was {median(known.spreads):.3g})",
        )
    if leap > LEAP * ordinary and not known.low <= mean <= known.high:
        yield Finding(
            column=name,
            statistic="mean",
            value=mean,
            limit=known.low if mean < known.low else known.high,
            reason=f"the mean of '{name}', {mean:.6g}, lies beyond all values before, "
            f"{known.low:.6g} to {known.high:.6g}",
        )
    share, limit = column.gross / column.n, max(GROSS_SHARE, GROSS_FACTOR * known.gross)
    if leap > LEAP * ordinary and column.gross >= FEWEST_GROSS and share > limit:
        yield Finding(
            column=name,
            statistic="share of values far out",
            value=share,
            limit=limit,
            reason=f"{share:.1%} of the values of '{name}' lie far beyond the reference; "
            f"at most {known.gross:.1%} did before",
        )


def _unit(column: ColumnProfile, known: Known, centre: float, ordinary: float) -> Unit | None:
    """Return the unit that mean and spread fit, if neither fits as it is and a spread was there before."""
    mean, spread, usual = column.mean, _spread(column), median(known.spreads)
    if not usual or not spread:
        return None
    ratio, leap = math.log(spread / usual), abs(mean - centre)
    room, valid = max(SPREAD_ROOM, known.spread_leap), column.n - column.missing
    inside = sum(column.counts[FIRST_BIN + 1 : FIRST_BIN + known.bins - 1]) / valid
    beyond = max(math.log(spread / known.widest), math.log(known.narrowest / spread))

    def fits(unit: Unit) -> bool:
        off = abs((mean - unit.offset) / unit.factor - centre)
        change = math.log(unit.factor)
        if off > ordinary or abs(ratio - change) > min(room, max(SPREAD_ROOM, abs(change) / 2)):
            return False
        if unit.offset:
            return leap > UNIT_LEAP * ordinary
        if valid * (1 - known.same) < FEWEST_ROWS:  # the spread of a few values that differ says little
            return False
        if unit.factor > 1 and inside > 0.5:  # a few values are far out, not all of them
            return False
        return beyond > SPREAD_ROOM and abs(ratio) > SPREAD_LEAP * known.spread_leap + SPREAD_ROOM

    fitting = [unit for unit in UNITS if fits(unit)]
    return min(fitting, key=lambda unit: abs(ratio - math.log(unit.factor)), default=None)


def _take_in(known: Known, column: ColumnProfile, *, of_reference: bool = False, anew: bool = False) -> None:
    """Add a window to what is known. anew: the windows before it no longer say what is usual."""
    if not column.n:
        return
    known.missing = max(known.missing, column.missing / column.n)
    # In the reference, a category of one window alone is what an unseen one is for a new window.
    unseen = column.counts[ABOVE] if of_reference and column.kind == "category" else 0
    known.gross = max(known.gross, (column.gross + unseen) / column.n)
    valid = column.n - column.missing
    if not valid:
        known.all_missing = True
        return
    known.constant |= _is_constant(column)
    known.same = max(known.same, _same(column))
    if column.kind == "category" or not math.isfinite(column.minimum):
        return
    mean, spread = column.mean, _spread(column)
    known.lowest_mean, known.highest_mean = min(known.lowest_mean, mean), max(known.highest_mean, mean)
    if anew:
        known.means, known.spreads = [mean] * RECENT, [spread] * RECENT
    leap = spread_leap = 0.0
    if len(known.means) == RECENT:
        leap, usual = abs(mean - median(known.means)), median(known.spreads)
        spread_leap = abs(math.log(spread / usual)) if spread and usual else 0.0
    known.means, known.spreads = [*known.means, mean][-RECENT:], [*known.spreads, spread][-RECENT:]
    known.held.append((leap, spread_leap, column.minimum, column.maximum, spread))
    while len(known.held) > (0 if of_reference or anew else RECENT):
        known.widen(*known.held.pop(0))


def _same(column: ColumnProfile) -> float:
    """Return the largest share of one bin among the values."""
    return max(column.counts[BELOW:]) / (column.n - column.missing)


def _is_constant(column: ColumnProfile) -> bool:
    if column.kind == "ordered":
        return column.minimum == column.maximum
    return max(column.counts[FIRST_BIN:OTHER]) == column.n - column.counts[MISSING]


def _spread(column: ColumnProfile) -> float:
    valid = column.n - column.missing
    return math.sqrt(max(column.squares / valid - column.mean**2, 0.0))
