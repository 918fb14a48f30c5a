"""The metadata store with several processes: opening a fresh one at once, writing the same records at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from kit.waiting import PATIENCE_S
from trimtab.records.serving import Revision
from trimtab.stores.metadata.embedded import SqliteMetadata

WRITER = """
import sys
from pathlib import Path
from trimtab.records.serving import Revision
from trimtab.stores.metadata.contract import latest
from trimtab.stores.metadata.embedded import SqliteMetadata
from trimtab.testing.metadata import revision

name = sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
store = SqliteMetadata(Path(sys.argv[1]))
for number in range(40):
    store.put(revision(number, model=name), revision(number, model="shared"))
    newest = latest(store, Revision, model=name)
    assert newest is not None and newest.number == number, newest
store.close()
"""

WRITERS = 4


def test_processes_open_a_fresh_store_and_write_the_same_records_at_once(tmp_path: Path) -> None:
    path = tmp_path / "metadata.db"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), f"model{n}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(WRITERS)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=PATIENCE_S)
    assert [writer.returncode for writer in writers] == [0] * WRITERS

    store = SqliteMetadata(path)
    assert store.count(Revision) == (WRITERS + 1) * 40
    assert [found.number for found in store.find(Revision, model="shared", oldest_first=True)] == list(range(40))
    for n in range(WRITERS):
        assert [found.number for found in store.find(Revision, model=f"model{n}", oldest_first=True)] == list(range(40))
    store.close()
