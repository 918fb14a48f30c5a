"""A log, a book of records, and monitors on them: what the tests of the whole monitor stand on."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from trimtab.clock import EPOCH, ManualClock
from trimtab.definitions.impact_function import ImpactFunction
from trimtab.monitoring.monitor import Monitor
from trimtab.monitoring.reference import Reference, build_reference
from trimtab.policy.model import Policy
from trimtab.policy.reader import parse_policy
from trimtab.records.monitoring import Profile, Signal, WindowReport
from trimtab.records.record import Record, SignalKind
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.predictions.contract import Predictions
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.streams import NAMES, Variant, World, truth

POLICY = parse_policy(
    """
project: flights
impact: { currency: USD, cost: { false_negative: 40, false_positive: 5 } }
decide: { labels_mature_after: 1d }
"""
)
DAYS = 60
QUIET = World()
VARIANTS = (Variant(version=1), Variant(version=2, role="challenger", worse=True, failing=0.02))


@cache
def reference(function: ImpactFunction | None = None) -> Reference:
    """Return the reference of the quiet world's first days."""
    every = [QUIET.day(n) for n in range(DAYS)]
    X = np.concatenate([day.X for day in every])
    return build_reference(
        X,
        truth(X),
        np.concatenate([day.y for day in every]),
        np.concatenate([day.times for day in every]),
        NAMES,
        window=POLICY.decide.window,
        task="binary",
        threshold=POLICY.impact.threshold,
        costs=POLICY.impact.cost_for("binary"),
        impact_function=function,
    )


class Bench:
    """A log, a book of records, and monitors on them."""

    def __init__(self, folder: Path) -> None:
        self.log: Predictions = SegmentLog(folder / "log", segment_rows=5_000)
        self.book: Metadata = SqlMetadata(folder / "metadata.db")
        self.checkpoint = folder / "monitor.json"

    def monitor(
        self,
        *,
        book: Metadata | None = None,
        policy: Policy = POLICY,
        known: Reference | bool | None = True,
        function: ImpactFunction | None = None,
    ) -> Monitor:
        """Return a new monitor, as a new process would make it."""
        found = reference(function) if known is True else known or None
        book, clock = book or self.book, ManualClock(EPOCH)
        return Monitor(
            book,
            self.log,
            policy,
            lambda model, version: found,
            clock,
            checkpoint=self.checkpoint,
            impact_functions={} if function is None else {"delay": function},
        )

    def reports(self, stage: str = "matured", **where: Any) -> list[WindowReport]:
        """Return reports, oldest first."""
        return list(self.book.find(WindowReport, oldest_first=True, stage=stage, **where))

    def signals(self, kind: SignalKind, subject: str = "all", version: int = 1) -> list[Signal]:
        """Return the signals of a kind, oldest first."""
        found = self.book.find(Signal, oldest_first=True, kind=kind, version=version)
        return [s for s in found if s.subject == subject]

    def content(self) -> dict[str, bytes]:
        """Return all records but for when they were written."""
        return content(self.book)

    def close(self) -> None:
        """Close what was opened."""
        self.log.close()
        self.book.close()


def content(book: Metadata) -> dict[str, bytes]:
    """Return all records of a book but for when they were written."""
    kinds: tuple[type[Record], ...] = (WindowReport, Profile, Signal)
    found = [record for kind in kinds for record in book.find(kind)]
    return {r.id: msgspec.json.encode(msgspec.structs.replace(r, created_at=EPOCH)) for r in found}


def lowest(signals: Iterable[Signal]) -> float:
    """Return the smallest sequential p-value of some signals."""
    return min(s.p_seq for s in signals if s.p_seq is not None)
