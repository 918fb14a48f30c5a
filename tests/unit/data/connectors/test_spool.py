"""The spool of pushed rows: each request once, whatever ends its writers and its reader, and wherever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.data.connectors.spool_reader import KEPT, KEYS, Spool
from trimtab.stores.spool import NUMBERS, Pushed, SpoolFull, SpoolWriter, segment_path, segments


def pushed(number: int, key: str | None = None, *, at: int = 1) -> Pushed:
    return Pushed(at, key, [b"%d" % number])


def read(spool: Spool, ends: dict[int, int]) -> list[int]:
    """Read what there is, and move the ends."""
    found = []
    for segment, end, request in spool.read(ends):
        found += [int(row) for row in request.rows]
        ends[segment] = end
    return found


def test_a_reader_gets_requests_in_order_while_they_are_written(tmp_path: Path) -> None:
    first, second, ends = SpoolWriter(tmp_path), SpoolWriter(tmp_path), dict[int, int]()
    first.append([pushed(1, at=7)])
    second.append([pushed(2, at=7), pushed(3)])  # the same moment
    spool = Spool(tmp_path)
    assert read(spool, ends) == [1, 2, 3]
    first.append([pushed(4)])
    assert spool.waiting(ends) > 0
    assert read(spool, ends) == [4]
    assert spool.waiting(ends) == 0


def test_a_segment_goes_when_it_is_read_and_its_writer_has_ended_it(tmp_path: Path) -> None:
    writer, spool, ends = SpoolWriter(tmp_path, segment_bytes=80), Spool(tmp_path), dict[int, int]()
    writer.append([pushed(1)])
    read(spool, ends)
    assert spool.settle(ends) == ends  # its writer is there
    writer.append([pushed(2), pushed(3), pushed(4)])  # it is full now, and ended
    assert spool.settle(ends) == ends  # and not read
    assert read(spool, ends) == [2, 3, 4]
    assert spool.settle(ends) == {}
    assert segments(tmp_path) == []
    writer.append([pushed(5)])
    assert read(spool, {}) == [5]


def test_a_new_segment_comes_behind_those_before_although_the_clock_went_back(tmp_path: Path) -> None:
    SpoolWriter(tmp_path).append([pushed(1, at=100)])
    SpoolWriter(tmp_path).append([pushed(2, at=5)])
    assert read(Spool(tmp_path), {}) == [1, 2]


def test_a_key_counts_once_for_a_day(tmp_path: Path) -> None:
    writer, spool, ends = SpoolWriter(tmp_path), Spool(tmp_path), dict[int, int]()
    writer.append([pushed(1, "a"), pushed(2, "a"), pushed(3, "b")])
    assert read(spool, ends) == [1, 3]
    writer.append([pushed(4, "b")])
    assert read(spool, ends) == []
    spool.settle(ends)
    writer.append([pushed(5, "a", at=KEPT), pushed(6, "c")])
    again = Spool(tmp_path)  # another process
    assert read(again, ends) == [6]
    again.settle(ends)
    writer.append([pushed(7, "a", at=KEPT + 1)])
    assert read(again, ends) == [7]


def test_keys_are_known_although_the_process_ended_before_it_wrote_them(tmp_path: Path) -> None:
    writer, ends = SpoolWriter(tmp_path, segment_bytes=1), dict[int, int]()
    writer.append([pushed(1, "a")])
    read(Spool(tmp_path), ends)  # the table has the row with these ends, and the process ends
    spool = Spool(tmp_path)
    spool.settle(ends)
    writer.append([pushed(2, "a")])
    assert read(spool, {}) == []


def test_a_torn_request_of_a_writer_that_ended_is_left_out(tmp_path: Path) -> None:
    writer, spool, ends = SpoolWriter(tmp_path), Spool(tmp_path), dict[int, int]()
    writer.append([pushed(1)])
    ((number, size),) = segments(tmp_path)
    with segment_path(tmp_path, number).open("ab") as file:
        file.write(segment_path(tmp_path, number).read_bytes()[: size - 3])
    assert read(spool, ends) == [1]
    writer.close()
    assert spool.settle(ends) == {}
    assert segments(tmp_path) == []


def test_a_damaged_segment_is_put_aside(tmp_path: Path) -> None:
    writer, spool, ends = SpoolWriter(tmp_path), Spool(tmp_path), dict[int, int]()
    writer.append([pushed(1), pushed(2)])
    writer.close()
    ((number, size),) = segments(tmp_path)
    path = segment_path(tmp_path, number)
    body = bytearray(path.read_bytes())
    body[size // 2 - 2] ^= 1
    path.write_bytes(body)
    assert read(spool, ends) == [2]
    spool.settle(ends)
    assert [each.suffix for each in tmp_path.iterdir() if each.suffix == ".damaged"] == [".damaged"]


def test_a_full_spool_takes_nothing(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, most_bytes=60)
    writer.append([pushed(1)])
    with pytest.raises(SpoolFull, match="more than 60 bytes of pushed rows wait for their table"):
        writer.append([pushed(2), pushed(3)])
    assert read(Spool(tmp_path), {}) == [1]


def test_the_first_name_of_a_segment_goes_with_it(tmp_path: Path) -> None:
    writer, spool, ends = SpoolWriter(tmp_path), Spool(tmp_path), dict[int, int]()
    writer.append([pushed(1)])
    ((number, _),) = segments(tmp_path)
    os.link(segment_path(tmp_path, number), tmp_path / ".1-1")  # its writer was killed between the two names
    read(spool, ends)
    spool.settle(ends)
    assert (tmp_path / ".1-1").exists()
    writer.close()
    spool.settle(ends)
    assert {each.name for each in tmp_path.iterdir()} == {KEYS, NUMBERS}


WRITER = """
import sys
from pathlib import Path
from trimtab.stores.spool import Pushed, SpoolWriter
writer = SpoolWriter(Path(sys.argv[1]), segment_bytes=400)
number = int(sys.argv[2])
while True:
    writer.append([Pushed(number, f"key-{number}", [b"%d" % number])])
    print(number, flush=True)
    number += 1
"""


def test_what_a_killed_writer_has_acknowledged_is_read_once(tmp_path: Path) -> None:
    folder, acknowledged, ends, found = tmp_path / "spool", list[int](), dict[int, int](), list[int]()
    for first in (0, 100_000, 200_000):
        process = subprocess.Popen([sys.executable, "-c", WRITER, folder, str(first)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(60)]
        spool = Spool(folder)  # reads and removes while the writer goes on
        found += read(spool, ends)
        ends = spool.settle(ends)
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        process.wait()
        acknowledged += [int(line) for line in lines if line.endswith(b"\n")]
    found += read(Spool(folder), ends)
    assert set(acknowledged) <= set(found)
    assert len(found) == len(set(found))
    Spool(folder).settle(ends)
    assert segments(folder) == []


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 2), st.lists(st.sampled_from([None, "a", "b", "c"]), max_size=3)),
        st.tuples(st.just("writer ends"), st.integers(0, 2), st.none()),
        st.tuples(st.just("read"), st.integers(0, 3), st.none()),
        st.tuples(st.just("commit"), st.none(), st.none()),
        st.tuples(st.just("settle"), st.none(), st.none()),
        st.tuples(st.just("reader ends"), st.none(), st.none()),
    ),
    max_size=25,
)


@settings(deadline=None)
@given(STEPS)
def test_a_random_history_gives_each_request_once(steps: list[tuple[str, Any, Any]]) -> None:
    """A reader's rows count when they are committed with their ends; what it read since is lost with it."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        writers: dict[int, SpoolWriter] = {}
        spool, committed, table = Spool(folder), dict[int, int](), list[int]()
        ends, rows, number = dict[int, int](), list[int](), 0
        keyless: set[int] = set()
        keys: set[str] = set()
        for what, which, how in steps:
            if what == "push" and how:
                requests = []
                for key in how:
                    requests.append(pushed(number, key))
                    keyless |= {number} if key is None else set()
                    keys |= set() if key is None else {key}
                    number += 1
                writers.setdefault(which, SpoolWriter(folder, segment_bytes=150)).append(requests)
            elif what == "writer ends" and which in writers:
                writers.pop(which).close()
            elif what == "read":
                for left, (segment, end, request) in enumerate(spool.read(ends)):
                    rows += [int(row) for row in request.rows]
                    ends = {**ends, segment: end}
                    if left == which:
                        break
            elif what in ("commit", "settle"):
                table, rows, committed = table + rows, [], ends
                if what == "settle":
                    ends = committed = spool.settle(committed)
            elif what == "reader ends":
                spool, rows = Spool(folder), []
                ends = committed = spool.settle(committed)
        rows += read(spool, ends := dict(ends))
        table += rows
        assert keyless <= set(table)
        assert len(table) == len(set(table)) == len(keyless) + len(keys)
        for writer in writers.values():
            writer.close()
        spool.settle(ends)
        assert segments(folder) == []


def test_a_number_never_comes_again(tmp_path: Path) -> None:
    writer, spool, ends = SpoolWriter(tmp_path, segment_bytes=1), Spool(tmp_path), dict[int, int]()
    for number in range(3):
        writer.append([pushed(number, at=7)])
        read(spool, ends)
        assert spool.settle(ends) == {}
    assert list(ends) == [7, 8, 9]
