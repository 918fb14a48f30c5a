"""The segment log: the contract, what a crash leaves behind, new segments, readers while a process writes."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.clock import ManualClock
from trimtab.errors import StoreError
from trimtab.stores.predictions.contract import START, Cursor, Predictions
from trimtab.stores.predictions.embedded.frames import END
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.stores.predictions.embedded.segment_scan import Damages, scan
from trimtab.testing.predictions import PredictionsConformance, label_rows, prediction_rows


class TestSegmentLog(PredictionsConformance):
    def open(self, folder: Path) -> Predictions:
        return SegmentLog(folder / "log")


class TestSegmentLogThatRotatesOften(PredictionsConformance):
    def open(self, folder: Path) -> Predictions:
        return SegmentLog(folder / "log", segment_rows=2)


def ids_in(log: SegmentLog, after: Cursor = START) -> list[str]:
    return list(log.read(after)[0]["prediction_id"].to_pylist())


@pytest.fixture(scope="module")
def whole_segment(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[tuple[int, list[str]]]]:
    """A segment's bytes, and after each append the size and the ids acknowledged so far."""
    folder = tmp_path_factory.mktemp("whole")
    log = SegmentLog(folder)
    path = folder / "predictions-0-000001.frames"
    acknowledged: list[tuple[int, list[str]]] = [(0, [])]
    for append, rows in enumerate([1, 3, 2]):
        ids = [f"{append}.{n}" for n in range(rows)]
        log.append(prediction_rows(ids))
        acknowledged.append((path.stat().st_size, acknowledged[-1][1] + ids))
    content = path.read_bytes()
    log.close()
    return content, acknowledged


def test_a_segment_cut_at_any_byte_keeps_what_was_acknowledged_before(
    tmp_path: Path, whole_segment: tuple[bytes, list[tuple[int, list[str]]]]
) -> None:
    content, acknowledged = whole_segment
    path = tmp_path / "predictions-0-000001.frames"
    log, damages = SegmentLog(tmp_path), Damages()
    for size in range(len(content), -1, -1):
        path.write_bytes(content[:size])
        expected = max((before for before in acknowledged if before[0] <= size), key=lambda before: before[0])[1]
        found = [message.rows for message in scan(path, "predictions", damages)]
        assert sum(found) == len(expected), f"cut at byte {size}"
        if size % 20 == 0:
            assert ids_in(log) == expected
    assert len(damages) == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 10_000), garbage=st.binary(max_size=64), later=st.integers(1, 4))
def test_a_writer_after_a_crash_leaves_every_acknowledged_row_once(
    tmp_path_factory: pytest.TempPathFactory,
    whole_segment: tuple[bytes, list[tuple[int, list[str]]]],
    cut: int,
    garbage: bytes,
    later: int,
) -> None:
    content, acknowledged = whole_segment
    folder = tmp_path_factory.mktemp("crashed")
    size = cut % (len(content) + 1)
    (folder / "predictions-0-000001.frames").write_bytes(content[:size] + (b"\0" + garbage if garbage else b""))
    expected = max((before for before in acknowledged if before[0] <= size), key=lambda before: before[0])[1]
    before, cursor = SegmentLog(folder).read()
    writer = SegmentLog(folder, segment_rows=2)
    new = [f"new-{n}" for n in range(later)]
    for name in new:
        writer.append(prediction_rows([name]))
    writer.close()
    assert before["prediction_id"].to_pylist() == expected
    assert ids_in(SegmentLog(folder), cursor) == new
    assert ids_in(SegmentLog(folder)) == expected + new


def test_segments_rotate(tmp_path: Path) -> None:
    log = SegmentLog(tmp_path, segment_rows=3)
    for n in range(7):
        log.append(prediction_rows([f"{n}"]))
    log.close()
    names = sorted(path.name for path in tmp_path.glob("predictions-*"))
    rows = [sum(message.rows for message in scan(tmp_path / name, "predictions", Damages())) for name in names]
    assert names == [f"predictions-0-00000{n}.frames" for n in (1, 2, 3)]
    assert rows == [3, 3, 1]
    assert all((tmp_path / name).read_bytes().endswith(END) for name in names)


def test_a_reader_follows_a_writer_over_segments(tmp_path: Path) -> None:
    writer, reader = SegmentLog(tmp_path, segment_rows=3), SegmentLog(tmp_path)
    cursor, seen = START, []
    for n in range(20):
        writer.append(prediction_rows([f"{n}"]))
        table, cursor = reader.read(cursor)
        seen.append(table["prediction_id"].to_pylist())
    writer.close()
    assert seen == [[f"{n}"] for n in range(20)]
    assert reader.read(cursor)[0].num_rows == 0


def test_a_cursor_into_a_removed_segment_goes_on_with_the_next(tmp_path: Path) -> None:
    log = SegmentLog(tmp_path, segment_rows=1)
    log.append(prediction_rows(["a"]))
    cursor = log.read()[1]
    log.append(prediction_rows(["b"]))
    log.close()
    (tmp_path / "predictions-0-000001.frames").unlink()
    assert ids_in(log, cursor) == ["b"]


def test_a_frame_longer_than_one_read_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.stores.predictions.embedded.segment_scan.READ_BYTES", 512)
    log = SegmentLog(tmp_path)
    log.append(prediction_rows(["a"]))
    log.append(prediction_rows([f"b{n}" for n in range(50)]))
    log.append(prediction_rows(["c"]))
    log.close()
    assert ids_in(log) == ["a", *(f"b{n}" for n in range(50)), "c"]


def test_a_killed_writer_loses_nothing_and_frees_the_lock(tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        log = SegmentLog(tmp_path)
        log.append(prediction_rows(["a", "b"]))
        log.append_labels(label_rows(["a"]))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    log = SegmentLog(tmp_path)
    log.append(prediction_rows(["c"]))
    log.close()
    assert ids_in(log) == ["a", "b", "c"]
    assert log.read_labels()[0].num_rows == 1


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Make writes beyond `size` bytes of a file fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_an_append_that_fits_only_in_part_is_taken_back(tmp_path: Path) -> None:
    log = SegmentLog(tmp_path)
    log.append(prediction_rows(["a"]))
    path = tmp_path / "predictions-0-000001.frames"
    size = path.stat().st_size
    with largest_file(size + 100), pytest.raises(StoreError, match="cannot write the prediction log"):
        log.append(prediction_rows(["b"]))
    assert path.stat().st_size == size
    log.append(prediction_rows(["c"]))
    log.close()
    assert ids_in(log) == ["a", "c"]


def test_a_segment_whose_first_write_fails_is_begun_again(tmp_path: Path) -> None:
    log = SegmentLog(tmp_path)
    with largest_file(100), pytest.raises(StoreError):
        log.append(prediction_rows(["a"]))
    log.append(prediction_rows(["b"]))
    log.close()
    assert ids_in(log) == ["b"]
    assert (tmp_path / "predictions-0-000001.frames").exists()


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot open the lock"):
        SegmentLog(tmp_path / "file" / "log").append(prediction_rows(["a"]))


def test_writers_of_one_log_are_merged_by_the_time_of_logging(tmp_path: Path) -> None:
    first, second = SegmentLog(tmp_path, "0"), SegmentLog(tmp_path, "1")
    for moment in range(6):
        writer = first if moment % 3 == 0 else second
        writer.append(prediction_rows([f"{moment}"], logged_at=[1_700_000_000_000_000 + moment]))
    reader = SegmentLog(tmp_path)
    table, cursor = reader.read(limit=2)
    first.append(prediction_rows(["6"], logged_at=[1_700_000_000_000_006]))
    assert table["prediction_id"].to_pylist() == ["0", "1"]
    assert ids_in(reader, cursor) == ["2", "3", "4", "5", "6"]
    assert ids_in(reader) == ["0", "1", "2", "3", "4", "5", "6"]
    first.close()
    second.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    appends=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3), st.integers(0, 50)), max_size=30),
    limit=st.integers(1, 7),
)
def test_limited_reads_of_several_writers_give_every_row_once_in_order(
    tmp_path_factory: pytest.TempPathFactory, appends: list[tuple[str, int, int]], limit: int
) -> None:
    folder = tmp_path_factory.mktemp("several")
    writers = {name: SegmentLog(folder, name, segment_rows=3) for name in "abc"}
    written: dict[str, list[str]] = {name: [] for name in "abc"}
    for n, (name, rows, moment) in enumerate(appends):
        ids = [f"{name}-{n}-{row}" for row in range(rows)]
        writers[name].append(prediction_rows(ids, logged_at=[moment] * rows))
        written[name] += ids
    seen: list[str] = []
    table, cursor = SegmentLog(folder).read(limit=limit)
    while table.num_rows:
        seen += table["prediction_id"].to_pylist()
        table, cursor = SegmentLog(folder).read(cursor, limit=limit)
    for writer in writers.values():
        writer.close()
    assert {name: [id_ for id_ in seen if id_.startswith(name)] for name in "abc"} == written


def test_a_name_that_makes_no_file_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="letters, digits"):
        SegmentLog(tmp_path, "../0")


def test_a_segment_ends_at_its_age_without_an_append(tmp_path: Path) -> None:
    clock = ManualClock()
    log = SegmentLog(tmp_path, segment_age_s=60, clock=clock)
    log.append(prediction_rows(["a"]))
    clock.sleep(59)
    log.sync()
    log.append(prediction_rows(["b"]))
    clock.sleep(1)
    log.sync()
    ended = (tmp_path / "predictions-0-000001.frames").read_bytes()
    log.append(prediction_rows(["c"]))
    clock.sleep(60)
    log.append(prediction_rows(["d"]))
    log.close()
    assert ended.endswith(END)
    assert len(list(tmp_path.glob("predictions-0-*"))) == 3
    assert ids_in(log) == ["a", "b", "c", "d"]
