"""Counts and the place of the newest rows: the same as of a log that is read whole, whatever form its rows are in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trimtab.clock import ManualClock, from_micros
from trimtab.stores.predictions.contract import Count
from trimtab.stores.predictions.embedded import row_counts
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.predictions import label_rows, prediction_rows


@pytest.fixture(autouse=True, scope="module")
def _noted_at_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_counts, "NOTED_AFTER", 1)
        yield


NOW = 1_772_366_400_000_000


def append(folder: Path, writer: str, sizes: list[int], *, at: int) -> None:
    """Write appends of some sizes, a segment every five rows."""
    log = SegmentLog(folder, writer, segment_rows=5, clock=ManualClock(from_micros(NOW)))
    for n, size in enumerate(sizes):
        ids = [f"{writer}-{at}-{n}-{row}" for row in range(size)]
        log.append(prediction_rows(ids, logged_at=[NOW + 10 * n + at] * size))
        log.append_labels(label_rows(ids[:1], received_at=[NOW] * len(ids[:1])))
    log.close()


SIZES = st.lists(st.integers(1, 7), max_size=8)


@settings(max_examples=25)
@given(
    st.lists(SIZES, min_size=1, max_size=3),
    st.sampled_from(["none", "kept", "gone", "both"]),
    SIZES,
    st.integers(1, 40),
)
@example([[3, 3, 3]], "both", [3, 3, 3], 4)
def test_they_are_those_of_a_log_that_is_read_whole(
    writers: list[list[int]], compacted: str, later: list[int], rows: int
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        for n, sizes in enumerate(writers):
            append(folder, str(n), sizes, at=n)
        log = SegmentLog(folder, clock=ManualClock(from_micros(NOW)))
        log.count()
        if compacted in ("gone", "both"):
            log.compact(grace_s=-1e12, keep_s=3e9)
        append(folder, "0", later, at=1000)
        if compacted in ("kept", "both"):  # rows are in the table as well, but read from files, which have grace
            log.compact(grace_s=1e12, keep_s=3e9)
        log.count()
        append(folder, "1", later, at=2000)
        whole = log.read()[0]
        newest = log.read(log.tail(rows))[0]
        assert log.count() == Count(whole.num_rows, log.read_labels()[0].num_rows)
        assert newest.slice(max(0, newest.num_rows - rows)).equals(whole.slice(max(0, whole.num_rows - rows)))
        assert newest.num_rows <= max(2, len(writers)) * (rows + 6)  # whole appends


def test_a_damaged_row_is_not_counted(tmp_path: Path) -> None:
    append(tmp_path, "0", [1, 1, 1], at=0)
    path = tmp_path / "predictions-0-000001.frames"
    data = bytearray(path.read_bytes())
    data[data.index(b"0-0-1-0")] ^= 1
    path.write_bytes(data)
    log = SegmentLog(tmp_path)
    assert log.count() == Count(2, 3)
    assert log.read(log.tail(2))[0]["prediction_id"].to_pylist() == ["0-0-0-0", "0-0-2-0"]


def test_a_count_goes_on_from_the_last_one(tmp_path: Path) -> None:
    # given a segment that was counted, and damage that does not show in the time of change
    append(tmp_path, "0", [1, 1, 1], at=0)
    path = tmp_path / "predictions-0-000001.frames"
    assert SegmentLog(tmp_path).count() == Count(3, 3)
    before, data = path.stat(), bytearray(path.read_bytes())
    data[data.index(b"0-0-1-0")] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    # then it is not read again, until something has changed it
    assert SegmentLog(tmp_path).count() == Count(3, 3)
    os.utime(path)
    for _ in range(2):
        assert SegmentLog(tmp_path).count() == Count(2, 3)
    # and what a shorter file has lost is not counted
    path.write_bytes(data[: data.index(b"0-0-2-0")])
    assert SegmentLog(tmp_path).count() == Count(1, 3)


def test_a_note_of_counts_that_cannot_be_read_is_a_hint_that_is_missing(tmp_path: Path) -> None:
    append(tmp_path, "0", [2, 2], at=0)
    assert SegmentLog(tmp_path).count() == Count(4, 2)
    for content in (b"", b"[1, 2]", b'{"a": "\xff"}'):
        (tmp_path / "counted-predictions.json").write_bytes(content)
        assert SegmentLog(tmp_path).count() == Count(4, 2)
