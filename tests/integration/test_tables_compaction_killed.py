"""A table whose appends, compactions and vacuums are killed keeps its rows, their order and the kept versions."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

from trimtab.clock import SystemClock
from trimtab.stores.tables.delta import DeltaTables

KILLS = 5
KEPT = 3
BATCHES = 30
WRITER = """
import sys
from pathlib import Path
from trimtab.stores.tables.delta import DeltaTables
from trimtab.testing.tables import batch

store = DeltaTables(Path(sys.argv[1]))
for n in range(int(sys.argv[2])):
    store.append("t", batch(2 * n, 2 * n + 1), batch=f"batch {n}")
    print(n, flush=True)
"""
KEEPER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from trimtab.stores.tables.delta import DeltaTables

store = DeltaTables(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    store.compact("t", now=datetime.now(UTC))
    store.vacuum("t", keep=[int(sys.argv[2])], since=datetime(2200, 1, 1, tzinfo=UTC))
"""


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_rows_and_kept_versions_survive_all_deaths(tmp_path: Path) -> None:
    chance, clock, store = random.Random(5), SystemClock(), DeltaTables(tmp_path)
    start(WRITER, tmp_path, KEPT + 2).communicate()
    kept = store.scan("t", version=KEPT).collect()
    for _ in range(KILLS):
        writer, keeper = start(WRITER, tmp_path, BATCHES), start(KEEPER, tmp_path, KEPT)
        clock.sleep(chance.random() * 0.4)
        for process in chance.sample([writer, keeper], 2):
            process.send_signal(signal.SIGKILL)
            process.communicate()
    start(WRITER, tmp_path, BATCHES).communicate()
    assert store.scan("t").collect()["number"].to_list() == list(range(2 * BATCHES))
    assert store.scan("t", version=KEPT).collect().equals(kept)
    assert list(store.check()) == []
    done = store.compact("t", now=clock.now())
    assert done.files_after == 1
    assert store.scan("t").collect()["number"].to_list() == list(range(2 * BATCHES))
