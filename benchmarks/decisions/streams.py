"""Eleven real streams as histories: rows in windows, features as they could be known, labels two windows late.

A window of a stream (a day, some weeks, or so many rows) becomes one day of event time, so that policies are written
once. Features that are made of labels use windows whose labels were known when the row came. Large streams are thinned
out. The data comes in packages that `data.py` names; nothing of it is kept in this repository.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.decisions.data import read
from trimtab.app.backtest.labelled_history import History
from trimtab.metric_catalog import Mistake, Task
from trimtab.units import MICROS

DAY = MICROS["d"]
EPOCH_DAY = 10_957
"""2000-01-01, in days since 1970: where the event time of every stream begins."""
DELAY = 2
"""Windows after which a label is known, beyond the end of its own."""
MOST_ROWS = 40_000

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One stream. tuning: whether constants were chosen with a look at it."""

    name: str
    task: Task
    build: Callable[[Path, int], Rows]
    costs: dict[Mistake, float]
    first: float = 0.25
    """Share of the windows on which the first model is trained."""
    min_samples_leaf: int = 40
    tuning: bool = False


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows in order. window: number of each row's window from 0 on, not falling."""

    window: Ints
    y: Floats
    columns: dict[str, npt.ArrayLike] = field(default_factory=dict)


def history(stream: Stream, folder: Path, *, delay: int = DELAY) -> History:
    """Return the history of a stream. delay: of the labels, in windows."""
    rows = stream.build(folder, delay)
    order = np.argsort(rows.window, kind="stable")
    window = rows.window[order]
    X = np.column_stack([np.asarray(values, np.float64)[order] for values in rows.columns.values()])
    first = np.searchsorted(window, window, side="left")
    count = np.searchsorted(window, window, side="right") - first
    place = (np.arange(len(window)) - first) / count
    at = (EPOCH_DAY + window) * DAY + (place * 0.98 * DAY).astype(np.int64)
    return History(
        task=stream.task,
        names=tuple(rows.columns),
        X=X.astype(np.float32),
        y=rows.y[order],
        at=at,
        known_at=(EPOCH_DAY + window + 1 + delay) * DAY,
    )


def earlier_mean(key: npt.ArrayLike, window: Ints, values: Floats, *, lag: int, span: int | None = None) -> Floats:
    """Return the mean of the values with the same key in the windows up to `lag` windows before each row's own.

    span: of so many windows; None: of all. NaN where there are none.
    """
    codes, uniques = pd.factorize(np.asarray(key))
    shape = (len(uniques), int(window.max()) + 2)
    sums, counts = np.zeros(shape), np.zeros(shape)
    known = np.isfinite(values)
    np.add.at(sums, (codes[known], window[known] + 1), values[known])
    np.add.at(counts, (codes[known], window[known] + 1), 1.0)
    sums, counts = sums.cumsum(axis=1), counts.cumsum(axis=1)
    last = np.maximum(window - lag + 1, 0)
    first = np.zeros_like(last) if span is None else np.maximum(last - span, 0)
    total, number = (each[codes, last] - each[codes, first] for each in (sums, counts))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.where(number > 0, total / number, np.nan)
    return found


def _thinned(frame: pd.DataFrame, most: int = MOST_ROWS) -> pd.DataFrame:
    if len(frame) <= most:
        return frame
    kept = np.sort(np.random.default_rng(7).choice(len(frame), most, replace=False))
    return frame.iloc[kept].reset_index(drop=True)


def _codes(column: Any) -> Floats:
    found: Floats = pd.factorize(column, sort=True)[0].astype(np.float64)
    return found


def _days(column: Any) -> Ints:
    times: Any = pd.to_datetime(column, utc=True)
    found: Ints = (times.astype("int64") // {"ns": 10**9, "us": 10**6}[times.dt.unit] // 86_400).to_numpy(np.int64)
    return found


def _flights(folder: Path, delay: int) -> Rows:
    flights, weather = read(folder, "flights"), read(folder, "weather")
    flights = flights.dropna(subset=["arr_delay"]).sort_values(["month", "day", "sched_dep_time"])
    flights = _thinned(flights.reset_index(drop=True))
    weather = weather.drop_duplicates(["origin", "time_hour"])
    flights = flights.merge(
        weather.drop(columns=["year", "month", "day", "hour"]), on=["origin", "time_hour"], how="left"
    )
    days = _days(flights[["year", "month", "day"]])
    window = days - days.min()
    late = (flights["arr_delay"].to_numpy() > 15).astype(np.float64)
    lag = delay + 1
    columns: dict[str, npt.ArrayLike] = {
        "hour": flights["sched_dep_time"] // 100,
        "weekday": (days + 3) % 7,
        "distance": flights["distance"],
        **{name: flights[name] for name in ("temp", "humid", "wind_speed", "precip", "visib", "pressure")},
        "late_all_7": earlier_mean(np.zeros(len(late)), window, late, lag=lag, span=7),
    }
    for name in ("carrier", "origin", "dest"):
        columns[f"late_{name}"] = earlier_mean(flights[name], window, late, lag=lag)
        columns[f"late_{name}_28"] = earlier_mean(flights[name], window, late, lag=lag, span=28)
    return Rows(window=window, y=late, columns=columns)


def _stops(folder: Path, delay: int) -> Rows:
    stops = read(folder, "stops")
    stops = stops.dropna(subset=["personSearch"]).sort_values("date").reset_index(drop=True)
    days = _days(stops["date"])
    window = days - days.min()
    searched = (stops["personSearch"] == "YES").to_numpy().astype(np.float64)
    lag = delay + 1
    columns: dict[str, npt.ArrayLike] = {
        "hour": pd.to_datetime(stops["date"], utc=True).dt.hour,
        "weekday": (days + 3) % 7,
        "traffic": stops["problem"] == "traffic",
        "lat": stops["lat"],
        "long": stops["long"],
        "precinct": stops["policePrecinct"],
        "gender": _codes(stops["gender"].fillna("?")),
        "race": _codes(stops["race"].fillna("?")),
    }
    for name in ("neighborhood", "problem", "policePrecinct"):
        columns[f"searched_{name}_28"] = earlier_mean(stops[name], window, searched, lag=lag, span=28)
    return Rows(window=window, y=searched, columns=columns)


def _ridership(folder: Path, delay: int) -> Rows:
    rides = read(folder, "ridership").sort_values("date").reset_index(drop=True)
    days = _days(rides["date"])
    window = (days - days.min()) // 16
    y = rides["ridership"].to_numpy(np.float64)
    zero, lag = np.zeros(len(y)), delay + 1
    stations = ("Clark_Lake", "Quincy_Wells", "Belmont", "Merchandise_Mart", "Monroe", "Addison")
    columns: dict[str, npt.ArrayLike] = {
        "weekday": (days + 3) % 7,
        "day_of_year": pd.to_datetime(rides["date"], utc=True).dt.dayofyear,
        **{name: rides[name] for name in ("temp", "percip", "weather_snow", "Cubs_Home", "Bulls_Home", "Bears_Home")},
        **{f"{name}_14": rides[name] for name in stations},
        "mean_8": earlier_mean(zero, window, y, lag=lag, span=8),
        "weekday_8": earlier_mean((days + 3) % 7, window, y, lag=lag, span=8),
        "weekday_23": earlier_mean((days + 3) % 7, window, y, lag=lag, span=23),
    }
    return Rows(window=window, y=y, columns=columns)


def _bikes(folder: Path, delay: int, *, binary: bool) -> Rows:
    bikes = read(folder, "bikes").sort_values(["day", "hr"], kind="stable").reset_index(drop=True)
    window = bikes["day"].to_numpy(np.int64) - 1
    hour = bikes["hr"].astype(int).to_numpy()
    y = bikes["bikers"].to_numpy(np.float64)
    if binary:
        y = (y > 180).astype(np.float64)
    lag = delay + 1
    columns: dict[str, npt.ArrayLike] = {
        "hour": hour,
        "weekday": bikes["weekday"],
        "workingday": bikes["workingday"],
        "weather": _codes(bikes["weathersit"]),
        **{name: bikes[name] for name in ("temp", "atemp", "hum", "windspeed")},
        "hour_7": earlier_mean(hour, window, y, lag=lag, span=7),
        "hour_28": earlier_mean(hour, window, y, lag=lag, span=28),
        "all_7": earlier_mean(np.zeros(len(y)), window, y, lag=lag, span=7),
    }
    return Rows(window=window, y=y, columns=columns)


def _bikes_regression(folder: Path, delay: int) -> Rows:
    return _bikes(folder, delay, binary=False)


def _bikes_binary(folder: Path, delay: int) -> Rows:
    return _bikes(folder, delay, binary=True)


def _movies(folder: Path, delay: int) -> Rows:
    ratings = read(folder, "movielens").sort_values(["timestamp", "rownames"]).reset_index(drop=True)
    ratings = _thinned(ratings)
    window = np.arange(len(ratings)) // 160
    y = ratings["rating"].to_numpy(np.float64)
    lag = delay + 1
    seen = np.ones(len(y))
    genres = ratings["genres"].fillna("")
    columns: dict[str, npt.ArrayLike] = {
        "user_mean": earlier_mean(ratings["userId"], window, y, lag=lag),
        "movie_mean": earlier_mean(ratings["movieId"], window, y, lag=lag),
        "movie_seen": ratings.groupby("movieId").cumcount() * seen,
        "user_seen": ratings.groupby("userId").cumcount() * seen,
        "genre_mean": earlier_mean(genres, window, y, lag=lag),
        "all_28": earlier_mean(np.zeros(len(y)), window, y, lag=lag, span=28),
        "year": ratings["year"],
        **{name.lower(): genres.str.contains(name) for name in ("Drama", "Comedy", "Action", "Thriller", "Horror")},
    }
    return Rows(window=window, y=y, columns=columns)


def _hotels(folder: Path, delay: int) -> Rows:
    hotels = read(folder, "hotels").sort_values("arrival_date", kind="stable").reset_index(drop=True)
    days = _days(hotels["arrival_date"])
    window = (days - days.min()) // 2
    y = hotels["avg_price_per_room"].to_numpy(np.float64)
    lag = delay + 1
    plain = (
        "lead_time", "stays_in_weekend_nights", "stays_in_week_nights", "adults", "children", "booking_changes",
        "total_of_special_requests", "near_christmas", "near_new_years", "is_repeated_guest",
    )  # fmt: skip
    columns: dict[str, npt.ArrayLike] = {
        "weekday": (days + 3) % 7,
        **{name: hotels[name] for name in plain},
        **{name: _codes(hotels[name]) for name in ("meal", "market_segment", "customer_type", "reserved_room_type")},
        "room_14": earlier_mean(hotels["reserved_room_type"], window, y, lag=lag, span=14),
        "segment_14": earlier_mean(hotels["market_segment"], window, y, lag=lag, span=14),
        "all_14": earlier_mean(np.zeros(len(y)), window, y, lag=lag, span=14),
    }
    return Rows(window=window, y=y, columns=columns)


def _births(folder: Path, delay: int) -> Rows:
    births = read(folder, "births").sort_values(["date", "state"]).reset_index(drop=True)
    births = births[births["births"] > 0].reset_index(drop=True)
    births = _thinned(births)
    days = _days(births["date"])
    window = (days - days.min()) // 21
    y = births["births"].to_numpy(np.float64)
    lag = delay + 1
    times = pd.to_datetime(births["date"], utc=True)
    columns: dict[str, npt.ArrayLike] = {
        "weekday": (days + 3) % 7,
        "month": times.dt.month,
        "day": times.dt.day,
        "state_6": earlier_mean(births["state"], window, y, lag=lag, span=6),
        "state_17": earlier_mean(births["state"], window, y, lag=lag, span=17),
        "state": earlier_mean(births["state"], window, y, lag=lag),
    }
    return Rows(window=window, y=y, columns=columns)


def _restaurants(folder: Path, delay: int) -> Rows:
    found = read(folder, "restaurants").sort_values("Year", kind="stable").reset_index(drop=True)
    year = found["Year"].to_numpy(np.int64)
    within = found.groupby("Year").cumcount().to_numpy() / found.groupby("Year")["Year"].transform("size").to_numpy()
    windows = 20
    window = (_codes(year) * windows + np.floor(within * windows)).astype(np.int64)
    y = found["inspection_score"].to_numpy(np.float64)
    lag = delay + 1
    columns: dict[str, npt.ArrayLike] = {
        "locations": found["NumberofLocations"],
        "weekend": found["Weekend"],
        "name_length": found["business_name"].str.len(),
        "business": earlier_mean(found["business_name"], window, y, lag=lag),
        "all_14": earlier_mean(np.zeros(len(y)), window, y, lag=lag, span=14),
        "weekend_28": earlier_mean(found["Weekend"], window, y, lag=lag, span=28),
    }
    return Rows(window=window, y=y, columns=columns)


def _employment(folder: Path, delay: int) -> Rows:
    people = _thinned(read(folder, "employment"))
    year = people["year"].to_numpy(np.int64)
    windows = 40
    within = people.groupby("year").cumcount().to_numpy() / people.groupby("year")["year"].transform("size").to_numpy()
    window = ((year - year.min()) * windows + np.floor(within * windows)).astype(np.int64)
    y = people["employed"].to_numpy(np.float64)
    names = [name for name in people.columns if name not in ("id", "employed", "year")]
    return Rows(window=window, y=y, columns={name: people[name] for name in names})


def _electricity(folder: Path, delay: int) -> Rows:
    demand = read(folder, "electricity").sort_values("rownames").reset_index(drop=True)
    place = np.arange(len(demand))
    window, half_hour = place // 48, place % 48
    y = demand["Demand"].to_numpy(np.float64)
    lag = delay + 1
    columns: dict[str, npt.ArrayLike] = {
        "half_hour": half_hour,
        "weekday": (window + 2) % 7,
        "work_day": demand["WorkDay"],
        "temperature": demand["Temperature"],
        "temperature_before": demand["Temperature"].shift(4),
        "half_hour_7": earlier_mean(half_hour, window, y, lag=lag, span=7),
        "half_hour_28": earlier_mean(half_hour, window, y, lag=lag, span=28),
        "all_7": earlier_mean(np.zeros(len(y)), window, y, lag=lag, span=7),
    }
    return Rows(window=window, y=y, columns=columns)


STREAMS: dict[str, Stream] = {
    stream.name: stream
    for stream in (
        Stream(
            name="flights",
            task="binary",
            build=_flights,
            costs={"false_negative": 40, "false_positive": 20},
            tuning=True,
        ),
        Stream(
            name="stops", task="binary", build=_stops, costs={"false_negative": 5, "false_positive": 1}, tuning=True
        ),
        Stream(
            name="ridership",
            task="regression",
            build=_ridership,
            costs={"absolute_error": 100},
            min_samples_leaf=20,
            tuning=True,
        ),
        Stream(name="bikes", task="regression", build=_bikes_regression, costs={"absolute_error": 1}),
        Stream(
            name="bikes, binary", task="binary", build=_bikes_binary, costs={"false_negative": 50, "false_positive": 20}
        ),
        Stream(name="movies", task="regression", build=_movies, costs={"absolute_error": 1}),
        Stream(name="hotels", task="regression", build=_hotels, costs={"absolute_error": 1}),
        Stream(name="births", task="regression", build=_births, costs={"absolute_error": 1}),
        Stream(name="restaurants", task="regression", build=_restaurants, costs={"absolute_error": 1}),
        Stream(name="employment", task="binary", build=_employment, costs={"false_negative": 10, "false_positive": 10}),
        Stream(name="electricity", task="regression", build=_electricity, costs={"absolute_error": 1000}),
    )
}
