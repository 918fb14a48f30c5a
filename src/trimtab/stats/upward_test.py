"""One-sided sequential test that a value a window, such as a loss, has increased.

For concept drift the value is the mean over matured labels of the loss minus the loss that the model itself
expected, so that harder cases alone raise no alarm. It serves for latency and missing values as well.
Upward only: a model that improves raises no alarm.

A window of fewer rows than usual varies more: its distance from the median is multiplied by sqrt(n / usual n), as if
all variation came from chance; a window of more rows is left as it is. Both err on the side of no alarm.

Of the stakes 0.6 bet on the window p (rank, and beyond it the tail), 0.4 on small lasting rises by smoothed
conformal ranks. What is theorem and what is heuristic is the same as in sequential.py.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from trimtab.errors import DataError
from trimtab.stats.autocorrelation import tempering
from trimtab.stats.evidence import Mixture, calibrate, p_floor, power_bets, smoothed_ranks
from trimtab.stats.holdback import POOL_LIMIT, Holdback, holdback_length
from trimtab.stats.schemes import Floats
from trimtab.stats.sequential import ENOUGH_WINDOWS, FEWEST_WINDOWS, HORIZON, SMALLEST_SHARE_OF_ROWS
from trimtab.stats.tail import GLOBAL_FLOOR, tail_p

WEIGHTS = (0.6, 0.4)
# Two constant references must not make an alarm of a rounding error.
RELATIVE_SD_FLOOR = 1e-9


WindowValue = tuple[float, int]
"""A window's value and its rows."""


@dataclass(frozen=True, kw_only=True)
class UpwardStep:
    """One window's value against the pool. `p` may open a review; only `p_seq` holds under repeated looks."""

    tested: bool
    """False: too few rows; the window is held and will be judged together with the next one."""
    value: float
    """The window's value, in its own unit."""
    expected: float
    """Mean over the pool."""
    rise_sd: float
    """How far the value lies above it, in standard deviations between windows of the pool."""
    p: float
    p_seq: float
    n: int
    """Rows of the window."""
    m: int
    """Windows it was compared with."""
    enough_reference: bool
    """False below 30 reference windows: show it, do not act on it automatically."""
    reason: str


class UpwardDetector:
    """Judges one value a window. `fit` makes one; `state` and `from_state` carry it over a restart.

    >>> losses = np.random.default_rng(0).normal(1.0, 0.1, size=40)
    >>> detector = UpwardDetector.fit(losses.tolist(), [500] * 40)
    >>> usual, risen = detector.step(1.05, 500), detector.step(2.0, 500)
    >>> usual.p > 0.01, risen.p < 0.01, round(risen.expected, 1)
    (True, True, 1.0)
    """

    def __init__(
        self,
        pool: Sequence[WindowValue],
        evidence: Mixture,
        holdback: Holdback[WindowValue],
        *,
        horizon: int,
        seed: int,
        reference_windows: int,
        min_rows: float,
        usual_rows: float,
        smallest_sd: float,
    ) -> None:
        self.horizon = horizon
        self.reference_windows = reference_windows
        self.min_rows = min_rows
        self.usual_rows = usual_rows
        self.smallest_sd = smallest_sd
        self._pool = list(pool)
        self._evidence = evidence
        self._holdback = holdback
        self._seed = seed
        self._steps = 0
        self._held: WindowValue | None = None

    @classmethod
    def fit(
        cls,
        values: Sequence[float],
        rows: Sequence[int],
        *,
        horizon: int = HORIZON,
        seed: int = 0,
        smallest_sd: float = 0.0,
        holdback: int | None = None,
    ) -> Self:
        """Return a detector for a value that behaves as it did over the reference windows.

        Args:
            values: the value of each reference window, in order of time; 30 or more before it may act.
            rows: rows (labels, requests) behind each of them. Windows under half of the median merge into the next.
            horizon: T in windows: P(p_seq is ever below a within T windows) <= a.
            seed: of the numbers that break ties between ranks.
            smallest_sd: spread between windows, in the unit of the values, below which differences are noise.
            holdback: windows to wait before one joins the pool; None: as many as suit the autocorrelation.

        Returns:
            The detector, which has judged no window yet.

        Raises:
            DataError: with fewer than three windows, and for values that are not finite.
        """
        if len(values) != len(rows):
            raise DataError(f"{len(values)} values but {len(rows)} row counts: expected one row count a value")
        if not np.all(np.isfinite(values)):
            raise DataError("a reference window has no finite value: leave windows without rows or labels out")
        min_rows = SMALLEST_SHARE_OF_ROWS * statistics.median(list(rows) or [0])
        pool = _merge_small(list(zip(values, rows, strict=True)), min_rows)
        if len(pool) < FEWEST_WINDOWS:
            raise DataError(
                f"{len(pool)} reference windows, expected {ENOUGH_WINDOWS} or more (at least {FEWEST_WINDOWS}): "
                "choose shorter windows or a longer reference period"
            )
        usual_rows = statistics.median([n for _, n in pool])
        tau = tempering([value for value, _ in pool])
        return cls(
            pool,
            Mixture(WEIGHTS, [np.array([tau]), np.array([tau])]),
            Holdback(holdback_length(tau) if holdback is None else holdback),
            horizon=horizon,
            seed=seed,
            reference_windows=len(pool),
            min_rows=min_rows,
            usual_rows=usual_rows,
            smallest_sd=smallest_sd,
        )

    @property
    def enough_reference(self) -> bool:
        """Whether automation may act on its results."""
        return self.reference_windows >= ENOUGH_WINDOWS

    def step(self, value: float, n: int) -> UpwardStep:
        """Judge the next window's value over its n rows. Raises DataError for rows without a finite value."""
        if n > 0 and not np.isfinite(value):
            raise DataError(f"the value of a window with {n} rows is {value}, expected a finite number")
        value, n = _mean([(value if n > 0 else 0.0, n), self._held or (0.0, 0)])
        if n < max(self.min_rows, 1):
            self._held = (value, n)
            return self._result(value, n, p=1.0, tested=False)
        self._held = None
        return self._judge(value, n)

    def state(self) -> dict[str, Any]:
        """Return the whole state, for JSON; a detector made from it continues bit for bit."""
        return {
            "pool": [list(window) for window in self._pool],
            "evidence": self._evidence.state(),
            "quarantine": self._holdback.length,
            "waiting": [list(window) for window in self._holdback.waiting],
            "held": list(self._held) if self._held else None,
            "steps": self._steps,
            "seed": self._seed,
            "horizon": self.horizon,
            "reference_windows": self.reference_windows,
            "min_rows": self.min_rows,
            "usual_rows": self.usual_rows,
            "smallest_sd": self.smallest_sd,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the detector whose `state` this is."""
        settings = ("horizon", "seed", "reference_windows", "min_rows", "usual_rows", "smallest_sd")
        detector = cls(
            [(value, n) for value, n in state["pool"]],
            Mixture.from_state(state["evidence"]),
            Holdback(state["quarantine"], [(value, n) for value, n in state["waiting"]]),
            **{name: state[name] for name in settings},
        )
        detector._steps = state["steps"]
        detector._held = (state["held"][0], state["held"][1]) if state["held"] else None
        return detector

    def _judge(self, value: float, n: int) -> UpwardStep:
        scores = self._scores([*self._pool, (value, n)])
        pool, current = scores[:-1], scores[-1]
        p = float(tail_p(pool, current, floor=GLOBAL_FLOOR * self._sd(pool)))
        uniform = np.random.default_rng((self._seed, self._steps)).random(1)
        rank = smoothed_ranks(pool[:, None], np.array([current]), uniform)
        self._evidence.bet([calibrate(np.maximum([p], p_floor(len(pool)))), power_bets(rank)[0]])
        self._steps += 1
        step = self._result(value, n, p=p, tested=True)
        if len(pool) < POOL_LIMIT:
            self._pool += self._holdback.admit((value, n), step.p_seq)
        return step

    def _scores(self, windows: Sequence[WindowValue]) -> Floats:
        """Return the value of each window; a value of few rows is drawn towards the median."""
        values = np.array([value for value, _ in windows])
        middle = float(np.median(values))
        trust = np.sqrt(np.minimum(1, np.array([n for _, n in windows]) / self.usual_rows))
        drawn_in: Floats = middle + (values - middle) * trust
        return drawn_in

    def _sd(self, pool: Floats) -> float:
        return max(float(pool.std(ddof=1)), self.smallest_sd, RELATIVE_SD_FLOOR * float(np.abs(pool).max()), 1e-300)

    def _result(self, value: float, n: int, *, p: float, tested: bool) -> UpwardStep:
        pool = np.array([value for value, _ in self._pool])
        expected = float(pool.mean())
        p_seq = self._evidence.p_value(self.horizon)
        reason = f"{value:.4g} where {expected:.4g} is usual ({len(pool)} windows): p {p:.2g}, sequential p {p_seq:.2g}"
        if not self.enough_reference:
            reason += f"; only {self.reference_windows} reference windows, {ENOUGH_WINDOWS} are needed to act"
        if not tested:
            reason = f"{n} rows, {self.min_rows:g} are needed: held until the next window"
        return UpwardStep(
            tested=tested,
            value=value,
            expected=expected,
            rise_sd=(value - expected) / self._sd(pool),
            p=p,
            p_seq=p_seq,
            n=n,
            m=len(pool),
            enough_reference=self.enough_reference,
            reason=reason,
        )


def _merge_small(windows: Sequence[WindowValue], min_rows: float) -> list[WindowValue]:
    """Merge every window of too few rows into the next one; a last one into the one before."""
    merged: list[WindowValue] = []
    held: WindowValue = (0.0, 0)
    for window in windows:
        held = _mean([window, held])
        if held[1] >= max(min_rows, 1):
            merged.append(held)
            held = (0.0, 0)
    if held[1] and merged:
        merged[-1] = _mean([merged[-1], held])
    return merged


def _mean(windows: Sequence[WindowValue]) -> WindowValue:
    """Return the mean of the values weighted by rows, and all the rows."""
    rows = sum(n for _, n in windows)
    return (sum(value * n for value, n in windows) / rows if rows else 0.0), rows
