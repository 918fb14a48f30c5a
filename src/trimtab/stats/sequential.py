"""The drift detector: profiles of windows in, p-values out that hold at every look.

Each window is scored against the pool of all others (score.py), gets a window p (tail.py), and its p-values become
bets whose stakes add up over windows (evidence.py): 0.4 on the window score, 0.2 on single columns, 0.4 on small
lasting shifts of a column's location or spread. A window joins the pool after it was held back.

What the number of rows alone does to a window is taken out (size.py), so that traffic may rise and fall.

Theorem: rank p-values of exchangeable windows with a pool that takes every window are independent and uniform, so
p_seq is valid at any time. Heuristic, held by measurement (benchmarks/drift): the tail beyond the rank, tempering for
autocorrelated windows, holdback and freeze.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trimtab.errors import DataError
from trimtab.stats.autocorrelation import tempering
from trimtab.stats.effects import cut_spans, shares_moved, stability_index, wasserstein
from trimtab.stats.evidence import KAPPAS, Mixture, calibrate, p_floor, power_bets, smoothed_ranks
from trimtab.stats.holdback import POOL_LIMIT, Holdback, holdback_length
from trimtab.stats.profile import ColumnProfile, WindowProfile, merge_windows
from trimtab.stats.schemes import ABOVE, BELOW, MISSING, Bins, Floats, NumericBins, bins_from_dict
from trimtab.stats.score import Scores, score
from trimtab.stats.size import SizeEffect
from trimtab.stats.step import ColumnDrift, DriftStep
from trimtab.stats.tail import COLUMN_FLOOR, NAMED_BELOW, holm, tail_p
from trimtab.stats.window_pool import Encoded, WindowPool, pack, unpack

ENOUGH_WINDOWS = 30
FEWEST_WINDOWS = 3
SMALLEST_SHARE_OF_ROWS = 0.5
HORIZON = 100
WEIGHTS = (0.4, 0.2, 0.4)


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
        *,
        horizon: int,
        seed: int,
        reference_windows: int,
        min_rows: float,
    ) -> None:
        self.horizon = horizon
        self.reference_windows = reference_windows
        self.min_rows = min_rows
        """A window of fewer rows is held and judged together with the next one."""
        self._pool = pool
        self._effect = effect
        self._evidence = evidence
        self._holdback = holdback
        self._seed = seed
        self._steps = 0
        self._held: dict[str, ColumnProfile] | None = None
        self._spans = cut_spans([bins for bins in pool.schemes.values() if isinstance(bins, NumericBins)])

    @classmethod
    def fit(
        cls, reference: Sequence[WindowProfile], *, schemes: Mapping[str, Bins], horizon: int = HORIZON, seed: int = 0
    ) -> DriftDetector:
        """Return a detector for windows like those of the reference.

        Args:
            reference: windows in order of time, of the same length as those to come; 30 or more before it may act.
            schemes: the scheme of each column; other columns of a window are ignored.
            horizon: T in windows: P(p_seq is ever below a within T windows) <= a.
            seed: of the numbers that break ties between ranks; equal seeds give equal results.

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
        wait = holdback_length(float(np.median(np.concatenate([tau.ravel() for tau in tempers]))))
        return cls(
            table,
            effect,
            Mixture(WEIGHTS, tempers),
            Holdback(wait),
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
        current = {name: window[name] for name in self._pool.names if name in window}
        encoded = self._pool.encode(current)
        if self._held:
            current = merge_windows(self._held, current)
            encoded = self._pool.encode(current)
        self._held = current if encoded.rows < max(self.min_rows, 1) else None
        return self._hold(encoded) if self._held else self._judge(encoded)

    def state(self) -> dict[str, Any]:
        """Return the whole state, for JSON; a detector made from it continues bit for bit."""
        return {
            "schemes": [[name, bins.to_dict()] for name, bins in self._pool.schemes.items()],
            "table": self._pool.state(),
            "effect": self._effect.state(),
            "evidence": self._evidence.state(),
            "quarantine": self._holdback.length,
            "waiting": [[window.rows, pack(window.counts)] for window in self._holdback.waiting],
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
        waiting = [Encoded(rows, unpack(counts).reshape(shape)) for rows, counts in state["waiting"]]
        detector = cls(
            table,
            SizeEffect.from_state(state["effect"]),
            Mixture.from_state(state["evidence"]),
            Holdback(state["quarantine"], waiting),
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
        p = float(tail_p(scores.largest[:m], scores.largest[m]))
        p_columns = tail_p(scores.distance[:m], scores.distance[m], floor=COLUMN_FLOOR)
        uniform = np.random.default_rng((self._seed, self._steps)).random(scores.signed[m].shape)
        upper = smoothed_ranks(scores.signed[:m], scores.signed[m], uniform)
        floor = p_floor(m)
        self._evidence.bet(
            [
                calibrate(np.maximum([p], floor)),
                calibrate(np.maximum(p_columns, floor)),
                power_bets(2 * np.minimum(upper, 1 - upper)),
            ]
        )
        self._steps += 1
        step = self._result(window, float(scores.largest[m]), p, scores.z[m], p_columns)
        if m < POOL_LIMIT:
            for joining in self._holdback.admit(window, step.p_seq):
                self._pool.append(joining)
        return step

    def _result(self, window: Encoded, largest: float, p: float, z: Floats, p_columns: Floats) -> DriftStep:
        columns = self._columns(window, z, p_columns)
        top = tuple(c.name for c in sorted(columns, key=lambda column: -column.z)[:3])
        p_seq = self._evidence.p_value(self.horizon)
        return DriftStep(
            tested=True,
            score=largest,
            p=p,
            p_seq=p_seq,
            columns=columns,
            top=top,
            named=tuple(column.name for column in columns if column.holm < NAMED_BELOW),
            n=window.rows,
            m=self._pool.size,
            enough_reference=self.enough_reference,
            reason=self._reason(largest, p, p_seq, top),
        )

    def _columns(self, window: Encoded, z: Floats, p_columns: Floats) -> tuple[ColumnDrift, ...]:
        table, d, ordered = self._pool, len(self._pool.names), self._pool.ordered
        _, pool = table.totals()
        p = np.minimum(2 * np.minimum(p_columns[:d], p_columns[d:]), 1.0)  # two scores a column
        largest = np.maximum(z[:d], z[d:])
        adjusted = holm(p)
        moved, psi = shares_moved(window.counts, pool, ordered), stability_index(window.counts, pool)
        distances = wasserstein(window.counts[:ordered], pool[:ordered], self._spans).tolist()
        gross = window.counts[:, BELOW] + window.counts[:, ABOVE]
        return tuple(
            ColumnDrift(
                name=name,
                kind="ordered" if i < ordered else "category",
                p=float(p[i]),
                holm=float(adjusted[i]),
                z=float(largest[i]),
                share_moved=float(moved[i]),
                psi=float(psi[i]),
                wasserstein_sd=distances[i] if i < ordered and np.isfinite(distances[i]) else None,
                gross=float(gross[i] / window.rows),
                missing=float(window.counts[i, MISSING] / window.rows),
            )
            for i, name in enumerate(table.names)
        )

    def _reason(self, largest: float, p: float, p_seq: float, top: tuple[str, ...]) -> str:
        text = (
            f"score {largest:.1f} against {self._pool.size} windows: p {p:.2g}, sequential p {p_seq:.2g}, "
            f"carried by {', '.join(top)}"
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
    return Encoded(a.rows + b.rows, a.counts + b.counts)


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
