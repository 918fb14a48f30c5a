"""Which windows of the holdout are evidence for the comparison: those that neither model was trained on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest

from integration.gateway_project import GatewayProject
from kit.small_project import TwoRuns
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.rollouts import Rollouts
from trimtab.app.stages.gate_inputs import gate_inputs, held_out_evidence
from trimtab.clock import to_micros
from trimtab.gates.inputs import GateInputs
from trimtab.records.training import Run
from trimtab.testing.judged import DAY, FIRST, MODEL, bundle_record, dataset_record, run_record
from unit.gates.lookup import table_scorer

DAYS, ROWS = 20, 30
SPLIT, AS_OF = FIRST, FIRST + DAYS * DAY
"""Of the candidate's dataset."""


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    policy = {"decide": {"labels_mature_after": "2d"}, "rollout": {"promote_when": {"metric": "accuracy"}}}
    opened = GatewayProject(tmp_path / "project", **policy).workspace
    yield opened
    opened.metadata.close()
    opened.predictions.close()


def test_gates_know_what_is_personal_data(two_runs: TwoRuns) -> None:
    rows = two_runs.workspace.project.definitions.sources["rows"]
    object.__setattr__(rows, "pii", ("age",))
    try:
        assert gate_inputs(two_runs.workspace, two_runs.first).personal == {"age"}
    finally:
        object.__setattr__(rows, "pii", ())


def inputs(folder: Path) -> GateInputs:
    random = np.random.default_rng(0)
    count = DAYS * ROWS
    first = to_micros(SPLIT)
    at = [first + n // ROWS * 86_400_000_000 + n % ROWS * 60_000_000 for n in range(count)]
    return GateInputs(
        X=np.arange(count, dtype=np.float32).reshape(-1, 1),
        y=(random.random(count) < 0.5).astype(np.float64),
        timestamps=np.array(at).astype("datetime64[us]"),
        feature_names=("n",),
        candidate=table_scorer(random.random(count)),
        champion=table_scorer(random.random(count)),
        folder=folder,
    )


def compared(workspace: Workspace, folder: Path, *, split: datetime, as_of: datetime, refit: bool) -> list[int]:
    """Return the days of evidence against a champion of a dataset with this split and this end."""
    metadata = workspace.metadata
    metadata.put(msgspec.structs.replace(dataset_record(as_of=AS_OF), id="new", split_at=SPLIT))
    metadata.put(msgspec.structs.replace(dataset_record(as_of=as_of), id="old", split_at=split))
    champion = msgspec.structs.replace(bundle_record(1), dataset="old", refit="run9" if refit else None)
    metadata.put(champion)
    rollouts = Rollouts(metadata, workspace.project.policy.rollout, MODEL, workspace.clock)
    rollouts.deploy(champion, cause="deploy", reason="test", by="test")
    run: Run = msgspec.structs.replace(run_record(2), dataset="new")
    found = held_out_evidence(workspace, run, inputs(folder))
    assert all({"log_loss", "brier", "accuracy"} == set(w.gains) for w in found), "the metric of the policy, too"
    return [(w.start - FIRST) // timedelta(days=1) for w in found]


def test_a_champion_that_never_saw_the_holdout_is_compared_on_all_of_it(workspace: Workspace, tmp_path: Path) -> None:
    days = compared(workspace, tmp_path, split=FIRST - 30 * DAY, as_of=FIRST - 10 * DAY, refit=False)
    assert days == list(range(DAYS - 2)), "labels of the last two days may be missing"


def test_a_champion_that_was_not_fitted_again_has_seen_rows_up_to_its_split(
    workspace: Workspace, tmp_path: Path
) -> None:
    days = compared(workspace, tmp_path, split=FIRST + 4 * DAY, as_of=FIRST + 9 * DAY, refit=False)
    assert days == list(range(4, DAYS - 2))


def test_a_champion_that_was_fitted_again_has_seen_all_rows_of_its_dataset(
    workspace: Workspace, tmp_path: Path
) -> None:
    days = compared(workspace, tmp_path, split=FIRST + 4 * DAY, as_of=FIRST + 9 * DAY + DAY / 2, refit=True)
    assert days == list(range(10, DAYS - 2)), "a window that it has seen a part of does not count"


def test_without_another_champion_there_is_no_evidence(workspace: Workspace, tmp_path: Path) -> None:
    run = msgspec.structs.replace(run_record(2), dataset="new")
    workspace.metadata.put(msgspec.structs.replace(dataset_record(as_of=AS_OF), id="new", split_at=SPLIT))
    assert held_out_evidence(workspace, run, inputs(tmp_path)) == ()
