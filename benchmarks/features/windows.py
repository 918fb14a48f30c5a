"""Count, sum, mean and largest value over 1 h, 24 h and 7 d before each event, by each engine.

Trimtab's sums are exact and its rows come in the order of the table; the others return theirs by entity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

import trimtab as tt
from benchmarks.features.data import SEED
from trimtab.features.point_in_time import view_values

WINDOWS = {"1h": 3_600_000_000, "24h": 86_400_000_000, "7d": 7 * 86_400_000_000}
NAMES = [f"{kind}_{window}" for kind in ("count", "sum", "mean", "max") for window in WINDOWS]
EVENTS = tt.FileSource("events", "events.parquet", timestamp="at")
VIEW = tt.FeatureView(
    "v",
    tt.Entity("user"),
    EVENTS,
    [tt.count(*WINDOWS), tt.sum("f0", *WINDOWS), tt.mean("f0", *WINDOWS), tt.max("f0", *WINDOWS)],
)
CHECKED_ROWS = 500
TOLERANCE = 1e-9


def _events(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "events.parquet", columns=["user", "at", "f0"])


def trimtab(folder: Path) -> pl.DataFrame:
    """view_values at the time of each event."""
    events = _events(folder)
    values = view_values(VIEW, events, events.select("user"), events["at"].to_physical().to_numpy())
    return pl.concat([events, values.rename(dict(zip(values.columns, NAMES, strict=True)))], how="horizontal")


def polars(folder: Path) -> pl.DataFrame:
    """DataFrame.rolling, once a window."""
    events = _events(folder).sort("user", "at")
    parts = [
        events.rolling("at", period=window, group_by="user").agg(
            pl.len().alias(f"count_{window}"),
            pl.col("f0").sum().alias(f"sum_{window}"),
            pl.col("f0").mean().alias(f"mean_{window}"),
            pl.col("f0").max().alias(f"max_{window}"),
        )
        for window in WINDOWS
    ]
    return pl.concat([events, *(part.drop("user", "at") for part in parts)], how="horizontal")


def sort(folder: Path) -> pl.DataFrame:
    """Reading the three columns and sorting them by entity: the floor of the others."""
    return _events(folder).sort("user", "at")


ENGINES = {"trimtab": trimtab, "polars": polars, "sort": sort}
PEERS = ("duckdb", "pandas")
"""Engines of peers/feast/engines.py."""


def check(found: Mapping[str, pl.DataFrame]) -> list[str]:
    """Compare a sample with math.fsum to the bit, and the engines with one another."""
    _check_sample(found["trimtab"])
    reference = found["trimtab"].sort("user", "at", "f0")
    for engine, frame in found.items():
        if engine in ("trimtab", "sort"):
            continue
        ordered = frame.sort("user", "at", "f0")
        for name in NAMES:
            exact = name.startswith(("count", "max"))
            one, other = (f[name].cast(pl.Float64).to_numpy() for f in (ordered, reference))
            if not (np.array_equal(one, other) if exact else np.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE)):
                raise SystemExit(f"{engine} and trimtab differ in {name}")
    return [
        f"{reference.height:,} rows, {len(NAMES)} features: {CHECKED_ROWS} rows equal math.fsum to the bit; "
        f"the engines agree (sums within {TOLERANCE:g})"
    ]


def _check_sample(frame: pl.DataFrame) -> None:
    chosen = np.random.default_rng(SEED).integers(0, frame.height, CHECKED_ROWS).tolist()
    for row in frame[chosen].rows(named=True):
        mine = frame.filter(pl.col("user") == row["user"])
        ages = (row["at"] - mine["at"]).dt.total_microseconds()
        for window, size in WINDOWS.items():
            values = mine.filter((ages >= 0) & (ages < size))["f0"].to_list()
            total = math.fsum(values)
            expected = (float(len(values)), total, total / len(values), max(values))
            found = tuple(row[f"{kind}_{window}"] for kind in ("count", "sum", "mean", "max"))
            if found != expected:
                raise SystemExit(f"trimtab gives {found}, the definition {expected}")
