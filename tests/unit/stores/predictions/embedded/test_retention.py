"""What is kept and what is deleted: nothing younger than the policy says, and no prediction without its label."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.clock import ManualClock, to_micros
from trimtab.stores.predictions.embedded.delta_archive import Archive
from trimtab.stores.predictions.embedded.row_merge import Integers
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.predictions import label_rows, prediction_rows

DAY_S = 86_400.0
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def predict(log: SegmentLog, name: str, moment: datetime) -> None:
    log.append(prediction_rows([name], logged_at=[to_micros(moment)]))


def add_label(log: SegmentLog, name: str, moment: datetime) -> None:
    log.append_labels(label_rows([name], received_at=[to_micros(moment)]))


def predicted(log: SegmentLog) -> set[str]:
    return set(SegmentLog(log.folder).read()[0]["prediction_id"].to_pylist())


def labelled(log: SegmentLog) -> set[str]:
    return set(SegmentLog(log.folder).read_labels()[0]["prediction_id"].to_pylist())


@settings(max_examples=6)
@given(
    waits=st.lists(st.integers(0, 100), min_size=2, max_size=6),
    keep_hours=st.integers(0, 90),
    step_hours=st.integers(15, 40),
)
def test_nothing_younger_goes_all_that_is_older_does_and_no_label_before_its_prediction(
    waits: list[int], keep_hours: int, step_hours: int
) -> None:
    """waits: hours from each prediction to its label."""
    with TemporaryDirectory() as folder:
        clock = ManualClock(NOW)
        log = SegmentLog(Path(folder), segment_rows=1, clock=clock)
        outcomes = SegmentLog(Path(folder), "outcomes", segment_rows=1, clock=clock)
        keep, step = timedelta(hours=keep_hours), timedelta(hours=step_hours)
        logged = {str(n): NOW + n * step for n in range(len(waits))}
        received = {str(n): logged[str(n)] + timedelta(hours=wait) for n, wait in enumerate(waits)}
        received_ids: set[str] = set()
        while clock.now() < NOW + timedelta(hours=200):
            for name in [name for name, moment in logged.items() if moment <= clock.now() < moment + step]:
                predict(log, name, logged[name])
            for name in [
                name for name, moment in received.items() if moment <= clock.now() and name not in received_ids
            ]:
                add_label(outcomes, name, received[name])
                received_ids.add(name)
            log.compact(grace_s=-1e12, keep_s=keep.total_seconds())
            now, midnight = clock.now(), (clock.now() - keep).replace(hour=0)
            kept, with_label = predicted(log), labelled(log)
            assert kept == {name for name, moment in logged.items() if midnight <= moment <= now}
            assert with_label == {name for name in received_ids if received[name] >= midnight}
            assert kept & received_ids <= with_label
            clock.sleep(step.total_seconds())
        log.close()
        outcomes.close()


class Midnight(ManualClock):
    """Each look at it is half a day later."""

    def now(self) -> datetime:
        self.sleep(DAY_S / 2)
        return super().now()


def test_midnight_in_the_middle_of_a_compaction_takes_no_label_from_a_prediction(tmp_path: Path) -> None:
    log = SegmentLog(tmp_path, clock=ManualClock(NOW))
    for day in range(6):
        predict(log, str(day), NOW + timedelta(days=day))
        add_label(log, str(day), NOW + timedelta(days=day))
    log.close()
    log.compact(grace_s=-1e12, keep_s=3e9)
    at = ManualClock(NOW + timedelta(days=4))
    SegmentLog(tmp_path, clock=Midnight(at.now())).compact(grace_s=-1e12, keep_s=2 * DAY_S)
    assert 0 < len(predicted(log)) < 6
    assert predicted(log) == labelled(log)


def test_a_reader_goes_on_while_rows_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = SegmentLog(tmp_path, segment_rows=1, clock=ManualClock(NOW))
    for day in range(6):
        predict(log, str(day), NOW + timedelta(days=day))
    log.close()
    log.compact(grace_s=-1e12, keep_s=3e9)
    later = SegmentLog(tmp_path, clock=ManualClock(NOW + timedelta(days=6)))
    segment, calls = Archive.segment, list[int]()

    def meanwhile(self: Archive, writer: str, number: int) -> tuple[pa.Table, Integers]:
        calls.append(number)
        if len(calls) == 2:
            assert later.compact(grace_s=-1e12, keep_s=3 * DAY_S).rows_dropped == 3
        return segment(self, writer, number)

    monkeypatch.setattr(Archive, "segment", meanwhile)
    found, cursor = log.read()
    assert found["prediction_id"].to_pylist() == ["3", "4", "5"]
    assert log.read(cursor)[0].num_rows == 0
    assert [row["prediction_id"] for name in "025" for row in log.find(name)] == ["5"]


def test_a_segment_that_is_not_in_the_tables_yet_keeps_its_rows(tmp_path: Path) -> None:
    log = SegmentLog(tmp_path, clock=ManualClock(NOW))
    predict(log, "old", NOW - timedelta(days=500))
    log.compact(grace_s=-1e12, keep_s=DAY_S)
    assert predicted(log) == {"old"}
    log.close()
    assert log.compact(grace_s=-1e12, keep_s=DAY_S).rows_dropped == 1
    assert predicted(log) == set()


class Wrong(ManualClock):
    """A clock that a test sets."""

    def set(self, moment: datetime) -> None:
        self._now = moment


def test_a_segment_ends_by_its_age_when_the_clock_goes_back(tmp_path: Path) -> None:
    clock = Wrong(NOW)
    log = SegmentLog(tmp_path, segment_age_s=60, clock=clock)
    predict(log, "a", NOW)
    clock.set(NOW - timedelta(days=1))
    log.sync()
    predict(log, "b", clock.now())
    clock.sleep(59)
    predict(log, "c", clock.now())
    assert len(list(tmp_path.glob("predictions-*"))) == 2
    assert log.read()[0]["prediction_id"].to_pylist() == ["a", "b", "c"]
    log.close()
