"""`python -m benchmarks.stream_state.pauses`: how long reads of one view take while another version is written.

A process reads 2 entities of the old version over and over. Meanwhile this one writes a new version of 100,000 entities
with 20 features, replaces it, and drops a third one. Printed are the median, the 99.9th percentile and the longest read
beside those of a reader that is alone. Time for which the reader waited for a processor (/proc/self/schedstat) is left
out, where the system counts it: it is that of a busy machine, not of the store.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from trimtab.stores.online.lmdb import LmdbOnline

ENTITIES, FEATURES = 100_000, 20
READER = """
import sys, time
from pathlib import Path
import numpy as np
from trimtab.stores.online.lmdb import LmdbOnline
store = LmdbOnline(Path(sys.argv[1]))
wanted = [(store.prefix("view@old"), b"7"), (store.prefix("view@old"), b"90000")]
print("ready", flush=True)
end, times = time.monotonic() + float(sys.argv[2]), []
def waited():
    try:
        with open("/proc/self/schedstat") as file:
            return int(file.read().split()[1]) / 1e9
    except OSError:
        return 0.0
while time.monotonic() < end:
    before, began = waited(), time.perf_counter()
    found = store.read(wanted, 10)
    took = time.perf_counter() - began
    times.append(max(0.0, took - (waited() - before)) if took > 1e-3 else took)
    assert None not in found
us = np.array(times) * 1e6
quantiles = f"median {np.median(us):.1f} us, 99.9 % {np.quantile(us, 0.999):.0f} us"
print(f"{len(us):,} reads: {quantiles}, longest {us.max() / 1000:.2f} ms")
"""


def entries(version: int) -> list[tuple[bytes, int, bytes]]:
    """Return one entry of each entity."""
    rng = np.random.default_rng(version)
    return [(b"%d" % n, 5, rng.random(FEATURES).tobytes()) for n in range(ENTITIES)]


def read_beside(folder: str, seconds: float, work: object) -> str:
    """Return what a reader of its own process says while `work` is done."""
    reader = subprocess.Popen([sys.executable, "-c", READER, folder, str(seconds)], stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    reader.stdout.readline()
    if callable(work):
        work()
    return reader.communicate()[0].strip()


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        store = LmdbOnline(Path(folder))
        store.write("view@old", entries(0), until=10)
        store.write("third@old", entries(3), until=10)
        first, second = entries(1), entries(2)

        def write() -> None:
            for name, rows in (("write of a new version", first), ("full replacement of it", second)):
                began = time.perf_counter()
                store.write("view@new", rows, until=10, replace=True)
                print(f"{name}: {time.perf_counter() - began:.2f} s")
            began = time.perf_counter()
            store.drop("third@old")
            print(f"removal of another: {time.perf_counter() - began:.2f} s")

        print("alone:  ", read_beside(folder, 4, None))
        print("written:", read_beside(folder, 6, write))
        store.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
