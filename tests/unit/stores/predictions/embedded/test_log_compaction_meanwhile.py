"""Compaction while others write and read: segments end meanwhile, and readers read each row once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import deltalake
import pytest
from deltalake.exceptions import DeltaError

from trimtab.errors import StoreError
from trimtab.stores.predictions.contract import START
from trimtab.stores.predictions.embedded.delta_archive import Archive
from trimtab.stores.predictions.embedded.frames import END
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.predictions import prediction_rows

EVERYTHING: dict[str, float] = {"grace_s": -1e12, "keep_s": 3e9}


def ids_in(log: SegmentLog, **options: Any) -> list[str]:
    return list(log.read(**options)[0]["prediction_id"].to_pylist())


def test_segments_that_rotate_under_a_compaction_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, append = SegmentLog(tmp_path, segment_rows=2), Archive.append
    written: list[str] = []

    def write(count: int) -> None:
        for _ in range(count):
            written.append(f"{len(written):03}")
            log.append(prediction_rows([written[-1]]))

    def meanwhile(self: Archive, *arguments: Any) -> None:
        write(3)
        append(self, *arguments)
        write(2)

    write(9)
    with monkeypatch.context() as writing:
        writing.setattr(Archive, "append", meanwhile)
        log.compact(**EVERYTHING)
    assert len(written) > 9
    assert ids_in(SegmentLog(tmp_path)) == written
    log.close()
    log.compact(**EVERYTHING)
    assert ids_in(SegmentLog(tmp_path)) == written


def test_two_readers_at_different_places_read_on_while_files_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = SegmentLog(tmp_path, segment_rows=1)
    names = list("abcdefgh")
    for name in names:
        log.append(prediction_rows([name]))
    log.close()
    slow, quick = SegmentLog(tmp_path), SegmentLog(tmp_path)
    read: dict[str, list[str]] = {"slow": [], "quick": []}
    cursors = {"slow": START, "quick": START}

    def step(name: str, reader: SegmentLog, rows: int) -> None:
        table, cursors[name] = reader.read(cursors[name], limit=rows)
        read[name] += table["prediction_id"].to_pylist()

    unlink = Path.unlink

    def meanwhile(self: Path, *arguments: Any) -> None:
        step("slow", slow, 1)
        step("quick", quick, 2)
        unlink(self, *arguments)

    with monkeypatch.context() as reading:
        reading.setattr(Path, "unlink", meanwhile)
        log.compact(**EVERYTHING)
    assert not list(tmp_path.glob("*.frames"))
    assert read == {"slow": names, "quick": names}


def test_a_torn_segment_goes_into_the_table_without_its_tail(tmp_path: Path) -> None:
    log = SegmentLog(tmp_path)
    log.append(prediction_rows(["a"]))
    log.append(prediction_rows(["b"]))
    log.close()
    path = tmp_path / "predictions-0-000001.frames"
    os.truncate(path, path.stat().st_size - len(END) - 7)
    log.append(prediction_rows(["c"]))
    done = log.compact(**EVERYTHING)
    assert (done.rows, done.damaged) == (1, 0)
    assert ids_in(SegmentLog(tmp_path)) == ["a", "c"]
    log.close()


def test_a_table_that_takes_nothing_is_told_and_no_file_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = SegmentLog(tmp_path)
    log.append(prediction_rows(["a"]))
    log.close()

    def full(*arguments: object, **options: object) -> None:
        raise DeltaError("No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(deltalake, "write_deltalake", full)
        with pytest.raises(StoreError, match="cannot put segment 1 of writer '0' in: No space left on device"):
            log.compact(**EVERYTHING)
    assert ids_in(SegmentLog(tmp_path)) == ["a"]
    log.compact(**EVERYTHING)
    assert ids_in(SegmentLog(tmp_path)) == ["a"]
