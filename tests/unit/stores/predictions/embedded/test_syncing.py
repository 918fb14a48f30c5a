"""Bringing the log to disk: which files are flushed, while others append, and what happens when the disk fails."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kit.waiting import PATIENCE_S
from trimtab.errors import StoreError
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.predictions import label_rows, prediction_rows

Flushed = list[tuple[str, int]]


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> Flushed:
    """Name and size of every file or folder that is flushed, in order."""
    found: Flushed = []

    def noting(flush: Callable[[int], None]) -> Callable[[int], None]:
        def flushing(file: int) -> None:
            flush(file)
            found.append((Path(os.readlink(f"/proc/self/fd/{file}")).name, os.fstat(file).st_size))

        return flushing

    for name in ("fdatasync", "fsync"):
        monkeypatch.setattr(os, name, noting(getattr(os, name)))
    return found


def size(path: Path) -> int:
    return path.stat().st_size


def test_a_sync_flushes_what_is_new_and_the_folder_when_it_has_a_new_name(tmp_path: Path, flushed: Flushed) -> None:
    folder = tmp_path / "log"
    log = SegmentLog(folder)
    log.append(prediction_rows(["a"]))
    log.sync()
    first, path = list(flushed), folder / "predictions-0-000001.frames"
    log.sync()
    idle = flushed[len(first) :]
    log.append(prediction_rows(["b"]))
    log.append_labels(label_rows(["a"]))
    log.sync()
    later = flushed[len(first) + len(idle) :]
    assert [name for name, _ in first] == [tmp_path.name, path.name, "log"]
    assert idle == []
    assert [name for name, _ in later] == [path.name, "labels-0-000001.frames", "log"]
    assert later[0] == (path.name, size(path))
    log.close()


def test_segments_that_ended_since_the_last_sync_are_flushed_whole(tmp_path: Path, flushed: Flushed) -> None:
    log = SegmentLog(tmp_path, segment_rows=1)
    for name in "abc":
        log.append(prediction_rows([name]))
    log.sync()
    paths = [tmp_path / f"predictions-0-00000{n}.frames" for n in (1, 2, 3)]
    assert [found for found in flushed if found[0].startswith("pred")] == [(path.name, size(path)) for path in paths]
    log.close()


def test_a_writer_that_never_syncs_keeps_few_files_open(tmp_path: Path) -> None:
    log = SegmentLog(tmp_path, segment_rows=1)
    before = len(os.listdir("/proc/self/fd"))
    for n in range(100):
        log.append(prediction_rows([f"{n}"]))
    assert len(os.listdir("/proc/self/fd")) - before < 70
    log.close()


def test_appends_go_on_while_a_sync_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = SegmentLog(tmp_path)
    flushing, go_on = threading.Event(), threading.Event()
    flush = os.fdatasync

    def slow(file: int) -> None:
        flushing.set()
        assert go_on.wait(PATIENCE_S)
        flush(file)

    monkeypatch.setattr(os, "fdatasync", slow)
    log.append(prediction_rows(["a"]))
    first, second = threading.Thread(target=log.sync), threading.Thread(target=log.sync)
    first.start()
    assert flushing.wait(PATIENCE_S)
    log.append(prediction_rows(["b"]))
    second.start()
    still_waiting = second.is_alive()
    go_on.set()
    first.join()
    second.join()
    log.close()
    assert still_waiting
    assert log.read()[0].num_rows == 2


def test_a_disk_that_fails_is_told_and_a_new_segment_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = SegmentLog(tmp_path)
    log.append(prediction_rows(["a"]))

    def failing(file: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", failing)
        with pytest.raises(StoreError, match="on disk: Input/output error"):
            log.sync()
    log.append(prediction_rows(["b"]))
    log.sync()
    log.close()
    assert (tmp_path / "predictions-0-000002.frames").exists()
    assert log.read()[0]["prediction_id"].to_pylist() == ["a", "b"]


def test_writing_loads_no_pyarrow(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from trimtab.stores.catalog import open_predictions
log = open_predictions(None, Path({str(tmp_path)!r}), writer="3", segment_rows=10)
log.append({prediction_rows(["a", "b"])!r})
log.append_labels({label_rows(["a"])!r})
log.sync()
log.close()
heavy = ("pyarrow", "pandas", "polars", "deltalake", "sqlalchemy", "pydantic")
print([name for name in heavy if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (found.stdout.strip(), found.stderr) == ("[]", "")
    assert SegmentLog(tmp_path / "predictions").read()[0].num_rows == 2
