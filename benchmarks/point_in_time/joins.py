"""The as-of join of 20 float columns, by each engine: from Parquet files to a frame in memory."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import polars as pl

import trimtab as tt
from benchmarks.point_in_time.data import COLUMNS

EVENTS = tt.FileSource("events", "events.parquet", timestamp="at")
VIEW = tt.FeatureView("v", tt.Entity("user"), EVENTS, tt.last(*COLUMNS))


def trimtab(folder: Path) -> pl.DataFrame:
    """tt.point_in_time_join."""
    labels = pl.read_parquet(folder / "labels.parquet")
    joined = tt.point_in_time_join(labels, [(VIEW, pl.scan_parquet(folder / "events.parquet"))], at="asked")
    return joined.rename({f"v__{name}": name for name in COLUMNS})


def polars(folder: Path) -> pl.DataFrame:
    """DataFrame.join_asof; the files are in order of time, so it need not sort or check."""
    labels, events = pl.read_parquet(folder / "labels.parquet"), pl.read_parquet(folder / "events.parquet")
    joined = labels.join_asof(events, left_on="asked", right_on="at", by="user", check_sortedness=False)
    return joined.select("user", "asked", *COLUMNS)


def duckdb(folder: Path) -> pl.DataFrame:
    """ASOF LEFT JOIN; DuckDB does not keep the order of the labels."""
    connection = import_module("duckdb").connect()
    columns = ", ".join(f"e.{name}" for name in COLUMNS)
    query = (
        f"SELECT l.user, l.asked, {columns} FROM '{folder}/labels.parquet' l "
        f"ASOF LEFT JOIN '{folder}/events.parquet' e ON l.user = e.user AND l.asked >= e.at"
    )
    frame: pl.DataFrame = connection.sql(query).pl()
    return frame


def decode(folder: Path) -> pl.DataFrame:
    """Reading the events alone, which every join from this file must do."""
    return pl.read_parquet(folder / "events.parquet")


ENGINES = {"trimtab": trimtab, "polars": polars, "duckdb": duckdb, "decode": decode}


def check(found: dict[str, pl.DataFrame]) -> str:
    """Compare all results with Trimtab's, to the bit; return the result in one line."""
    reference = found["trimtab"]
    for engine, frame in found.items():
        if engine == "decode":
            continue
        if engine == "duckdb":  # compare as sets: its order is another one
            frame = frame.with_columns(pl.col("asked").cast(reference["asked"].dtype)).sort(pl.all())
            same = frame.equals(reference.sort(pl.all()))
        else:
            same = frame.equals(reference)
        if not same:
            raise SystemExit(f"{engine} and trimtab differ")
    return f"{reference.height:,} rows, {len(COLUMNS)} columns: all engines agree to the bit"
