"""The online store: writes of all entities with 20 features, and reads of 1 and 100 of them, beside Feast's SQLite.

Both write what their own materialisation makes of one file.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

import trimtab as tt
from benchmarks.features.data import COLUMNS
from benchmarks.features.timing import median_us
from trimtab.clock import to_micros
from trimtab.definitions.collection import Definitions
from trimtab.features.feature_reads import FeatureReads
from trimtab.features.materialization import materialize
from trimtab.stores.catalog import open_online

USERS = tt.FileSource("users", "users.parquet", timestamp="at")
VIEW = tt.FeatureView("v", tt.Entity("user"), USERS, tt.last(*COLUMNS))
READS = {1: 2_000, 100: 300}
"""Entities of a read -> reads."""
SEED = 3
PROMISES = (("write_s", 20.0), ("read_1_us", 40.0), ("read_100_us", 40.0))
"""How many times as quick as Feast."""


def write_users(folder: Path, entities: int) -> None:
    """Write users.parquet, one row an entity, of the last hour."""
    rng = np.random.default_rng(SEED)
    at = datetime.now(UTC) - timedelta(hours=1)
    values = [pl.Series(name, rng.normal(size=entities)) for name in COLUMNS]
    users = pl.DataFrame([pl.Series("user", np.arange(entities)), *values])
    users.with_columns(pl.lit(at).cast(pl.Datetime("us", "UTC")).alias("at")).write_parquet(folder / "users.parquet")


def chosen(entities: int, size: int, number: int) -> list[int]:
    """Return the entities of a read."""
    return [(number * 7919 + each * 104_729) % entities for each in range(size)]


def own(folder: Path, entities: int) -> dict[str, float]:
    """Return the figures of our store."""
    rows, online = pl.scan_parquet(folder / "users.parquet"), open_online(None, folder / "online")
    now = to_micros(datetime.now(UTC))
    began, cpu = time.perf_counter(), time.process_time()
    materialize(VIEW, rows, online, until=now)
    figures = {"write_s": time.perf_counter() - began, "write_cpu_s": time.process_time() - cpu}
    defined = Definitions({"users": USERS}, {"user": VIEW.entity}, {"v": VIEW}, {}, {})
    reads = FeatureReads(lambda: defined, online)
    features = reads.named([f"v:{name}" for name in COLUMNS])
    prefix = online.prefix(VIEW.version_id)
    for size, times in READS.items():
        keys = [[(prefix, b"i%d" % one) for one in chosen(entities, size, n)] for n in range(times * 2)]
        assert None not in online.read(keys[0], now)

        def packed(number: int, keys: list[list[tuple[bytes, bytes]]] = keys) -> None:
            values = [value[: 8 * len(COLUMNS)] for value in online.read(keys[number], now) if value is not None]
            np.frombuffer(b"".join(values))

        def named(number: int, size: int = size) -> None:
            given = {"user": chosen(entities, size, number)}
            reads.read(features, given, at=now, full_names=False)

        figures[f"read_{size}_us"] = median_us(packed, times)
        figures[f"named_{size}_us"] = median_us(named, times)
    online.close()
    return figures


def report(entities: int, feast: Path) -> None:
    """Measure and print."""
    print(f"\nOnline store: {entities:,} entities, {len(COLUMNS)} features", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_users(folder, entities)
        figures = {"trimtab": own(folder, entities)}
        if feast.exists():
            command = [str(feast), "-m", "benchmarks.features.peers.feast.online", "measure", name, str(entities)]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
            figures["feast"] = json.loads(done.stdout.splitlines()[-1])
    print(f"{'':10}{'write s':>9}{'1 us':>9}{'100 us':>9}{'1, by name':>12}{'100, by name':>14}")
    for engine, row in figures.items():
        by_name = [f"{row[key]:.0f}" if key in row else "" for key in ("named_1_us", "named_100_us")]
        one, many = row["read_1_us"], row["read_100_us"]
        print(f"{engine:10}{row['write_s']:9.2f}{one:9.1f}{many:9.0f}{by_name[0]:>12}{by_name[1]:>14}")
    if "feast" in figures:
        for key, least in PROMISES:
            ratio = figures["feast"][key] / figures["trimtab"][key]
            kept = "" if ratio >= least else "  NOT KEPT"
            print(f"  feast / trimtab, {key}: {ratio:.0f}x, promised >= {least:g}x{kept}")
