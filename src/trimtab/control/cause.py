"""What a decision is about: one champion window with its signals."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from trimtab.records.monitoring import ABSOLUTE, CHECKS, IMPACT, KPI_LOST, MONEY_GAIN, VIEW, Signal, WindowReport
from trimtab.records.record import SignalKind
from trimtab.stores.metadata.contract import Metadata

COUNTED: tuple[SignalKind, ...] = ("data", "prediction", "concept", "quality")
"""Kinds whose p-values choose the band: drift of the inputs, drift of the score, unexpected mistakes, missing values.

The score weighs the inputs as the model does, so it can show a drift that is spread too thin over them."""

STARTS_A_QUERY = 300
"""Windows that are looked up together."""


@dataclass(frozen=True, kw_only=True)
class Cause:
    """One window of a champion, and everything that was measured on it."""

    window: WindowReport
    signals: tuple[Signal, ...]
    losses: tuple[float, ...] = ()
    """Money lost a day beyond what is expected, by window, over the policy's stretch up to this window."""
    totals: tuple[float, ...] = ()
    """Money lost a day in all, in the same windows."""
    rivals: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    """Money a day that another version would have saved on the same rows, by version: one value for each window of the
    stretch in which it was compared with this champion."""
    lengths: tuple[float, ...] = ()
    """How long each of these windows is, in windows of the policy; left out, one each."""
    over: float = 1.0
    """How many windows the stretch holds."""
    kpis: tuple[Signal, ...] = ()
    """The newest signal of each KPI stream within the stretch, by name."""
    kpi_losses: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """By KPI that counts as money lost: how much worse than usual each window of the stretch was, as money a day."""

    def signal(self, kind: SignalKind, subject: str = "all") -> Signal | None:
        """Return the signal of a kind, or None when it was not measured."""
        return next((s for s in self.signals if s.kind == kind and s.subject == subject), None)

    @property
    def p_seq(self) -> float:
        """Sequential p-value of the window: the smallest of the counted kinds, times how many there are.

        Each kind keeps its promise alone; the factor (Bonferroni) keeps it for all of them together.
        """
        return _combined([s.p_seq for s in self._counted() if s.p_seq is not None])

    @property
    def p(self) -> float:
        """The same of the p-values of this window alone."""
        return _combined([s.p for s in self._counted() if s.p is not None])

    @property
    def harm_p_seq(self) -> float:
        """Sequential p-value of the mistakes that the model did not expect; 1 without labels."""
        concept = self.signal("concept")
        return 1.0 if concept is None or concept.p_seq is None else concept.p_seq

    @property
    def impact_per_day(self) -> float | None:
        """Money lost a day by mistakes beyond what is expected, averaged over the stretch; None when not known.

        Windows that the stretch lacks, such as those before a version began to serve, count as usual: so one window
        decides no more than its part of the stretch.
        """
        if self.losses:
            lengths = self.lengths or (1.0,) * len(self.losses)
            return math.fsum(map(operator.mul, self.losses, lengths)) / max(self.over, math.fsum(lengths))
        kpi = self.signal("kpi")
        return None if kpi is None else kpi.value

    @property
    def has_money(self) -> bool:
        """Return True if what mistakes cost was measured in any window of the stretch."""
        return bool(self.losses or self.rivals) or self.signal("kpi") is not None

    @property
    def no_money(self) -> str:
        """Why the project's impact function gave no money for this window; empty when it did, or there is none."""
        failed = self.signal("error", IMPACT)
        return "" if failed is None else failed.reason

    @property
    def unexpected(self) -> Signal | None:
        """How many rows hold values that the checks of the request columns do not expect; None when not measured."""
        return self.signal("quality", CHECKS)

    @property
    def broken(self) -> tuple[Signal, ...]:
        """Columns that an absolute rule fired on, such as one that is missing in all rows."""
        return tuple(s for s in self.signals if s.kind == "quality" and s.subject.startswith(ABSOLUTE))

    @property
    def stale(self) -> tuple[Signal, ...]:
        """Views whose values were older than the policy allows."""
        views = (s for s in self.signals if s.kind == "freshness" and s.subject.startswith(VIEW))
        return tuple(s for s in views if s.value > s.effect["limit"])

    @property
    def segments(self) -> tuple[Signal, ...]:
        """The segment whose mistakes are most surely more than expected; empty when none is looked at."""
        return tuple(s for s in self.signals if s.kind == "concept" and s.subject != "all")

    @property
    def reference_windows(self) -> int:
        """How many reference windows the inputs were compared with; 0 without a reference."""
        data = self.signal("data")
        return 0 if data is None else data.reference_windows

    def _counted(self) -> list[Signal]:
        return [s for kind in COUNTED if (s := self.signal(kind)) is not None]


def gather(metadata: Metadata, window: WindowReport, *, over: int, size: int) -> Cause:
    """Return the cause of a window.

    over: how far back losses are averaged, this window included. size: of a window. Both in microseconds.
    """
    found = metadata.find(Signal, oldest_first=True, model=window.model, version=window.version, start=window.start)
    stretch = _stretch(metadata, window, over, size)
    losses = [s for s in stretch if s.subject == "all"]
    lengths = tuple((s.end - s.start) / timedelta(microseconds=size) for s in losses)
    return Cause(
        window=window,
        signals=tuple(found),
        losses=tuple(s.value for s in losses),
        totals=tuple(s.effect["per_day"] for s in losses if "per_day" in s.effect),
        rivals=_rivals(metadata, window, over, size),
        lengths=lengths,
        over=-(-over // size),
        kpi_losses=_kpi_losses(stretch),
        kpis=tuple(sorted({s.subject: s for s in stretch if s.subject != "all"}.values(), key=lambda s: s.subject)),
    )


def _kpi_losses(stretch: Sequence[Signal]) -> dict[str, tuple[float, ...]]:
    found: dict[str, list[float]] = {}
    for signal in stretch:
        if signal.subject != "all" and KPI_LOST in signal.effect:
            found.setdefault(signal.subject, []).append(signal.effect[KPI_LOST])
    return {name: tuple(values) for name, values in sorted(found.items())}


def _rivals(metadata: Metadata, window: WindowReport, over: int, size: int) -> dict[int, tuple[float, ...]]:
    """Return what other versions would have saved a day, by version, in windows of the stretch."""
    starts = [window.end - timedelta(microseconds=size) * back for back in range(1, -(-over // size) + 1)]
    found: dict[int, list[float]] = {}
    for first in range(0, len(starts), STARTS_A_QUERY):
        some = tuple(starts[first : first + STARTS_A_QUERY])
        for report in metadata.find(WindowReport, model=window.model, stage="matured", start=some, oldest_first=True):
            gain = report.metrics.get(MONEY_GAIN)
            if gain is not None and report.metrics.get("paired_version") == window.version and report.end <= window.end:
                days = (report.end - report.start) / timedelta(microseconds=size)
                found.setdefault(report.version, []).append(gain * report.rows / days)
    return {version: tuple(values) for version, values in sorted(found.items())}


def _stretch(metadata: Metadata, window: WindowReport, over: int, size: int) -> list[Signal]:
    """Return the signals of money lost and of KPIs, by window of the stretch, oldest first."""
    starts = [window.end - timedelta(microseconds=size) * back for back in range(1, -(-over // size) + 1)]
    found = [
        signal
        for first in range(0, len(starts), STARTS_A_QUERY)
        for signal in metadata.find(
            Signal,
            model=window.model,
            version=window.version,
            kind="kpi",
            start=tuple(starts[first : first + STARTS_A_QUERY]),
        )
    ]
    return sorted((s for s in found if s.end <= window.end), key=lambda s: s.start)


def _combined(values: list[float]) -> float:
    return min(1.0, len(values) * min(values)) if values else 1.0
