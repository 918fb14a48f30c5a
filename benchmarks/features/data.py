"""Makes seeded tables: events in order of time, with a key and float columns; labels at times in between."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

COLUMNS = tuple(f"f{n}" for n in range(20))
START = 1_700_000_000_000_000
"""Time of the first event, in microseconds."""
SPAN = 90 * 86_400_000_000
EVENTS_PER_ENTITY = 100
SEED = 7


def write(folder: Path, *, events: int, labels: int) -> None:
    """Write events.parquet and labels.parquet."""
    rng = np.random.default_rng(SEED)
    entities = max(1, events // EVENTS_PER_ENTITY)
    moments = pl.Series("at", np.sort(START + rng.integers(0, SPAN, events))).cast(pl.Datetime("us", "UTC"))
    users = pl.Series("user", rng.integers(0, entities, events))
    values = [pl.Series(name, rng.normal(size=events)) for name in COLUMNS]
    pl.DataFrame([users, moments, *values]).write_parquet(folder / "events.parquet")
    asked = pl.Series("asked", np.sort(START + rng.integers(0, SPAN, labels))).cast(pl.Datetime("us", "UTC"))
    users = pl.Series("user", rng.integers(0, entities, labels))
    pl.DataFrame([users, asked]).write_parquet(folder / "labels.parquet")
