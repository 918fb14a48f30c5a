"""The LMDB store with a reading process while this one writes and the map grows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from kit.waiting import PATIENCE_S
from trimtab.stores.online.lmdb import LmdbOnline

READER = """
import sys
from pathlib import Path
from trimtab.stores.online.lmdb import LmdbOnline

store = LmdbOnline(Path(sys.argv[1]), map_size=1 << 16)
prefix = store.prefix("view")
wanted = [(prefix, b"first"), (prefix, b"last")]
newest, reads = -1, 0
print("ready", flush=True)
while newest < 60:
    first, last = store.read(wanted, 10**15)
    assert first == last, "half a write was seen"
    if first is not None:
        assert int(first) >= newest, "time went backwards"
        newest, reads = int(first), reads + 1
    mark = store.watermark("view")
    assert mark is None or mark >= newest
print(reads, flush=True)
store.close()
"""


def test_a_reading_process_sees_whole_writes_while_the_map_grows(tmp_path: Path) -> None:
    store = LmdbOnline(tmp_path, map_size=1 << 16)
    reader = subprocess.Popen([sys.executable, "-c", READER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "ready\n"
    for n in range(61):
        filler = [(b"filler %d" % item, n, b"x" * 2000) for item in range(50)]
        store.write("view", [(b"first", n, b"%d" % n), *filler, (b"last", n, b"%d" % n)], until=n)
    out, _ = reader.communicate(timeout=PATIENCE_S)
    assert reader.returncode == 0
    assert int(out) > 0
    store.close()
