"""A full disk: the append fails and leaves nothing behind; when there is room again, the log goes on."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from trimtab.errors import StoreError
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.predictions import label_rows, prediction_rows


def test_a_writer_takes_the_log_on_a_full_disk(small_disk: Path) -> None:
    # given a log whose writer has gone, on a disk that has filled up since
    folder = small_disk / "log"
    before = SegmentLog(folder)
    before.append_labels(label_rows([]))
    before.close()
    (folder / "writer-0.lock").write_bytes(b"")
    with suppress(OSError):
        (small_disk / "ballast").write_bytes(bytes(2_000_000))
    # then the next one becomes the writer, and others do not
    log = SegmentLog(folder)
    log.append_labels(label_rows([]))
    with pytest.raises(StoreError, match="already writes this prediction log"):
        SegmentLog(folder).append_labels(label_rows([]))
    log.close()


def ids_in(log: SegmentLog) -> list[str]:
    return list(log.read()[0]["prediction_id"].to_pylist())


def fill(log: SegmentLog, *, rows: int) -> list[str]:
    """Append until the disk is full; return the ids that were acknowledged."""
    acknowledged: list[str] = []
    for n in range(10_000):
        ids = [f"{n}.{row}" for row in range(rows)]
        try:
            log.append(prediction_rows(ids))
        except StoreError as error:
            if "cannot write the prediction log: No space left on device" not in str(error):
                raise
            return acknowledged
        acknowledged += ids
    raise AssertionError("the disk was never full")


@pytest.mark.parametrize("segment_rows", [100_000, 7])
def test_appends_fail_while_the_disk_is_full_and_work_again_afterwards(small_disk: Path, segment_rows: int) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(700_000))
    log = SegmentLog(small_disk / "log", segment_rows=segment_rows)
    acknowledged = fill(log, rows=3)
    for _ in range(5):
        with pytest.raises(StoreError):
            log.append(prediction_rows([f"refused-{n}" for n in range(50)]))
        with pytest.raises(StoreError):
            log.append_labels(label_rows([f"refused-{n}" for n in range(3000)]))
    while_full = ids_in(log)
    log.sync()
    ballast.unlink()
    log.append(prediction_rows(["later"]))
    log.append_labels(label_rows(["later"]))
    log.close()
    assert while_full == acknowledged
    assert ids_in(log) == ids_in(SegmentLog(small_disk / "log")) == [*acknowledged, "later"]
    assert log.read_labels()[0]["prediction_id"].to_pylist() == ["later"]
    assert log.damaged == 0


def test_a_compaction_that_finds_no_room_is_tried_again(small_disk: Path) -> None:
    folder, ballast = small_disk / "log", small_disk / "ballast"
    log = SegmentLog(folder, segment_rows=50)
    ids = [f"{n}" for n in range(100)]
    for start in range(0, 100, 10):
        log.append(prediction_rows(ids[start : start + 10]))
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    with pytest.raises(StoreError):
        log.compact(grace_s=-1e9, keep_s=3e9)
    while_full = ids_in(log)
    ballast.unlink()
    done = log.compact(grace_s=-1e9, keep_s=3e9)
    log.close()
    assert while_full == ids_in(log) == ids
    assert (done.rows, done.files_removed) == (100, 2)


def test_no_files_pile_up_while_the_disk_is_full(small_disk: Path) -> None:
    log = SegmentLog(small_disk / "log", segment_rows=7)
    fill(log, rows=3)
    for _ in range(20):
        with pytest.raises(StoreError):
            log.append(prediction_rows([f"refused-{n}" for n in range(50)]))
    names = len(list((small_disk / "log").iterdir()))
    for _ in range(20):
        with pytest.raises(StoreError):
            log.append(prediction_rows([f"refused-{n}" for n in range(50)]))
    assert len(list((small_disk / "log").iterdir())) == names
    log.close()
