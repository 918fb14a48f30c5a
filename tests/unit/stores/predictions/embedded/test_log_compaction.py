"""Compaction: rows move into Delta tables once, wherever a process dies, and readers read the same rows."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from deltalake import DeltaTable

from trimtab.clock import ManualClock, to_micros
from trimtab.stores.predictions.contract import START, Cursor
from trimtab.stores.predictions.embedded import log_compaction
from trimtab.stores.predictions.embedded.delta_archive import Archive
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.predictions import label_rows, prediction_rows

DAY_S = 86_400.0
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def clock_at(moment: datetime = NOW) -> ManualClock:
    return ManualClock(moment)


def ids_in(log: SegmentLog, after: Cursor = START) -> list[str]:
    return list(log.read(after)[0]["prediction_id"].to_pylist())


def written(folder: Path, *, ids: str = "abcdefg", writer: str = "0") -> SegmentLog:
    """A closed log with two rows a segment."""
    log = SegmentLog(folder, writer, segment_rows=2, clock=clock_at())
    for name in ids:
        log.append(prediction_rows([name], logged_at=[to_micros(NOW)]))
    log.append_labels(label_rows(list(ids), received_at=[to_micros(NOW)] * len(ids)))
    log.close()
    return log


def files(folder: Path, pattern: str = "predictions-*") -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


def compact(log: SegmentLog, *, grace_s: float = -1e12, keep_s: float = 3e9) -> None:
    log.compact(grace_s=grace_s, keep_s=keep_s)


def test_ended_segments_move_into_the_tables_and_their_files_go(tmp_path: Path) -> None:
    log = written(tmp_path)
    before, labels = log.read()[0], log.read_labels()[0]
    done = log.compact(grace_s=-1e12, keep_s=3e9)
    table = DeltaTable(tmp_path / "delta" / "predictions")
    assert (done.segments, done.rows, done.files_removed) == (5, 14, 5)
    assert files(tmp_path, "*.frames") == []
    assert table.metadata().partition_columns == ["model", "logged_on"]
    assert log.read()[0].equals(before)
    assert log.read_labels()[0].equals(labels)
    assert SegmentLog(tmp_path).read()[0].equals(before)


def test_files_stay_for_the_time_of_grace_and_rows_are_read_once_meanwhile(tmp_path: Path) -> None:
    log = written(tmp_path)
    moment = NOW.timestamp()
    for number, age in enumerate([100, 70, 30, 10], start=1):
        os.utime(tmp_path / f"predictions-0-00000{number}.frames", (moment - age, moment - age))
    compact(log, grace_s=60)
    assert files(tmp_path) == ["predictions-0-000003.frames", "predictions-0-000004.frames"]
    assert ids_in(log) == list("abcdefg")


@pytest.mark.parametrize("seen", range(8))
def test_a_cursor_goes_on_across_compaction(tmp_path: Path, seen: int) -> None:
    log = written(tmp_path)
    cursor = START
    for _ in range(seen):
        cursor = log.read(cursor, limit=1)[1]
    compact(log)
    assert ids_in(log, cursor) == list("abcdefg")[seen:]
    rest, at = [], cursor
    for _ in range(7 - seen):
        table, at = SegmentLog(tmp_path).read(at, limit=1)
        rest += table["prediction_id"].to_pylist()
    assert rest == list("abcdefg")[seen:]


def test_numbers_go_on_after_all_files_are_gone(tmp_path: Path) -> None:
    cursor = written(tmp_path).read()[1]
    compact(SegmentLog(tmp_path))
    second = written(tmp_path, ids="hi")
    assert files(tmp_path) == ["predictions-0-000005.frames"]
    assert ids_in(second, cursor) == ["h", "i"]
    compact(second)
    assert ids_in(second, cursor) == ["h", "i"]
    assert ids_in(second) == list("abcdefghi")


def test_a_segment_being_written_stays(tmp_path: Path) -> None:
    log = SegmentLog(tmp_path, segment_rows=2)
    for name in "abc":
        log.append(prediction_rows([name]))
    compact(log)
    log.append(prediction_rows(["d"]))
    log.close()
    assert files(tmp_path) == ["predictions-0-000002.frames"]
    assert ids_in(log) == ["a", "b", "c", "d"]


def test_what_a_dead_writer_left_is_ended_and_moved(tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        SegmentLog(tmp_path).append(prediction_rows(["a"]))
        os._exit(9)
    os.waitpid(child, 0)
    path = tmp_path / "predictions-0-000001.frames"
    path.write_bytes(path.read_bytes() + b"\xff\xff\xff\xff torn")
    log = SegmentLog(tmp_path)
    compact(log)
    assert not path.exists()
    log.append(prediction_rows(["b"]))
    log.close()
    assert ids_in(log) == ["a", "b"]


class Killed(BaseException):
    """Ends a compaction as SIGKILL would, at a chosen call."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("owner", "name"),
    [(Archive, "append"), (log_compaction, "_note_removed"), (Path, "unlink"), (Path, "replace")],
)
@pytest.mark.parametrize("call", [1, 2, 4])
def test_a_compaction_that_dies_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, call: int, after: bool
) -> None:
    log = written(tmp_path)
    cursor = log.read(limit=3)[1]
    real: Callable[..., object] = getattr(owner, name)
    calls = 0

    def dying(*args: object, **options: object) -> None:
        nonlocal calls
        calls += 1
        if after or calls != call:
            real(*args, **options)
        if calls == call:
            raise Killed

    with monkeypatch.context() as dies:
        dies.setattr(owner, name, dying)
        with pytest.raises(Killed):
            compact(log)
    while_half_done = ids_in(log), ids_in(log, cursor), log.read_labels()[0].num_rows
    compact(log)
    compact(log)
    assert while_half_done == (list("abcdefg"), list("defg"), 7)
    assert (ids_in(log), ids_in(log, cursor), log.read_labels()[0].num_rows) == while_half_done
    assert files(tmp_path, "*.frames") == []
    assert DeltaTable(tmp_path / "delta" / "predictions").to_pyarrow_table().num_rows == 7


def test_two_compactions_at_a_time_take_turns(tmp_path: Path) -> None:
    log = written(tmp_path)
    with log_compaction._compaction_lock(tmp_path) as mine:
        other = log.compact(grace_s=0, keep_s=DAY_S)
    assert mine
    assert (other.segments, other.reason) == (0, "another process is compacting this log")


def test_rows_older_than_what_is_kept_leave_table_and_disk(tmp_path: Path) -> None:
    clock = clock_at()
    log = SegmentLog(tmp_path, segment_rows=2, clock=clock)
    cursors = []
    for day in range(5):
        moment = to_micros(clock.now())
        log.append(prediction_rows([f"{day}a", f"{day}b"], logged_at=[moment] * 2, model=["delay", "other model/é"]))
        log.append_labels(label_rows([f"{day}a"], received_at=[moment]))
        cursors.append(log.read()[1])
        clock.sleep(DAY_S)
    log.close()
    compact(log)
    assert len(ids_in(log)) == 10
    done = log.compact(grace_s=0, keep_s=2 * DAY_S)
    kept = [f"{day}{row}" for day in (3, 4) for row in "ab"]
    folders = {path.parent.name for path in (tmp_path / "delta" / "predictions").rglob("*.parquet")}
    assert done.rows_dropped == 9
    assert ids_in(log) == ids_in(SegmentLog(tmp_path)) == ids_in(SegmentLog(tmp_path), cursors[0]) == kept
    assert log.read_labels()[0]["prediction_id"].to_pylist() == ["3a", "4a"]
    assert folders == {"logged_on=2026-03-04", "logged_on=2026-03-05"}


def test_the_files_of_a_past_day_are_merged_and_cursors_stay_good(tmp_path: Path) -> None:
    clock = clock_at()
    logs = [SegmentLog(tmp_path, writer, segment_rows=2, clock=clock) for writer in ("0", "1")]
    for n in range(30):
        moment = to_micros(clock.now()) + n
        rows = prediction_rows([f"{n}a", f"{n}b"], logged_at=[moment] * 2, model=["delay", "other" if n % 3 else "x"])
        logs[n % 2].append(rows)
    reader = SegmentLog(tmp_path, clock=clock)
    expected, cursor = ids_in(reader), reader.read(limit=11)[1]
    compact(reader)
    scattered = len(list(tmp_path.rglob("part-*.parquet")))
    before = ids_in(reader), ids_in(reader, cursor)
    clock.sleep(DAY_S)
    compact(reader)
    for log in logs:
        log.close()
    assert scattered > 30
    assert len(list(tmp_path.rglob("part-*.parquet"))) == 3
    assert before == (expected, expected[12:])
    assert (ids_in(reader), ids_in(reader, cursor)) == before
    assert ids_in(SegmentLog(tmp_path), cursor) == expected[12:]
    assert [row["prediction_id"] for row in reader.find("7b")] == ["7b"]


def test_a_damaged_segment_is_kept_aside(tmp_path: Path) -> None:
    log = written(tmp_path)
    path = tmp_path / "predictions-0-000002.frames"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    done = log.compact(grace_s=-1e12, keep_s=3e9)
    assert done.damaged == 1
    assert files(tmp_path) == ["predictions-0-000002.frames.damaged"]
    assert ids_in(log) == list("abcefg")


def test_several_writers_and_models_keep_their_order(tmp_path: Path) -> None:
    logs = [SegmentLog(tmp_path, writer, segment_rows=3) for writer in ("0", "1")]
    for n in range(20):
        columns = prediction_rows([f"{n}", f"{n}'"], model=["b", "a"], logged_at=[1_700_000_000_000_000 + n] * 2)
        logs[n % 2].append(columns)
    before = logs[0].read()[0]
    compact(logs[0])
    after = logs[1].read()[0]
    for log in logs:
        log.close()
    assert before.equals(after)
    assert len(files(tmp_path)) == 0


def test_ids_are_found_in_both_forms_the_newest_first(tmp_path: Path) -> None:
    log = SegmentLog(tmp_path, segment_rows=2)
    for n in range(6):
        log.append(prediction_rows([f"id-{n}", "twice" if n in (2, 3) else f"other-{n}"], served=[True, n == 2]))
    log.append_labels(label_rows(["id-1", "id-2"]))
    log.append_labels(label_rows(["id-1"], label=[0.0]))
    expected = [row for row in log.read()[0].to_pylist() if row["prediction_id"] == "twice"]
    in_files = log.find("twice"), log.find("nothing"), log.find_labels("id-1")
    log.close()
    compact(log)
    in_tables = log.find("twice"), log.find("nothing"), log.find_labels("id-1")
    assert in_files[0] == expected
    assert len(expected) == 2
    assert in_files[1] == []
    assert [row["label"] for row in in_files[2]] == [1.0, 0.0]
    assert in_files == in_tables


def test_an_empty_folder_has_nothing_to_compact(tmp_path: Path) -> None:
    assert SegmentLog(tmp_path / "log").compact(grace_s=0, keep_s=1).reason == "there is no log yet"
    compact(SegmentLog(tmp_path))
    assert files(tmp_path, "delta") == []


def texts(folder: Path) -> list[str]:
    return [fault.text for fault in SegmentLog(folder).check()]


@pytest.mark.parametrize("kind", ["predictions", "labels"])
def test_a_table_that_is_gone_or_older_than_it_was_is_told(tmp_path: Path, kind: str) -> None:
    # given a log whose first segments have moved into the tables
    compact(written(tmp_path))
    assert texts(tmp_path) == []
    folder = tmp_path / "delta" / kind
    log, copy = folder / "_delta_log", tmp_path / "copy"
    # when the table has lost its last commit, which for the labels is the only one
    newest = max(log.glob("*.json"))
    newest.rename(tmp_path / newest.name)
    wanted = f"ends at version {int(newest.stem) - 1}" if int(newest.stem) else f"{folder} is gone"
    assert [wanted in text for text in texts(tmp_path)] == [True]
    (tmp_path / newest.name).rename(newest)
    assert texts(tmp_path) == []
    # or is gone
    folder.rename(copy)
    assert [f"{folder} is gone" in text for text in texts(tmp_path)] == [True]
    folder.mkdir()
    assert [f"{folder} is gone" in text for text in texts(tmp_path)] == [True]
    # then it is reported for a log that another version compacted, too
    noted = msgspec.json.decode((tmp_path / "removed.json").read_bytes())
    del noted["tables"]
    (tmp_path / "removed.json").write_bytes(msgspec.json.encode(noted))
    assert [f"{folder} is gone" in text for text in texts(tmp_path)] == [True]


def test_a_segment_without_rows_needs_no_table(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"predictions-0-00000{number}.frames").touch()
    compact(SegmentLog(tmp_path))
    assert files(tmp_path) == ["predictions-0-000002.frames"]
    assert texts(tmp_path) == []


@pytest.mark.parametrize("kind", ["predictions", "labels"])
def test_the_loss_of_the_last_segments_of_a_writer_is_told(tmp_path: Path, kind: str) -> None:
    written(tmp_path)
    own = sorted(tmp_path.glob(f"{kind}-0-*.frames"))
    for path in own[-2:]:
        path.unlink()
    lost = [f"segment {number + 1} of the {kind} of writer '0' is gone" for number in range(len(own))][-2:]
    found = texts(tmp_path)
    assert len(found) == len(lost)
    assert all(wanted in text for wanted, text in zip(lost, found, strict=True))
    # when the writer goes on, no number is used twice, and the gap stays known
    log = SegmentLog(tmp_path)
    log.append(prediction_rows(["z"]))
    log.append_labels(label_rows(["z"]))
    log.close()
    assert (tmp_path / f"{kind}-0-{len(own) + 1:06d}.frames").exists()
    assert texts(tmp_path) == found
    # and all of a writer's files
    for path in tmp_path.glob(f"{kind}-0-*.frames"):
        path.unlink()
    assert len(texts(tmp_path)) == len(own) + 1


@pytest.mark.parametrize("content", [b"", b"x", b'"4"'])
def test_a_note_of_the_last_segment_that_cannot_be_read_is_no_fault(tmp_path: Path, content: bytes) -> None:
    written(tmp_path)
    (tmp_path / "last-predictions-0.json").write_bytes(content)
    assert texts(tmp_path) == []
    assert ids_in(SegmentLog(tmp_path)) == list("abcdefg")
