"""The drift detector: profiles of windows in, p-values out that hold at every look.

Each window is scored against the pool of all others (score.py), gets a window p (tail.py), and its p-values become
bets whose stakes add up over windows (evidence.py): 0.36 on the window score, 0.18 on single columns, 0.36 on small
lasting shifts of a column's location or spread, 0.1 on correlations of columns. A window joins the pool after it was
held back.

What the number of rows alone does to a window is taken out (size.py), so that traffic may rise and fall.

Theorem: rank p-values of exchangeable windows with a pool that takes every window are independent and uniform, so
p_seq is valid at any time. Heuristic, held by measurement (benchmarks/drift): the tail beyond the rank, tempering for
autocorrelated windows, holdback and freeze.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from trimtab.errors import DataError
from trimtab.stats.autocorrelation import tempering
from trimtab.stats.correlation_test import CorrelationTest
from trimtab.stats.correlations import ENTRY
from trimtab.stats.effects import cut_spans, shares_moved, stability_index, wasserstein
from trimtab.stats.evidence import KAPPAS, Mixture, calibrate, p_floor, power_bets, smoothed_ranks
from trimtab.stats.holdback import POOL_LIMIT, Holdback, holdback_length
from trimtab.stats.profile import ColumnProfile, WindowProfile, merge_windows
from trimtab.stats.schemes import ABOVE, BELOW, MISSING, Bins, Floats, NumericBins, bins_from_dict
from trimtab.stats.score import Scores, score
from trimtab.stats.size import SizeEffect
from trimtab.stats.smallest import SMALLEST, Bools, Smallest
from trimtab.stats.step import ColumnDrift, CorrelationDrift, DriftStep
from trimtab.stats.tail import COLUMN_FLOOR, NAMED_BELOW, holm, tail_p
from trimtab.stats.window_pool import Encoded, WindowPool, pack, unpack
from trimtab.units import plural

ENOUGH_WINDOWS = 30
FEWEST_WINDOWS = 3
SMALLEST_SHARE_OF_ROWS = 0.5
HORIZON = 100
WEIGHTS = (0.36, 0.18, 0.36, 0.1)
COLUMNS_SHARE = 0.8
"""Part of a window's error that belongs to columns; the rest to correlations, where they are judged (Bonferroni)."""
CORRELATION_NAMED_BELOW = 0.01
TOP_COLUMNS = 3


class _Effects(NamedTuple):
    """How much the columns of a window changed, [d]; Wasserstein distances of the ordered ones, [o]."""

    moved: Floats
    psi: Floats
    distances: Floats
    enough: Bools
    """Whether by as much as counts."""


class DriftDetector:
    """Judges windows one after the other. `fit` makes one; `state` and `from_state` carry it over a restart.

    >>> from trimtab.stats.profile import profile
    >>> random = np.random.default_rng(0)
    >>> windows = [random.normal(size=500) for _ in range(40)]
    >>> schemes = {"x": NumericBins.from_reference(np.concatenate(windows))}
    >>> detector = DriftDetector.fit([{"x": profile(x, schemes["x"])} for x in windows], schemes=schemes)
    >>> usual = detector.step({"x": profile(random.normal(size=500), schemes["x"])})
    >>> moved = detector.step({"x": profile(random.normal(1.0, size=500), schemes["x"])})
    >>> usual.p > 0.01, moved.p < 0.01, moved.named
    (True, True, ('x',))
    """

    def __init__(
        self,
        pool: WindowPool,
        effect: SizeEffect,
        evidence: Mixture,
        holdback: Holdback[Encoded],
        correlations: CorrelationTest | None = None,
        *,
        smallest: Smallest = SMALLEST,
        horizon: int,
        seed: int,
        reference_windows: int,
        min_rows: float,
    ) -> None:
        self.horizon = horizon
        self.smallest = smallest
        """Smaller changes count for nothing."""
        self.reference_windows = reference_windows
        self.min_rows = min_rows
        """A window of fewer rows is held and judged together with the next one."""
        self._pool = pool
        self._effect = effect
        self._evidence = evidence
        self._holdback = holdback
        self._correlations = correlations
        self._seed = seed
        self._steps = 0
        self._held: dict[str, ColumnProfile] | None = None
        self._spans = cut_spans([bins for bins in pool.schemes.values() if isinstance(bins, NumericBins)])

    @classmethod
    def fit(
        cls,
        reference: Sequence[WindowProfile],
        *,
        schemes: Mapping[str, Bins],
        horizon: int = HORIZON,
        seed: int = 0,
        smallest: Smallest = SMALLEST,
    ) -> DriftDetector:
        """Return a detector for windows like those of the reference.

        Args:
            reference: windows in order of time, of the same length as those to come; 30 or more before it may act.
            schemes: the scheme of each column; other columns of a window are ignored.
            horizon: T in windows: P(p_seq is ever below a within T windows) <= a.
            seed: of the numbers that break ties between ranks; equal seeds give equal results.
            smallest: what a column or a pair of columns must at least have changed by to count.

        Returns:
            The detector, which has judged no window yet.

        Raises:
            DataError: with fewer than three windows, or when a window does not fit the schemes.
        """
        if horizon < 1:
            raise DataError(f"horizon is {horizon} windows, expected 1 or more, for example {HORIZON}")
        table = WindowPool(schemes)
        windows = [table.encode(window, reference=True) for window in reference]
        min_rows = SMALLEST_SHARE_OF_ROWS * statistics.median([w.rows for w in windows] or [0])
        for window in _merge_small(windows, min_rows):
            table.append(window)
        if table.size < FEWEST_WINDOWS:
            raise DataError(
                f"{table.size} reference windows, expected {ENOUGH_WINDOWS} or more (at least {FEWEST_WINDOWS}): "
                "choose shorter windows or a longer reference period"
            )
        effect = SizeEffect.fit(table.cells(), seed=seed)
        tempers = _tempers(score(table.cells(), effect))
        rows, y = table.transforms()
        judged = table.size == len(rows) and table.correlations.size > 0
        correlations = CorrelationTest.fit(table.correlations, rows, y) if judged else None
        wait = holdback_length(float(np.median(np.concatenate([tau.ravel() for tau in tempers]))))
        return cls(
            table,
            effect,
            Mixture(WEIGHTS, [*tempers, _temper(correlations.scores(rows, y)) if correlations else np.zeros(0)]),
            Holdback(wait),
            correlations,
            smallest=smallest,
            horizon=horizon,
            seed=seed,
            reference_windows=table.size,
            min_rows=min_rows,
        )

    @property
    def enough_reference(self) -> bool:
        """Whether automation may act on its results."""
        return self.reference_windows >= ENOUGH_WINDOWS

    def step(self, window: WindowProfile) -> DriftStep:
        """Judge the next window; raises DataError (and changes nothing) when it does not fit the schemes."""
        current = {name: window[name] for name in (*self._pool.names, ENTRY) if name in window}
        encoded = self._pool.encode(current)
        if self._held:
            current = _merge(self._held, current)
            encoded = self._pool.encode(current)
        self._held = current if encoded.rows < max(self.min_rows, 1) else None
        return self._hold(encoded) if self._held else self._judge(encoded)

    def column_p_seq(self) -> dict[str, float]:
        """Return p_seq of each column alone, from its own detectors; not adjusted for the number of columns."""
        distance, signed = (stakes.sum(axis=0) for stakes in self._evidence.stakes[1:3])
        d, o = len(self._pool.names), self._pool.ordered
        if distance.size < 2 * d:  # no window was judged yet
            return dict.fromkeys(self._pool.names, 1.0)
        own = (distance[:d] + distance[d:]) / 2
        if o:
            each = signed.reshape(2, o, KAPPAS.size)
            own[:o] = (own[:o] + each.mean(axis=(0, 2))) / 2
        p = np.minimum(1.0, self.horizon / np.maximum(own, np.finfo(np.float64).tiny))
        return dict(zip(self._pool.names, p.tolist(), strict=True))

    def with_reference(self, reference: Sequence[WindowProfile]) -> DriftDetector:
        """Return a detector that compares with these windows from now on, and keeps the evidence and what is held.

        Raises DataError as `fit` does.
        """
        found = DriftDetector.fit(
            reference, schemes=self._pool.schemes, horizon=self.horizon, seed=self._seed, smallest=self.smallest
        )
        found._evidence.continue_from(self._evidence)
        found._steps, found._held = self._steps, self._held
        return found

    def state(self) -> dict[str, Any]:
        """Return the whole state, for JSON; a detector made from it continues bit for bit."""
        return {
            "schemes": [[name, bins.to_dict()] for name, bins in self._pool.schemes.items()],
            "table": self._pool.state(),
            "effect": self._effect.state(),
            "evidence": self._evidence.state(),
            "correlations": self._correlations.state() if self._correlations else None,
            "smallest": asdict(self.smallest),
            "quarantine": self._holdback.length,
            "waiting": [
                [rows, pack(counts), None if sums is None else pack(sums)]
                for rows, counts, sums in self._holdback.waiting
            ],
            "held": {name: column.to_dict() for name, column in self._held.items()} if self._held else None,
            "steps": self._steps,
            "seed": self._seed,
            "horizon": self.horizon,
            "reference_windows": self.reference_windows,
            "min_rows": self.min_rows,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> DriftDetector:
        """Return the detector whose `state` this is."""
        table = WindowPool({name: bins_from_dict(bins) for name, bins in state["schemes"]})
        table.restore(state["table"])
        shape = (len(table.names), -1)
        waiting = [
            Encoded(rows, unpack(counts).reshape(shape), None if sums is None else unpack(sums))
            for rows, counts, sums in state["waiting"]
        ]
        found = state["correlations"]
        detector = cls(
            table,
            SizeEffect.from_state(state["effect"]),
            Mixture.from_state(state["evidence"]),
            Holdback(state["quarantine"], waiting),
            None if found is None else CorrelationTest.from_state(table.correlations, found),
            smallest=Smallest(**state["smallest"]),
            horizon=state["horizon"],
            seed=state["seed"],
            reference_windows=state["reference_windows"],
            min_rows=state["min_rows"],
        )
        detector._steps = state["steps"]
        if state["held"]:
            detector._held = {name: ColumnProfile.from_dict(data) for name, data in state["held"].items()}
        return detector

    def _judge(self, window: Encoded) -> DriftStep:
        scores = score(self._pool.cells_with(window), self._effect)
        m = self._pool.size
        effects = self._effects(window)
        counts = np.concatenate([effects.enough, np.ones_like(effects.enough)])  # gross rows always count
        largest = float(np.where(counts, scores.z[m], 0.0).max())
        p = float(tail_p(scores.largest[:m], largest))
        p_columns = tail_p(scores.distance[:m], scores.distance[m], floor=COLUMN_FLOOR)
        uniform = np.random.default_rng((self._seed, self._steps)).random(scores.signed[m].shape)
        upper = smoothed_ranks(scores.signed[:m], scores.signed[m], uniform)
        floor = p_floor(m)
        signed = np.tile(effects.enough[: self._pool.ordered], 2)[:, None]
        correlation = self._correlation(window)
        by_pair = np.ones(0) if self._correlations is None else np.ones(1)
        if correlation is not None:
            by_pair = calibrate(np.maximum([correlation.p], p_floor(m)))
        self._evidence.bet(
            [
                calibrate(np.maximum([p], floor)),
                _unless(counts, calibrate(np.maximum(p_columns, floor))),
                _unless(signed, power_bets(2 * np.minimum(upper, 1 - upper))),
                by_pair,
            ]
        )
        self._steps += 1
        if correlation is not None:
            p = min(1.0, p / COLUMNS_SHARE, correlation.p / (1 - COLUMNS_SHARE))
        step = self._result(window, effects, largest, p, scores.z[m], p_columns, correlation)
        if m < POOL_LIMIT:
            for joining in self._holdback.admit(window, step.p_seq):
                self._pool.append(joining)
        return step

    def _correlation(self, window: Encoded) -> CorrelationDrift | None:
        """Judge the window that the pool was last scored with."""
        if self._correlations is None or window.sums is None:
            return None
        return self._correlations.judge(*self._pool.transforms_with(), self.smallest.correlation)

    def _effects(self, window: Encoded) -> _Effects:
        _, pool = self._pool.totals()
        ordered = self._pool.ordered
        moved = shares_moved(window.counts, pool, ordered)
        distances = wasserstein(window.counts[:ordered], pool[:ordered], self._spans)
        enough = self.smallest.columns(moved, distances, window.counts, pool)
        return _Effects(moved, stability_index(window.counts, pool), distances, enough)

    def _result(
        self,
        window: Encoded,
        effects: _Effects,
        largest: float,
        p: float,
        z: Floats,
        p_columns: Floats,
        correlation: CorrelationDrift | None,
    ) -> DriftStep:
        columns = self._columns(window, effects, z, p_columns)
        enough = dict(zip(self._pool.names, effects.enough.tolist(), strict=True))
        top = [c.name for c in sorted(columns, key=lambda column: -column.z)[:TOP_COLUMNS]]
        if correlation is not None and correlation.p < min(column.p for column in columns) and correlation.z > 0:
            top = [*correlation.columns, *(name for name in top if name not in correlation.columns)][:TOP_COLUMNS]
        p_seq = self._evidence.p_value(self.horizon)
        return DriftStep(
            tested=True,
            score=largest,
            p=p,
            p_seq=p_seq,
            columns=columns,
            top=tuple(top),
            named=tuple(c.name for c in columns if c.holm < NAMED_BELOW and (enough[c.name] or c.gross > 0)),
            n=window.rows,
            m=self._pool.size,
            enough_reference=self.enough_reference,
            reason=self._reason(largest, p, p_seq, top, correlation),
            correlation=correlation,
        )

    def _columns(self, window: Encoded, effects: _Effects, z: Floats, p_columns: Floats) -> tuple[ColumnDrift, ...]:
        table, d, ordered = self._pool, len(self._pool.names), self._pool.ordered
        p = np.minimum(2 * np.minimum(p_columns[:d], p_columns[d:]), 1.0)  # two scores a column
        largest = np.maximum(z[:d], z[d:])
        adjusted = holm(p)
        gross = (window.counts[:, BELOW] + window.counts[:, ABOVE]) / window.rows
        missing = window.counts[:, MISSING] / window.rows
        distances = [sd if math.isfinite(sd) else None for sd in effects.distances.tolist()] + [None] * (d - ordered)
        each = (p, adjusted, largest, effects.moved, effects.psi, gross, missing)
        return tuple(
            ColumnDrift(
                name=name,
                kind="ordered" if i < ordered else "category",
                p=own,
                holm=holm_p,
                z=own_z,
                share_moved=moved,
                psi=psi,
                wasserstein_sd=distance,
                gross=gross_share,
                missing=missing_share,
            )
            for i, (name, distance, own, holm_p, own_z, moved, psi, gross_share, missing_share) in enumerate(
                zip(table.names, distances, *(values.tolist() for values in each), strict=True)
            )
        )

    def _reason(
        self, largest: float, p: float, p_seq: float, top: Sequence[str], correlation: CorrelationDrift | None
    ) -> str:
        later = self._pool.size - self.reference_windows
        joined = f" and {plural(later, 'later window')} without drift" if later else ""
        text = (
            f"score {largest:.1f} against {self.reference_windows} reference windows{joined}: "
            f"p {p:.2g}, sequential p {p_seq:.2g}, carried by {', '.join(top)}"
        )
        if correlation is not None and correlation.p < CORRELATION_NAMED_BELOW:
            first, second = correlation.columns
            text += (
                f"; the correlation of {first} and {second} is {correlation.correlation:.2f} "
                f"where {correlation.usual:.2f} is usual (p {correlation.p:.2g})"
            )
        if self.enough_reference:
            return text
        return f"{text}; only {self.reference_windows} reference windows, {ENOUGH_WINDOWS} are needed to act"

    def _hold(self, window: Encoded) -> DriftStep:
        return DriftStep(
            tested=False,
            score=0.0,
            p=1.0,
            p_seq=self._evidence.p_value(self.horizon),
            columns=(),
            top=(),
            named=(),
            n=window.rows,
            m=self._pool.size,
            enough_reference=self.enough_reference,
            reason=f"{window.rows} rows, {self.min_rows:g} are needed: held until the next window",
        )


def _merge_small(windows: Sequence[Encoded], min_rows: float) -> list[Encoded]:
    """Merge every window of too few rows into the next one; a last one into the one before."""
    merged: list[Encoded] = []
    held: Encoded | None = None
    for window in windows:
        whole = _add(held, window) if held else window
        held = whole if whole.rows < max(min_rows, 1) else None
        if held is None:
            merged.append(whole)
    if held and merged:
        merged[-1] = _add(merged[-1], held)
    return merged


def _add(a: Encoded, b: Encoded) -> Encoded:
    sums = None if a.sums is None or b.sums is None else a.sums + b.sums
    return Encoded(a.rows + b.rows, a.counts + b.counts, sums)


def _merge(a: WindowProfile, b: WindowProfile) -> dict[str, ColumnProfile]:
    """Merge two windows; correlations go when one of them was profiled without, or for other columns."""
    if ENTRY not in a or ENTRY not in b or a[ENTRY].scheme != b[ENTRY].scheme:
        a, b = ({name: window[name] for name in window if name != ENTRY} for window in (a, b))
    return merge_windows(a, b)


def _unless(enough: Bools, bets: Floats) -> Floats:
    """Return the bets; those on what changed too little win nothing."""
    held: Floats = np.where(enough, bets, np.minimum(bets, 1.0))
    return held


def _temper(values: Floats) -> Floats:
    return np.array([tempering(values)])


def _tempers(scores: Scores) -> list[Floats]:
    """Return tau of the window score, of each column's scores, and of each signed statistic (for all its bets).

    A reference without gross rows does not show whether those come alone or in spells (a new category stays for a
    season): the gross score is tempered at least as its column and as the median column.
    """

    def each(values: Floats) -> Floats:
        return np.array([tempering(column) for column in values.T])

    distance, gross = np.split(each(scores.distance), 2)
    gross = np.maximum(np.maximum(gross, distance), np.median(distance))
    signed = np.repeat(each(scores.signed)[:, None], KAPPAS.size, axis=1)
    return [each(scores.largest[:, None]), np.concatenate([distance, gross]), signed]
