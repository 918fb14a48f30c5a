"""A training where the policy says: ended when it hangs or takes too much, and its errors come back as they were."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from trimtab.app.jobs import training_places
from trimtab.app.jobs.job_order import RESULT
from trimtab.app.jobs.passing_failures import MayPass
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.stages import ingesting, pipeline
from trimtab.errors import StageError, TrainerFailed
from trimtab.records.training import Run
from trimtab.testing.judged import FIRST
from trimtab.units import MICROS

DEFINITIONS = """
import os, signal, subprocess, sys, time
import trimtab as tt

flights = tt.FileSource("flights", "flights.parquet", timestamp="moment")
delay = tt.Model("delay", task="binary", examples=flights, label="late", features=["row"])


@delay.trainer
def train(data, params, seed):
    from sklearn.linear_model import LogisticRegression

    BODY
    return LogisticRegression().fit(data.X, data.y)
"""
LONG = 600 * MICROS["s"]

Train = Callable[..., str]


@pytest.fixture
def train(tmp_path: Path) -> Iterator[Train]:
    """Return a function that trains with a line in the trainer, and returns the id of the run."""
    opened: list[Workspace] = []

    def call(body: str = "pass", *, timeout: int | None = LONG, key: str = "k", where: str = "") -> str:
        if not opened:
            folder = tmp_path / "project"
            folder.mkdir()
            hours = range(300)
            rows = {
                "moment": [FIRST + timedelta(hours=hour) for hour in hours],
                "late": [hour % 2 for hour in hours],
                "row": [float(hour % 3) for hour in hours],
            }
            pl.DataFrame(rows).write_parquet(folder / "flights.parquet")
            (folder / "trimtab.yaml").write_text(f"project: p\ntraining: {{ min_examples: 10{where} }}\n")
            (folder / "definitions.py").write_text(DEFINITIONS.replace("BODY", body))
            opened.append(open_workspace(folder))
            ingesting.ingest(opened[0])
        workspace = opened[0]
        dataset = pipeline.snapshot(workspace, "delay", as_of=FIRST + timedelta(hours=299))
        try:
            return training_places.train(workspace, "delay", dataset, key=key, timeout=timeout).id
        finally:
            assert not (workspace.run_folder / RESULT.format(model="delay")).exists()

    yield call
    for workspace in opened:
        workspace.metadata.close()


def test_the_run_is_on_record_and_is_made_once_for_a_key(train: Train, tmp_path: Path) -> None:
    run = train()
    assert train() == run
    workspace = open_workspace(tmp_path / "project")
    assert [each.id for each in workspace.metadata.find(Run)] == [run]
    # and a fit on all rows is another one
    serves, outcome = training_places.refit(workspace, workspace.metadata.get(Run, run), timeout=LONG)
    assert serves.id != run
    assert "fitted on all 299 labelled rows" in outcome
    assert workspace.metadata.get(Run, serves.id).dataset == workspace.metadata.get(Run, run).dataset
    workspace.metadata.close()


def test_a_training_that_hangs_is_ended_with_what_it_has_started(train: Train, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    body = (
        f"child = subprocess.Popen(['sleep', '1000']); open({str(pid)!r}, 'w').write(str(child.pid)); time.sleep(1000)"
    )
    with pytest.raises(StageError, match=r"did not end within 12s \(retrain\.timeout\)"):
        train(body, timeout=12 * MICROS["s"])
    if pid.exists():  # the trainer had begun
        state = Path(f"/proc/{pid.read_text()}/stat")
        assert not state.exists() or state.read_text().split()[2] == "Z"


def test_what_a_trainer_raises_comes_back(train: Train) -> None:
    with pytest.raises(TrainerFailed, match=r"definitions.py:\d+: the trainer of model 'delay' failed: ValueError: no"):
        train("raise ValueError('no')")


def test_a_full_disk_and_the_end_by_the_system_may_pass(train: Train) -> None:
    with pytest.raises(MayPass, match="No space left on device"):
        train("raise OSError(28, 'No space left on device')")


def test_a_process_that_the_system_ends_may_pass(train: Train) -> None:
    with pytest.raises(MayPass, match=r"exit code -9 and without a result; .* too little memory"):
        train("os.kill(os.getpid(), signal.SIGKILL)")


def test_a_crash_ends_the_training_alone(train: Train) -> None:
    with pytest.raises(StageError, match="exit code -11 and without a result"):
        train("os.kill(os.getpid(), signal.SIGSEGV)")


def test_a_training_that_takes_too_much_memory_fails_alone(train: Train) -> None:
    with pytest.raises(StageError, match=r"MemoryError.*may allocate 1,000 MB \(training\.memory.*raise it"):
        train("[bytearray(50_000_000) for _ in range(100)]", timeout=None, where=", on: subprocess, memory: 1GB")


def test_a_library_that_aborts_without_memory_is_told_apart_from_a_crash(train: Train) -> None:
    with pytest.raises(StageError, match=r"exit code -6 and without a result. The training .*training\.memory"):
        train("os.abort()", timeout=None, where=", on: subprocess")


def test_a_fit_on_all_rows_that_hangs_leaves_the_judged_model(train: Train, tmp_path: Path) -> None:
    run = train("time.sleep(1000 if len(data.y) > 260 else 0)")
    workspace = open_workspace(tmp_path / "project")
    judged = workspace.metadata.get(Run, run)
    serves, outcome = training_places.refit(workspace, judged, timeout=4 * MICROS["s"])
    assert serves.id == run
    assert "the judged model serves: the training of model 'delay' did not end within 4s" in outcome
    workspace.metadata.close()


def test_ray_trains_in_a_worker_of_its_own(train: Train, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    pid = tmp_path / "pid"
    run = train(f"open({str(pid)!r}, 'w').write(str(os.getpid()))", timeout=None, where=", on: ray")
    assert int(pid.read_text()) != os.getpid()
    workspace = open_workspace(tmp_path / "project")
    assert workspace.metadata.get(Run, run).metrics
    workspace.metadata.close()
