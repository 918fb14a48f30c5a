"""The state of detectors in files: the same records bit for bit, with few windows stepped through again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trimtab.monitoring import detector_states
from trimtab.monitoring.detector_states import DetectorStates, Snapshot
from trimtab.monitoring.detectors import VersionDetectors
from trimtab.records.monitoring import Profile
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.testing.streams import World, play
from unit.monitoring.monitor_bench import DAYS, Bench, content, reference

WORLD = World(seed=5, label_hours=9.0, shift={2: 0.3})
LAST = DAYS + 9


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a snapshot at every third window."""
    monkeypatch.setattr(detector_states, "EVERY", 3)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one monitor writes that never ends."""
    made = Bench(tmp_path_factory.mktemp("undisturbed"))
    play(made.log, WORLD, range(DAYS, LAST), after_tick=made.monitor().step)
    found = made.content()
    made.close()
    return found


def file_of(bench: Bench) -> Path:
    return bench.checkpoint.with_name("detectors") / "delay-v1.msgpack"


def stepped(bench: Bench) -> int:
    """Return through how many windows the detectors of a new process are stepped."""
    counted: list[int] = []

    class Counting(VersionDetectors):
        def restore(self, *args: Any, **kwargs: Any) -> int:
            counted.append(super().restore(*args, **kwargs))
            return 0

    DetectorStates(file_of(bench).parent).restore(Counting(reference(), version=1, horizon=100), bench.book, "delay", 1)
    return counted[0]


def test_a_new_process_steps_through_the_last_windows_and_writes_the_same(
    bench: Bench, undisturbed: dict[str, bytes]
) -> None:
    play(bench.log, WORLD, range(DAYS, LAST), after_tick=lambda: bench.monitor().step())
    assert bench.content() == undisturbed
    assert len(bench.book.find(Profile)) == 8
    assert stepped(bench) <= 2 * 3


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def of_other_code(path: Path) -> None:
    found = msgspec.msgpack.decode(path.read_bytes(), type=Snapshot)
    path.write_bytes(msgspec.msgpack.encode(msgspec.structs.replace(found, made_with="other")))


def of_other_records(path: Path) -> None:
    found = msgspec.msgpack.decode(path.read_bytes(), type=Snapshot)
    last = {kind: (start, id_, "other") for kind, (start, id_, _) in found.last.items()}
    path.write_bytes(msgspec.msgpack.encode(msgspec.structs.replace(found, last=last)))


@pytest.mark.parametrize("damage", [cut, Path.unlink, of_other_code, of_other_records])
def test_a_file_that_does_not_fit_is_left(
    bench: Bench, undisturbed: dict[str, bytes], damage: Callable[[Path], None]
) -> None:
    days = 0

    def step() -> None:
        nonlocal days
        days += 1
        bench.monitor().step()
        if days == 7:
            damage(file_of(bench))
            assert stepped(bench) == len(bench.book.find(Profile))

    play(bench.log, WORLD, range(DAYS, LAST), after_tick=step)
    assert bench.content() == undisturbed


def test_records_that_were_put_back_from_a_backup_are_older_than_the_file(bench: Bench, tmp_path: Path) -> None:
    # given a backup of the records after four days, and a snapshot of eight
    monitor, days = bench.monitor(), 0

    def step() -> None:
        nonlocal days
        days += 1
        monitor.step()
        if days == 4:
            with (
                closing(sqlite3.connect(tmp_path / "metadata.db")) as source,
                closing(sqlite3.connect(tmp_path / "backup.db")) as target,
            ):
                source.backup(target)

    play(bench.log, WORLD, range(DAYS, LAST), after_tick=step)
    # when a new process goes on with the backup, then it writes what was written
    book = SqlMetadata(tmp_path / "backup.db")
    bench.monitor(book=book).step()
    assert content(book) == bench.content()
    book.close()
