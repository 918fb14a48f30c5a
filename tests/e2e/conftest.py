"""A small flights project: real rows of two carriers, trained once a run and copied for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from e2e.kit import CARRIERS, LAST_DAY, TRAINED_UNTIL, Up, edit_policy, stop_everything
from kit.commands import typed
from kit.sharing import made_once
from trimtab.app.project import templates
from trimtab.app.project.workspace import Workspace, open_workspace


def make_small_flights(folder: Path) -> None:
    """Write the project of all flights, and leave few of its rows."""
    templates.init("flights", folder)
    for path in (folder / "data" / "flights").glob("*.parquet"):
        rows = pl.read_parquet(path).filter(
            pl.col("carrier").is_in(CARRIERS) & (pl.col("scheduled_at") < LAST_DAY) & (pl.col("origin") != "JFK")
        )
        rows.write_parquet(path) if rows.height else path.unlink()
    weather = folder / "data" / "weather.parquet"
    pl.read_parquet(weather).filter(pl.col("observed_at") < LAST_DAY).write_parquet(weather)
    edit_policy(
        folder,
        training={"params": {"max_iter": 20, "learning_rate": 0.15, "max_leaf_nodes": 8}},
        gates={
            "accuracy": {"metric": "roc_auc", "min": 0.55},
            "bias": {"sensitive": ["origin"], "max": 0.9},
            "performance": {"p99": "10s"},  # it is measured while other tests run
            "robustness": {"missing": "5%", "noise": "0.1sd", "max_drop": 0.2},
        },
        serving={"port": 0},
        retrain={"refresh": None},  # the matrix decides
    )


@pytest.fixture(scope="session")
def small_flights(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """A project folder with few rows, not ingested yet."""
    return made_once(tmp_path_factory, pytestconfig, "small", make_small_flights)


@pytest.fixture(scope="session")
def trained_flights(small_flights: Path, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """The small project after `trimtab run`: a first champion is deployed."""

    def train(folder: Path) -> None:
        shutil.copytree(small_flights, folder)
        typed("run", "-p", folder, "--as-of", TRAINED_UNTIL.isoformat())

    return made_once(tmp_path_factory, pytestconfig, "trained", train)


@pytest.fixture
def fresh_project(small_flights: Path, tmp_path: Path) -> Path:
    """A copy of the small project, untouched."""
    return Path(shutil.copytree(small_flights, tmp_path / "fresh"))


@pytest.fixture
def project(trained_flights: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the trained project; what it started is ended afterwards."""
    folder = Path(shutil.copytree(trained_flights, tmp_path / "project"))
    yield folder
    stop_everything(folder)


@pytest.fixture
def workspace(project: Path) -> Workspace:
    """The trained project, open."""
    return open_workspace(project)


@pytest.fixture
def up(project: Path) -> Iterator[Up]:
    """A loop that has not been started yet."""
    loop = Up(project)
    yield loop
    if loop.process is not None and loop.process.poll() is None:
        loop.kill()
