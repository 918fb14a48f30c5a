"""The as-of join of 20 float columns, by Trimtab and Polars: from Parquet files to a frame in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import polars as pl

import trimtab as tt
from benchmarks.features.data import COLUMNS

EVENTS = tt.FileSource("events", "events.parquet", timestamp="at")
TTLS = {"trimtab": None, "trimtab 24h": "24h", "trimtab 720h": "720h"}
"""The second and third are compared with Feast, whose join costs by the ttl."""


def trimtab(ttl: str | None, folder: Path) -> pl.DataFrame:
    """tt.point_in_time_join."""
    view = tt.FeatureView("v", tt.Entity("user"), EVENTS, tt.last(*COLUMNS), ttl=ttl)
    labels = pl.read_parquet(folder / "labels.parquet")
    joined = tt.point_in_time_join(labels, [(view, pl.scan_parquet(folder / "events.parquet"))], at="asked")
    return joined.rename({f"v__{name}": name for name in COLUMNS})


def polars(folder: Path) -> pl.DataFrame:
    """DataFrame.join_asof; the files are in order of time, so it need not sort or check."""
    labels, events = pl.read_parquet(folder / "labels.parquet"), pl.read_parquet(folder / "events.parquet")
    joined = labels.join_asof(events, left_on="asked", right_on="at", by="user", check_sortedness=False)
    return joined.select("user", "asked", *COLUMNS)


def decode(folder: Path) -> pl.DataFrame:
    """Reading the events alone, which every join from this file must do."""
    return pl.read_parquet(folder / "events.parquet")


ENGINES: dict[str, Callable[[Path], pl.DataFrame]] = {
    **{name: partial(trimtab, ttl) for name, ttl in TTLS.items()},
    "polars": polars,
    "decode": decode,
}
PEERS = ("pandas", "duckdb", "feast-duckdb 24h", "feast-duckdb 720h", "feast-dask 24h")
"""Engines of peers/feast/engines.py."""


def check(found: Mapping[str, pl.DataFrame]) -> list[str]:
    """Compare each result with Trimtab's under the same ttl, to the bit and without regard to order."""
    lines = []
    for engine, frame in found.items():
        reference = found.get(f"trimtab {engine.partition(' ')[2]}".strip())
        if engine == "decode" or reference is None or reference is frame:
            continue
        ours, theirs = _rows(reference), _rows(frame)
        lost = ours.height - theirs.height
        if lost:
            ours = ours.join(theirs.select("asked", "user"), on=["asked", "user"], how="semi").unique()
            theirs = theirs.unique()
        same = "equal to the bit" if ours.sort(pl.all()).equals(theirs.sort(pl.all())) else "DIFFERENT VALUES"
        lines.append(f"{engine}: {same}{f', but {lost:,} of {reference.height:,} label rows are lost' if lost else ''}")
    return lines


def _rows(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(
        pl.col("asked").cast(pl.Datetime("us", "UTC")), "user", pl.col(COLUMNS).cast(pl.Float64).fill_nan(None)
    )
