"""The records of one version in one window: reports, profiles and signals. Their ids hold model, version and start."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from trimtab.clock import from_micros
from trimtab.monitoring.event_windows import Span
from trimtab.monitoring.prediction_rows import Scored
from trimtab.records.monitoring import Profile, Signal, WindowReport
from trimtab.records.record import SignalKind
from trimtab.stats.profile import WindowProfile
from trimtab.stats.step import ColumnDrift, DriftStep
from trimtab.stats.upward_test import UpwardStep
from trimtab.stats.usual_sizes import UsualEffects


@dataclass(frozen=True, kw_only=True)
class VersionWindow:
    """One version in one window; makes its records. now: when they are written."""

    model: str
    version: int
    span: Span
    now: datetime

    @property
    def start(self) -> datetime:
        """Start of the window."""
        return from_micros(self.span.start)

    @property
    def end(self) -> datetime:
        """End of the window, which does not belong to it."""
        return from_micros(self.span.end)

    @property
    def id(self) -> str:
        """Prefix of the ids of all records of this version and window."""
        return f"{self.model}/v{self.version}/{self.start.isoformat().replace('+00:00', 'Z')}"

    def report(
        self, stage: Literal["closed", "matured"], scored: Scored, metrics: Mapping[str, float], *, labelled: int = 0
    ) -> WindowReport:
        """Return the report of a stage; metrics that are not finite are left out."""
        return WindowReport(
            id=f"{self.id}/{stage}",
            created_at=self.now,
            model=self.model,
            version=self.version,
            role=scored.role,
            stage=stage,
            start=self.start,
            end=self.end,
            rows=scored.rows,
            served_rows=scored.served,
            labelled=labelled,
            coverage=labelled / scored.rows,
            metrics={name: float(value) for name, value in metrics.items() if math.isfinite(value)},
        )

    def profile(self, columns: WindowProfile, rows: int) -> Profile:
        """Return the record of the window's profiles."""
        return Profile(
            id=f"{self.id}/profile",
            created_at=self.now,
            model=self.model,
            version=self.version,
            start=self.start,
            end=self.end,
            rows=rows,
            columns={name: column.to_dict() for name, column in columns.items()},
        )

    def signal(
        self,
        kind: SignalKind,
        *,
        statistic: str,
        value: float,
        rows: int,
        reason: str,
        subject: str = "all",
        p: float | None = None,
        p_seq: float | None = None,
        effect: Mapping[str, float | None] | None = None,
        reference_windows: int = 0,
        carriers: tuple[str, ...] = (),
        compared_with: str = "",
    ) -> Signal:
        """Return a signal; effects that are None are left out."""
        return Signal(
            id=f"{self.id}/{kind}/{subject}",
            created_at=self.now,
            model=self.model,
            version=self.version,
            kind=kind,
            subject=subject,
            start=self.start,
            end=self.end,
            statistic=statistic,
            value=float(value),
            p=p,
            p_seq=p_seq,
            effect={name: float(size) for name, size in (effect or {}).items() if size is not None},
            rows=rows,
            reference_windows=reference_windows,
            carriers=carriers,
            reason=reason,
            compared_with=compared_with,
        )

    def drift(
        self, kind: SignalKind, step: DriftStep, reference_windows: int, usual: UsualEffects, about: str
    ) -> Signal:
        """Return the overall signal of a drift detector. about: which windows it was compared with, in words."""
        furthest = usual.furthest(step.columns)
        own = usual.sizes(furthest.name) if furthest is not None and len(step.columns) == 1 else {}
        return self.signal(
            kind,
            statistic="largest leave-one-out z-score",
            value=step.score,
            p=step.p if step.tested else None,
            p_seq=step.p_seq,
            effect={
                "max_share_moved": step.share_moved,
                "psi": step.psi,
                "wasserstein_sd": step.wasserstein_sd,
                "pool_windows": step.m,
                "times_usual": usual.of_window(step.columns) if step.columns else None,
                **own,
            },
            rows=step.n,
            reference_windows=reference_windows,
            carriers=step.top,
            reason=step.reason,
            compared_with=about,
        )

    def columns(
        self, step: DriftStep, reference_windows: int, usual: UsualEffects, *, kind: SignalKind = "data"
    ) -> list[Signal]:
        """Return the signals of the columns that carry the score, and of the one furthest from what is usual for it."""
        furthest = usual.furthest(step.columns)
        names = dict.fromkeys([*step.top, *([furthest.name] if furthest is not None else [])])
        return [self._column(kind, step.column(name), step, reference_windows, usual) for name in names]

    def _column(
        self, kind: SignalKind, column: ColumnDrift, step: DriftStep, reference_windows: int, usual: UsualEffects
    ) -> Signal:
        """Return the signal of one column; columns have no sequential p-value of their own."""
        sizes = usual.sizes(column.name)
        moved = f"{column.share_moved:.1%} of the rows moved"
        if (median := sizes.get("max_share_moved_usual")) is not None:
            moved += f" where {median:.1%} are usual"
        sure = "it moved" if column.name in step.named else "may be chance"
        return self.signal(
            kind,
            subject=column.name,
            statistic="leave-one-out z-score",
            value=column.z,
            p=column.p,
            effect={
                "max_share_moved": column.share_moved,
                "psi": column.psi,
                "wasserstein_sd": column.wasserstein_sd,
                "holm": column.holm,
                "gross": column.gross,
                "missing": column.missing,
                **({"times_usual": usual.times(column)} if sizes else {}),
                **sizes,
            },
            rows=step.n,
            reference_windows=reference_windows,
            reason=(f"{moved}; p {column.p:.2g}, {column.holm:.2g} corrected for all columns (Holm): {sure}"),
        )

    def upward(
        self, kind: SignalKind, step: UpwardStep, *, statistic: str, value: float, rows: int, reference_windows: int
    ) -> Signal:
        """Return the signal of an upward detector; value and rows are the window's own."""
        return self.signal(
            kind,
            statistic=statistic,
            value=value,
            p=step.p if step.tested else None,
            p_seq=step.p_seq,
            effect={"expected": step.expected, "rise_sd": step.rise_sd, "pool_windows": step.m},
            rows=rows,
            reference_windows=reference_windows,
            reason=step.reason,
        )
