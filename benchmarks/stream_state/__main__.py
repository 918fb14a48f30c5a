"""`python -m benchmarks.stream_state [--events N]`: processor time an event at several sizes of a batch.

Card payments in order of time: each of 10,000 cards pays six times a day, so a card has about 42 rows in the longest
window. The view has a count, a sum, a mean, a maximum and a latest value over windows of an hour, a day and a week.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.update({"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"})

import numpy as np
import polars as pl

import trimtab as tt
from trimtab.features.stream_state import ENTITY_ROWS, StreamUpdater
from trimtab.stores.catalog import open_online

CARDS, PER_DAY = 10_000, 6
SOURCE = tt.FileSource("payments", "payments.parquet", timestamp="at")
DAY = 86_400_000_000


def payments(days: float, seed: int = 1) -> pl.DataFrame:
    """Return random payments in order of time."""
    rng = np.random.default_rng(seed)
    count = int(CARDS * PER_DAY * days)
    at = np.sort(rng.integers(0, int(days * DAY), count))
    return pl.DataFrame(
        {
            "card": rng.integers(0, CARDS, count),
            "at": pl.Series(at).cast(pl.Datetime("us", "UTC")),
            "amount": rng.gamma(2.0, 30.0, count).round(2),
        }
    )


def view(every: str | None) -> tt.FeatureView:
    """Return the view that is measured."""
    features = [
        tt.count("1h", "1d", "7d"),
        tt.sum("amount", "1d", "7d"),
        tt.mean("amount", "7d"),
        tt.max("amount", "1d"),
        tt.last("amount"),
    ]
    return tt.FeatureView("spent", tt.Entity("card"), SOURCE, features, every=every)


def main() -> int:
    """Measure; print a line for each size of a batch."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stream_state")
    parser.add_argument("--days", type=float, default=8.0, help="days of payments before the measurement")
    parser.add_argument("--events", type=int, default=20_000, help="most events of a measurement")
    asked = parser.parse_args()
    table = payments(asked.days + 1)
    ready = int(CARDS * PER_DAY * asked.days)
    for every in (None, "5m", "1h"):
        own = view(every)
        with tempfile.TemporaryDirectory() as folder:
            online = open_online(None, Path(folder))
            began, until = time.process_time(), int(table["at"][ready - 1].timestamp() * 1e6)
            StreamUpdater(own, online, table.head(ready).lazy).update(until=until)
            print(f"every {every}: {ready:,} rows from the table in {time.process_time() - began:.1f} s of CPU")
            states = [
                len(s) for s in online.state(own.version_id, [ENTITY_ROWS + b"i%d" % n for n in range(CARDS)]) if s
            ]
            size = sum(file.stat().st_size for file in Path(folder).rglob("data.mdb"))
            print(f"  state: {np.mean(states):,.0f} bytes an entity; whole store {size / 1e6:,.0f} MB")
            first = ready
            for batch, steps in ((1, 200), (100, 50), (10_000, max(1, asked.events // 10_000))):
                updater = StreamUpdater(own, online, table.lazy)
                began, wall, changed = time.process_time(), time.perf_counter(), 0
                for _ in range(steps):
                    rows = table[first : first + batch]
                    changed += updater.update(rows, until=int(rows["at"][-1].timestamp() * 1e6) + 1, first=first)
                    first += batch
                events = batch * steps
                cpu, wall = (time.process_time() - began) / events * 1e6, (time.perf_counter() - wall) / events * 1e6
                print(
                    f"  batches of {batch:>6,}: {cpu:>8,.0f} us of CPU an event, {wall:>8,.0f} us of time, "
                    f"{changed / events:.1f} entries",
                    flush=True,
                )
            online.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
