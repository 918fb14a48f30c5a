"""Damage in the middle of a segment: left out, counted and reported once; all other rows are read."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from trimtab.stores.predictions.embedded.frames import END, MARKER, Frame, frame_at
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.stores.predictions.embedded.segment_scan import Damages, scan
from trimtab.stores.predictions.packed_rows import rows_of
from trimtab.testing.predictions import prediction_rows

NAME = "predictions-0-000001.frames"
IDS = ["a", "b", "c", "d"]


def ids_in(log: SegmentLog) -> list[str]:
    return list(log.read()[0]["prediction_id"].to_pylist())


def ids_scanned(path: Path) -> list[str]:
    """Return the ids in a segment, without the cost of a table for each of thousands of files."""
    messages = scan(path, "predictions", Damages(quiet=True))
    return [row["prediction_id"] for message in messages for row in rows_of(message.body, "predictions")]


def frames(data: bytes) -> list[Frame]:
    found, end = [], 0
    while (frame := frame_at(memoryview(data), end)) is not None:
        found.append(frame)
        end = frame.end
    return found


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    """A segment of four frames of one row each, not ended."""
    log = SegmentLog(tmp_path)
    for name in IDS:
        log.append(prediction_rows([name]))
    return tmp_path / NAME


def turn_over(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


@pytest.mark.parametrize("number", [0, 1, 3])
def test_any_bit_of_a_frame_costs_that_frame_and_no_other(segment: Path, number: int) -> None:
    whole = segment.read_bytes()
    frame = frames(whole)[number]
    others = [name for n, name in enumerate(IDS) if n != number]
    for byte in range(frame.start, frame.end):
        segment.write_bytes(whole)
        turn_over(segment, 8 * byte + byte % 8)
        assert ids_scanned(segment) == others, f"byte {byte - frame.start}"
    assert ids_in(SegmentLog(segment.parent)) == others


def test_damage_is_told_once_with_file_offset_and_rows(segment: Path, caplog: pytest.LogCaptureFixture) -> None:
    frame = frames(segment.read_bytes())[1]
    turn_over(segment, 8 * (frame.end - 100))
    log = SegmentLog(segment.parent)
    with caplog.at_level(logging.ERROR):
        assert ids_in(log) == ids_in(log) == ["a", "c", "d"]
    (record,) = caplog.records
    assert log.damaged == 1
    assert f"{segment}: bytes {frame.start} to {frame.end} are damaged and left out: 1 rows lost" in record.getMessage()


@pytest.mark.parametrize("garbage", [b"\xff", MARKER])
def test_a_stretch_of_garbage_is_passed_over(segment: Path, garbage: bytes) -> None:
    data = bytearray(segment.read_bytes())
    _, second, third, _ = frames(bytes(data))
    length = third.end - 40 - second.start
    data[second.start : third.end - 40] = (garbage * length)[:length]
    segment.write_bytes(data)
    log = SegmentLog(segment.parent)
    assert ids_in(log) == ["a", "d"]
    assert log.damaged == 1


def test_a_torn_tail_is_no_damage(segment: Path, caplog: pytest.LogCaptureFixture) -> None:
    segment.write_bytes(segment.read_bytes()[:-8])
    log = SegmentLog(segment.parent)
    assert ids_in(log) == ["a", "b", "c"]
    assert log.damaged == 0
    assert caplog.records == []


def test_damage_in_the_last_frame_of_an_ended_segment_is_told(segment: Path) -> None:
    last = frames(segment.read_bytes())[-1]
    segment.write_bytes(segment.read_bytes() + END)
    turn_over(segment, 8 * (last.start + 9))  # a length beyond the end of the file
    log = SegmentLog(segment.parent)
    assert ids_in(log) == ["a", "b", "c"]
    assert log.damaged == 1


def test_damage_longer_than_one_read_is_passed_over(segment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.stores.predictions.embedded.segment_scan.READ_BYTES", 512)
    turn_over(segment, 8 * 11 + 5)  # a length of half a gigabyte
    assert ids_in(SegmentLog(segment.parent)) == ["b", "c", "d"]
