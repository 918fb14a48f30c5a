"""Makes the example's data: bicycles hired in Washington, D.C., hour by hour in 2011, and the weather.

    python prepare.py            writes data/rides/2011-MM.parquet and data/weather.parquet

The table comes with the package ISLP; its source is Fanaee-T and Gama, "Event labeling combining ensemble detectors and
background knowledge", 2013. Only its data is read, so none of the package's dependencies are needed. Times become UTC,
and each row says when it became known: an hour is counted, and its weather measured, when it is over.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import polars as pl

WASHINGTON = "America/New_York"
INSTALL = "pip install --no-deps ISLP==0.6.0"
"""Without its dependencies, torch among them, which its data does not need."""
TEMPERATURES, WIND = 41, 67
"""What the table's columns were divided by: degrees Celsius, kilometres an hour."""


def package_data() -> Path:
    """Return the data folder of ISLP, without importing it."""
    spec = importlib.util.find_spec("ISLP")
    if spec is None or spec.origin is None:
        sys.exit(f"the data of this example is in the package ISLP, which is not installed. Install it with: {INSTALL}")
    return Path(spec.origin).parent / "data"


def hours(raw: pl.DataFrame) -> pl.DataFrame:
    """Return one row an hour with its time in UTC, in order of time; hours without a ride are not in the table."""
    local = pl.datetime(2011, 1, 1, time_unit="us") + pl.duration(
        days=pl.col("day") - 1, hours=pl.col("hr").cast(pl.Int64)
    )
    return (
        raw.with_columns(local=local)
        .with_columns(
            starts_at=pl.col("local")
            .dt.replace_time_zone(WASHINGTON, ambiguous="earliest", non_existent="null")
            .dt.convert_time_zone("UTC")
        )
        .drop_nulls("starts_at")  # the hour that summer time leaves out
        .with_columns(over_at=pl.col("starts_at") + pl.duration(hours=1), city=pl.lit("Washington"))
        .sort("starts_at")
    )


def rides(table: pl.DataFrame) -> pl.DataFrame:
    """Return what a request knows of an hour, and how many bicycles were hired in it."""
    return table.select(
        "starts_at",
        "over_at",
        "city",
        hour=pl.col("local").dt.hour().cast(pl.Int64),
        weekday="weekday",
        workingday=pl.col("workingday").cast(pl.Boolean),
        bikers=pl.col("bikers").cast(pl.Float64),
    )


def weather(table: pl.DataFrame) -> pl.DataFrame:
    """Return the weather of each hour: degrees Celsius, percent, kilometres an hour, 1 for rain or snow."""
    return table.select(
        "starts_at",
        "over_at",
        "city",
        temperature=(pl.col("temp") * TEMPERATURES).round(2),
        humidity=(pl.col("hum") * 100).round(1),
        wind=(pl.col("windspeed") * WIND).round(1),
        wet=pl.col("weathersit").str.contains("rain|snow").cast(pl.Float64),
    )


def write(folder: Path) -> None:
    """Write the Parquet files: rides by local month, weather as a whole."""
    if folder.is_dir() and any(folder.iterdir()):
        print(f"kept as it is: {folder}; remove it to make the data again")
        return
    table = hours(pl.read_csv(package_data() / "Bikeshare.csv"))
    draft = folder.with_name(folder.name + ".draft")  # renamed when it is complete
    shutil.rmtree(draft, ignore_errors=True)
    (draft / "rides").mkdir(parents=True)
    months = table.with_columns(month=pl.col("local").dt.strftime("%Y-%m")).partition_by("month", as_dict=True)
    for (month,), part in months.items():
        rides(part).write_parquet(draft / "rides" / f"{month}.parquet")
    weather(table).write_parquet(draft / "weather.parquet")
    draft.rename(folder)
    print(f"{table.height:,} hours in {len(months)} files and their weather: {folder}")


if __name__ == "__main__":
    write(Path(__file__).resolve().parent / "data")
