"""The Delta table store with several processes that make and fill one table at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from kit.waiting import PATIENCE_S
from trimtab.stores.tables.delta import DeltaTables
from trimtab.testing.tables import numbers

WRITER = """
import sys
from pathlib import Path
from trimtab.stores.tables.delta import DeltaTables
from trimtab.testing.tables import batch

writer = int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
store = DeltaTables(Path(sys.argv[1]))
for n in range(12):
    version = store.append("t", batch(100 * writer + n), batch=f"own {writer} {n}")
    assert store.batch_version("t", f"own {writer} {n}") == version
    store.append("t", batch(1000 + n), batch=f"shared {n}")
"""

WRITERS = 3


def test_processes_that_append_to_one_table_lose_nothing(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(n)],
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

    store = DeltaTables(tmp_path)
    own = [100 * writer + n for writer in range(WRITERS) for n in range(12)]
    assert numbers(store.scan("t")) == sorted([*own, *range(1000, 1012)])
    assert store.version("t") == len(own) + 12 - 1
