"""The LMDB online store: the contract, and what is its own: long keys, a map that grows, sharing of files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trimtab.errors import StoreError
from trimtab.stores.online.contract import Online
from trimtab.stores.online.lmdb import LONGEST_KEY, LmdbOnline
from trimtab.testing import OnlineConformance


class TestLmdb(OnlineConformance):
    def open(self, folder: Path) -> Online:
        return LmdbOnline(folder, map_size=1 << 16)


def test_keys_around_the_limit_are_kept_apart(tmp_path: Path) -> None:
    store = LmdbOnline(tmp_path)
    keys = [b"k" * size for size in (LONGEST_KEY - 1, LONGEST_KEY, LONGEST_KEY + 1, 5000)]
    store.write("view", [(key, 1, b"%d" % len(key)) for key in keys], until=1)
    prefix = store.prefix("view")
    assert store.read([(prefix, key) for key in keys], 1) == [b"%d" % len(key) for key in keys]
    store.close()


def test_the_map_grows_with_what_is_written(tmp_path: Path) -> None:
    store = LmdbOnline(tmp_path, map_size=1 << 16)
    store.write("view", [(b"%d" % n, 1, b"x" * 1000) for n in range(1000)], until=1)
    assert store.read([(store.prefix("view"), b"999")], 1) == [b"x" * 1000]
    store.close()


def test_stores_of_one_folder_share_the_file_until_the_last_is_closed(tmp_path: Path) -> None:
    first, second = LmdbOnline(tmp_path), LmdbOnline(tmp_path / "." / "x" / "..")
    assert first._env is second._env
    first.close()
    first.close()  # closing twice is closing once
    second.write("view", [(b"a", 1, b"a")], until=1)
    second.close()
    third = LmdbOnline(tmp_path)
    assert third._env is not second._env
    assert third.watermark("view") == 1
    third.close()


def test_a_file_that_was_cut_off_is_refused_with_its_remedy_and_ends_no_process(tmp_path: Path) -> None:
    store = LmdbOnline(tmp_path)
    store.write("view", [(b"%d" % n, 1, b"x" * 1000) for n in range(1000)], until=1)
    assert store.check() == []
    store.close()
    path = tmp_path / "data.mdb"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(StoreError, match=r"has [\d,]+ of [\d,]+ bytes.*trimtab repair, then trimtab features"):
        LmdbOnline(tmp_path)


def test_a_folder_that_cannot_be_opened_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="cannot be opened"):
        LmdbOnline(tmp_path)


def test_a_process_of_another_container_with_the_same_number_is_told(tmp_path: Path) -> None:
    # given a store, and a process that holds the lock by which LMDB knows this process's number
    LmdbOnline(tmp_path).close()
    hold = (
        "import fcntl, sys; file = open(sys.argv[1], 'r+b'); "
        f"fcntl.lockf(file, fcntl.LOCK_EX, 1, {os.getpid()}); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, str(tmp_path / "lock.mdb")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(StoreError, match=rf"number of this one \({os.getpid()}\).*shareProcessNamespace"):
            LmdbOnline(tmp_path)
        other.communicate()
    LmdbOnline(tmp_path).close()
