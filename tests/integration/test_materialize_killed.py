"""Steps of the online values in a process that is killed again and again: the timelines are those of one run."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

import trimtab as tt
from kit.waiting import PATIENCE_S
from trimtab.features.materialization import materialize
from trimtab.features.stream_state import StreamUpdater
from trimtab.stores.online.lmdb import LmdbOnline
from unit.features.test_stream_state import dump

KILLS, ROWS, BATCH = 4, 6_000, 20
PROGRAM = """
import sys
from pathlib import Path
from integration.test_materialize_killed import BATCH, VIEW, until
from trimtab.features.stream_state import StreamUpdater
from trimtab.stores.online.lmdb import LmdbOnline
import polars as pl

table, store = pl.read_parquet(sys.argv[1]), LmdbOnline(Path(sys.argv[2]))
updater = StreamUpdater(VIEW, store, table.lazy)
if updater.position is None:
    StreamUpdater(VIEW, store, table.head(BATCH).lazy).update(until=until(table, BATCH))
while (first := updater.position.rows) < table.height:
    updater.update(table[first : first + BATCH], until=until(table, first + BATCH), first=first)
    print(first, flush=True)
print("done", flush=True)
"""
SOURCE = tt.FileSource("events", "events.parquet", timestamp="at", known_at="known", key=["id"])
VIEW = tt.FeatureView("v", tt.Entity("user"), SOURCE, [tt.sum("x", "1h"), tt.count("5m"), tt.last("x")])


def until(table: pl.DataFrame, rows: int) -> int:
    """Return the greatest time of the first rows of the table."""
    return int(table.head(rows)["known"].to_physical().max())  # type: ignore[arg-type]  # integers


def test_killed_steps_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    known = np.sort(rng.integers(0, 4 * 3_600_000_000, ROWS))
    columns = {
        "id": rng.integers(0, ROWS * 9 // 10, ROWS),  # a tenth are corrections
        "user": rng.integers(0, 50, ROWS),
        "at": known - rng.integers(0, 600_000_000, ROWS),
        "known": known,
        "x": rng.normal(size=ROWS),
    }
    table = pl.DataFrame(columns).with_columns(pl.col("at", "known").cast(pl.Datetime("us", "UTC")))
    table.write_parquet(tmp_path / "table.parquet")
    for attempt in range(KILLS + 1):
        child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path / "table.parquet"), str(tmp_path / "online")],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        assert child.stdout is not None
        if attempt == KILLS:
            out, _ = child.communicate(timeout=PATIENCE_S)
            assert out.endswith("done\n")
            break
        assert child.stdout.readline()
        time.sleep(float(rng.uniform(0, 0.4)))
        child.kill()
        assert child.wait() != 0, "it ended before it was killed"
    online, whole = LmdbOnline(tmp_path / "online"), LmdbOnline(tmp_path / "whole")
    materialize(VIEW, table, whole, until=until(table, ROWS))
    assert dump(online, VIEW) == dump(whole, VIEW)
    position = StreamUpdater(VIEW, online, table.lazy).position
    assert position is not None
    assert position.rows == ROWS
    online.close()
    whole.close()
