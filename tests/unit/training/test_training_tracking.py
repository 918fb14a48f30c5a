"""Runs are found again by their key, whatever happened to the process that made them."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab.clock import EPOCH, ManualClock
from trimtab.errors import StageError, StoreError
from trimtab.records.training import DatasetVersion, Run
from trimtab.training.tracking import Tracking
from trimtab.training.train import Workbench


@pytest.fixture
def tracking(bench: Workbench) -> Tracking:
    return bench.tracking


def record(run: str, version: DatasetVersion, key: str = "k", **params: object) -> Run:
    return Run(
        id=run,
        created_at=EPOCH,
        key=key,
        model="delay",
        dataset=version.id,
        experiment="flights/delay",
        seed=7,
        params=params,
        metrics={"roc_auc": 0.75},
        code_version="unversioned",
        environment_hash="e",
        cpu_seconds=1.5,
        wall_seconds=2.5,
        peak_memory_mb=100.0,
        cost=0.01,
        model_hash="m",
        staging="runs/delay/1",
    )


def status(tracking: Tracking, run: str) -> str:
    return str(tracking.client.get_run(run).info.status)


def test_a_finished_run_is_found_by_its_key(tracking: Tracking, version: DatasetVersion) -> None:
    # given a finished run whose record is longer than one tag
    run = tracking.begin("delay", "k", name="delay-1", tags={})
    done = record(run, version, notes="x" * 9000, nested={"deep": [1, 2.5, None]})
    tracking.finish(done, version, metrics=done.metrics, requirements="numpy==2\n")

    # then it comes back whole, under its key only
    assert tracking.finished("delay", "k") == done
    assert tracking.finished("delay", "other") is None
    assert status(tracking, run) == "FINISHED"


def test_mlflow_shows_what_a_person_looks_for(tracking: Tracking, version: DatasetVersion) -> None:
    run = tracking.begin("delay", "k", name="delay-1", tags={"trimtab.model": "delay"})
    tracking.finish(record(run, version, max_iter=20), version, metrics={"roc_auc": 0.75}, requirements="numpy==2\n")
    shown = tracking.client.get_run(run)
    assert shown.data.params == {"seed": "7", "max_iter": "20"}
    assert shown.data.metrics == {"roc_auc": 0.75}
    assert shown.data.tags["trimtab.key"] == "k"
    assert shown.inputs is not None
    assert shown.inputs.dataset_inputs[0].dataset.digest == version.id[:36]
    assert Path(tracking.client.download_artifacts(run, "requirements.txt")).read_text() == "numpy==2\n"


def test_what_a_dead_process_left_is_marked_killed(tracking: Tracking) -> None:
    left = tracking.begin("delay", "k", name="delay-1", tags={})
    elsewhere = tracking.begin("delay", "other", name="delay-2", tags={})
    again = tracking.begin("delay", "k", name="delay-1", tags={})
    assert status(tracking, left) == "KILLED"
    assert status(tracking, elsewhere) == "RUNNING"
    assert status(tracking, again) == "RUNNING"


def test_an_error_marks_the_run_failed_and_an_interrupt_killed(tracking: Tracking) -> None:
    failed = tracking.begin("delay", "a", name="delay-1", tags={})
    with pytest.raises(StageError), tracking.ending(failed):
        raise StageError("the trainer failed")
    assert status(tracking, failed) == "FAILED"
    assert tracking.client.get_run(failed).data.tags["trimtab.error"] == "the trainer failed"

    stopped = tracking.begin("delay", "b", name="delay-1", tags={})
    with pytest.raises(KeyboardInterrupt), tracking.ending(stopped):
        raise KeyboardInterrupt
    assert status(tracking, stopped) == "KILLED"


def test_projects_on_one_server_do_not_meet(tracking: Tracking, tmp_path: Path, tracking_cache: Path) -> None:
    other = Tracking(
        f"sqlite:///{tmp_path}/bench/mlflow.db",
        project="other",
        artifacts=tmp_path / "mlartifacts",
        cache=tracking_cache,
        clock=ManualClock(),
    )
    assert tracking.experiment("delay") != other.experiment("delay")
    assert tracking.experiment("delay") == tracking.experiment("delay")


def test_a_key_that_mlflow_cannot_search_for_is_refused(tracking: Tracking) -> None:
    with pytest.raises(StoreError, match="apostrophe"):
        tracking.finished("delay", "it's")
