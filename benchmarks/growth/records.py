"""Makes the metadata store of a loop after n daily windows, and a log with the days that are not judged yet.

A real monitor makes the reference, the profiles and the signals of a hundred windows. The other windows repeat them at
other times. Labels are logged for every window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from trimtab.clock import EPOCH, ManualClock, from_micros
from trimtab.control.controller import Controller
from trimtab.monitoring.monitor import Monitor
from trimtab.monitoring.reference import Reference, build_reference
from trimtab.policy.model import Policy
from trimtab.policy.reader import parse_policy
from trimtab.records.monitoring import Profile, Signal, WindowReport
from trimtab.records.record import Record
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.metadata.embedded import SqliteMetadata
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.judged import RecordingActions, champion_revision
from trimtab.testing.streams import DAY, FIRST_DAY, NAMES, World, play, truth

MODEL = "delay"
POLICY = """
project: flights
impact: { currency: USD, cost: { false_negative: 40, false_positive: 5 } }
decide: { labels_mature_after: 1d }
"""
REFERENCE_DAYS, MADE, OPEN_DAYS = 60, 100, 4
LABELS_A_DAY = 50
WORLD = World(rows=200)
AT_A_TIME = 2_000


class Grown(NamedTuple):
    """A project's stores after n windows."""

    folder: Path
    policy: Policy
    reference: Reference

    def metadata(self) -> Metadata:
        """Open the metadata store."""
        return SqliteMetadata(self.folder / "metadata.db")

    def monitor(self, metadata: Metadata) -> Monitor:
        """Return a monitor as a new process makes it."""
        log, clock = SegmentLog(self.folder / "predictions"), ManualClock(EPOCH)
        checkpoint = self.folder / "monitor.json"
        return Monitor(metadata, log, self.policy, lambda model, version: self.reference, clock, checkpoint=checkpoint)

    def controller(self, metadata: Metadata) -> Controller:
        """Return a controller as a new process makes it."""
        return Controller(metadata, self.policy, MODEL, RecordingActions(), ManualClock(EPOCH))


def grow(folder: Path, windows: int, *, monitored: bool = True) -> Grown:
    """Write the records of so many windows, and the days behind them that a monitor has read but not judged.

    monitored: False leaves the monitor's reading out.
    """
    policy = parse_policy(POLICY)
    grown = Grown(folder, policy, _reference(policy))
    metadata = grown.metadata()
    metadata.put(champion_revision(1, 1))
    made = _made(folder / "made", grown)
    for first in range(0, windows, AT_A_TIME):
        batch: list[Record] = []
        for number in range(first, min(first + AT_A_TIME, windows)):
            batch += _moved(made[number % len(made)], number)
        metadata.put(*batch)
    log = SegmentLog(folder / "predictions")
    _label(log, windows)
    grown.controller(metadata).step()
    play(log, WORLD, range(windows, windows + OPEN_DAYS))
    log.close()
    if monitored:
        grown.monitor(metadata).step()
        grown.controller(metadata).step()
    metadata.close()
    return grown


def next_window(metadata: Metadata) -> None:
    """Write the records of one more window, not decided on yet."""
    window = metadata.find(WindowReport, model=MODEL, stage="matured", limit=1)[0]
    signals = metadata.find(Signal, model=MODEL, version=1, start=window.start)
    metadata.put(*_shifted([window, *signals], timedelta(days=10)))


def _reference(policy: Policy) -> Reference:
    days = [WORLD.day(n) for n in range(REFERENCE_DAYS)]
    X = np.concatenate([day.X for day in days])
    return build_reference(
        X,
        truth(X),
        np.concatenate([day.y for day in days]),
        np.concatenate([day.times for day in days]),
        NAMES,
        window=policy.decide.window,
        task="binary",
        threshold=policy.impact.threshold,
        costs=policy.impact.cost_for("binary"),
    )


def _made(folder: Path, grown: Grown) -> list[list[Record]]:
    """Return the records of some windows as the monitor makes them."""
    here = Grown(folder, grown.policy, grown.reference)
    folder.mkdir()
    play(SegmentLog(folder / "predictions"), WORLD, range(MADE + 3))
    book = here.metadata()
    here.monitor(book).step()
    kinds: tuple[type[Any], ...] = (WindowReport, Profile, Signal)
    by_start: dict[Any, list[Record]] = {}
    for kind in kinds:
        for record in book.find(kind, oldest_first=True):
            by_start.setdefault(record.start, []).append(record)
    book.close()
    return [by_start[start] for start in sorted(by_start)][:MADE]


def _moved(records: Sequence[Record], number: int) -> Iterator[Record]:
    first: Any = records[0]
    start = from_micros((FIRST_DAY + number) * DAY)
    yield from _shifted(records, start - first.start)


def _shifted(records: Sequence[Any], by: timedelta) -> Iterator[Any]:
    for record in records:
        start = record.start + by
        old, new = (time.isoformat().replace("+00:00", "Z") for time in (record.start, start))
        yield msgspec.structs.replace(record, id=record.id.replace(old, new), start=start, end=record.end + by)


def _label(log: SegmentLog, windows: int) -> None:
    for number in range(windows):
        known = (FIRST_DAY + number) * DAY + DAY // 2
        log.append_labels(
            {
                "prediction_id": [f"{MODEL}-old-{number}-{row}" for row in range(LABELS_A_DAY)],
                "model": [MODEL] * LABELS_A_DAY,
                "label": [1.0] * LABELS_A_DAY,
                "known_at": [known] * LABELS_A_DAY,
                "received_at": [known] * LABELS_A_DAY,
            }
        )
