"""The windows of a model that are written: the monitor continues after them when it restarts."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from trimtab.clock import to_micros
from trimtab.monitoring.event_windows import BEGINNING
from trimtab.records.monitoring import WindowReport
from trimtab.stores.metadata.contract import Metadata, latest, newest_until


@dataclass
class WrittenWindows:
    """Windows of one model by their start in microseconds; windows are closed, and matured, in order of time."""

    closed: dict[int, dict[int, WindowReport]] = field(default_factory=lambda: defaultdict(dict))
    """Closed but not matured: reports by version."""
    matured_until: int = BEGINNING
    """End of the newest matured window; earlier rows are ignored."""

    def end(self, start: int) -> int | None:
        """Return the end of a closed window, or None when none is stored that starts there."""
        reports = self.closed.get(start)
        return to_micros(next(iter(reports.values())).end) if reports else None


def read_written(metadata: Metadata, model: str) -> WrittenWindows:
    """Read what is stored of a model: no more than the newest matured window, and the closed ones behind it."""
    matured = latest(metadata, WindowReport, model=model, stage="matured")
    found = WrittenWindows(matured_until=to_micros(matured.end) if matured else BEGINNING)
    behind = newest_until(
        metadata, WindowReport, lambda report: to_micros(report.end) <= found.matured_until, model=model, stage="closed"
    )
    for report in behind:
        found.closed[to_micros(report.start)][report.version] = report
    return found
