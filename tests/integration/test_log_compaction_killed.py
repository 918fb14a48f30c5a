"""The log under SIGKILL: a writer and a compaction are killed over and over; every acknowledged row is there once."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

from deltalake import DeltaTable

from trimtab.clock import SystemClock
from trimtab.stores.predictions.contract import START
from trimtab.stores.predictions.embedded.segment_log import SegmentLog

KILLS = 5
WRITER = """
import sys
from pathlib import Path
from trimtab.clock import SystemClock
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.predictions import prediction_rows

clock = SystemClock()
log = SegmentLog(Path(sys.argv[1]), "0", segment_rows=60)
for n in range(10_000_000):
    ids = [f"{sys.argv[2]}.{n}.{row}" for row in range(n % 3 + 1)]
    log.append(prediction_rows(ids, model=["m", "n", "m"][: len(ids)]))
    sys.stdout.write("\\n".join(ids) + "\\n")
    sys.stdout.flush()
    if n % 20 == 0:
        clock.sleep(0.05)
"""
COMPACTION = """
import sys
from pathlib import Path
from trimtab.stores.predictions.embedded.segment_log import SegmentLog

log = SegmentLog(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    log.compact(grace_s=-1e9, keep_s=3e9)
"""


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def killed(process: subprocess.Popen[str]) -> list[str]:
    """Kill a process and return the whole lines that it had written since."""
    process.send_signal(signal.SIGKILL)
    assert process.stdout is not None
    lines = process.stdout.read().split("\n")[:-1]
    process.wait()
    return lines


def test_a_writer_and_a_compaction_killed_over_and_over_lose_and_double_nothing(tmp_path: Path) -> None:
    chance, clock = random.Random(7), SystemClock()
    acknowledged: list[str] = []
    seen: list[str] = []
    cursor, reader = START, SegmentLog(tmp_path)
    for life in range(KILLS):
        writer, compaction = start(WRITER, str(tmp_path), str(life)), start(COMPACTION, str(tmp_path))
        assert writer.stdout is not None
        assert compaction.stdout is not None
        acknowledged += [writer.stdout.readline().strip() for _ in range(200)]
        compaction.stdout.readline()
        clock.sleep(chance.random() * 0.3)
        killed(compaction)
        table, cursor = reader.read(cursor)
        seen += table["prediction_id"].to_pylist()
        acknowledged += killed(writer)
    table, cursor = reader.read(cursor)
    seen += table["prediction_id"].to_pylist()
    reader.compact(grace_s=-1e9, keep_s=3e9)
    again = reader.read()[0]["prediction_id"].to_pylist()
    assert [path for path in tmp_path.glob("*.frames") if path.stat().st_size] == []
    assert again == seen
    assert len(set(seen)) == len(seen)
    missing = set(acknowledged) - set(seen)
    assert missing == set()
    assert len(seen) - len(acknowledged) <= 3 * KILLS  # rows of an append whose acknowledgement was not heard
    assert DeltaTable(tmp_path / "delta" / "predictions").to_pyarrow_table().num_rows == len(seen)
