"""Joins and windows by Feast, DuckDB and pandas: the same data, files and result as ours.

Usage: python -m benchmarks.features.peers.feast.engines TASK ENGINE FOLDER RUNS
Prints one JSON object and leaves the result in FOLDER/TASK-ENGINE.parquet.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64

from benchmarks.features.timing import measured

COLUMNS = [f"f{n}" for n in range(20)]
WINDOWS = {"1h": 3_600_000_000, "24h": 86_400_000_000, "7d": 7 * 86_400_000_000}


def feast_join(folder: Path, offline: str, hours: int) -> Any:
    """Return a call of get_historical_features."""
    place = folder / f"feast-{offline}-{hours}"
    place.mkdir(exist_ok=True)
    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(place / "registry.db"),
        offline_store={"type": offline},
        online_store={"type": "sqlite", "path": str(place / "online.db")},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    user = Entity(name="user", value_type=ValueType.INT64)
    source = FileSource(path=str(folder / "events.parquet"), timestamp_field="at")
    fields = [Field(name=name, dtype=Float64) for name in COLUMNS]
    store.apply(
        [user, FeatureView(name="v", entities=[user], ttl=timedelta(hours=hours), schema=fields, source=source)]
    )
    names = [f"v:{name}" for name in COLUMNS]

    def run() -> pd.DataFrame:
        labels = pd.read_parquet(folder / "labels.parquet").rename(columns={"asked": "event_timestamp"})
        found: pd.DataFrame = store.get_historical_features(labels, names).to_df()
        return found.rename(columns={"event_timestamp": "asked"})

    return run


def duckdb_join(folder: Path) -> pd.DataFrame:
    """ASOF LEFT JOIN."""
    columns = ", ".join(f"e.{name}" for name in COLUMNS)
    query = (
        f"SELECT l.user, l.asked, {columns} FROM '{folder}/labels.parquet' l "
        f"ASOF LEFT JOIN '{folder}/events.parquet' e ON l.user = e.user AND l.asked >= e.at"
    )
    found: pd.DataFrame = duckdb.connect().sql(query).df()
    return found


def pandas_join(folder: Path) -> pd.DataFrame:
    """merge_asof."""
    labels, events = pd.read_parquet(folder / "labels.parquet"), pd.read_parquet(folder / "events.parquet")
    return pd.merge_asof(labels, events, left_on="asked", right_on="at", by="user")


def duckdb_windows(folder: Path) -> pd.DataFrame:
    """RANGE windows."""
    calls = (("count", "count(*)"), ("sum", "sum(f0)"), ("mean", "avg(f0)"), ("max", "max(f0)"))
    columns = ", ".join(f"{call} OVER w{window} AS {name}_{window}" for name, call in calls for window in WINDOWS)
    windows = ", ".join(
        f'w{name} AS (PARTITION BY "user" ORDER BY epoch_us("at") RANGE BETWEEN {size - 1} PRECEDING AND CURRENT ROW)'
        for name, size in WINDOWS.items()
    )
    query = f'SELECT "user", "at", f0, {columns} FROM \'{folder}/events.parquet\' WINDOW {windows}'
    found: pd.DataFrame = duckdb.connect().sql(query).df()
    return found


def pandas_windows(folder: Path) -> pd.DataFrame:
    """Rolling windows of groups."""
    events = pd.read_parquet(folder / "events.parquet", columns=["user", "at", "f0"]).sort_values(["user", "at"])
    events = events.reset_index(drop=True)
    for name in WINDOWS:
        rolling = events.groupby("user", sort=False).rolling(name, on="at")["f0"]
        for kind in ("count", "sum", "mean", "max"):
            events[f"{kind}_{name}"] = getattr(rolling, kind)().to_numpy()
    return events


def main(task: str, engine: str, folder: Path, runs: int) -> None:
    """Run one engine."""
    name, _, ttl = engine.partition(" ")
    if name.startswith("feast"):
        with contextlib.redirect_stdout(sys.stderr):
            run = feast_join(folder, name.removeprefix("feast-"), int(ttl.removesuffix("h")))
    else:
        function = globals()[f"{name}_{task}"]

        def run() -> pd.DataFrame:
            found: pd.DataFrame = function(folder)
            return found

    measured(run, runs).to_parquet(folder / f"{task}-{engine}.parquet", index=False)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
