"""The result of a drift detector for one window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ColumnDrift:
    """One column of one window."""

    name: str
    kind: Literal["ordered", "category"]
    p: float
    """Window p of this column alone."""
    holm: float
    """p adjusted for the number of columns (Holm)."""
    z: float
    """Its part in the window score: standard deviations above the other windows."""
    share_moved: float
    """Largest share of rows that moved across one threshold, or into or out of one category."""
    psi: float
    wasserstein_sd: float | None
    """In reference standard deviations; None for a category and for a constant column."""
    gross: float
    """Share of rows far out of range, or of categories that the reference does not have."""
    missing: float
    """Share of rows without a value."""


@dataclass(frozen=True, kw_only=True)
class CorrelationDrift:
    """How the pair of ordered columns whose correlation changed most surely goes together in one window."""

    columns: tuple[str, str]
    correlation: float
    """Of their levels (correlations.py), between -1 and 1."""
    usual: float
    """The same over the windows that it was compared with."""
    z: float
    """Standard deviations between the two."""
    p: float
    """Window p over all pairs."""


@dataclass(frozen=True, kw_only=True)
class DriftStep:
    """One window against the pool. `p` may open a review; only `p_seq` holds under repeated looks."""

    tested: bool
    """False: too few rows; the window is held and will be judged together with the next one."""
    score: float
    p: float
    """Window p-value: one look at one window."""
    p_seq: float
    """Anytime-valid: the chance that it is ever below a within the horizon is at most a."""
    columns: tuple[ColumnDrift, ...]
    top: tuple[str, ...]
    """The three columns that carry the score, strongest first."""
    named: tuple[str, ...]
    """The columns with Holm's p below 0.05."""
    n: int
    """Rows of the window."""
    m: int
    """Windows it was compared with."""
    enough_reference: bool
    """False below 30 reference windows: show it, do not act on it automatically."""
    reason: str
    correlation: CorrelationDrift | None = None
    """None without two ordered columns, or when windows were profiled without the sums of correlations."""

    def column(self, name: str) -> ColumnDrift:
        """Return one column; raises KeyError when it is not watched."""
        return {column.name: column for column in self.columns}[name]

    @property
    def share_moved(self) -> float:
        """Largest share moved over all columns."""
        return max((column.share_moved for column in self.columns), default=0.0)

    @property
    def psi(self) -> float:
        """Largest population stability index over all columns."""
        return max((column.psi for column in self.columns), default=0.0)

    @property
    def wasserstein_sd(self) -> float:
        """Largest Wasserstein distance over all ordered columns, in reference standard deviations."""
        return max((column.wasserstein_sd or 0.0 for column in self.columns), default=0.0)
