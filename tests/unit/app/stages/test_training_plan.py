"""What a training takes from the champion: an estimator that has seen none of the judged rows, and its scores."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from trimtab.app.project.mlflow_access import open_tracking
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.runs.found_run import find_dataset
from trimtab.app.stages import ingesting, pipeline
from trimtab.app.stages.gate_inputs import gate_inputs
from trimtab.clock import ManualClock
from trimtab.errors import DataError, NotFound, StageError
from trimtab.records.training import Bundle, DatasetVersion, Run
from trimtab.testing.judged import FIRST

DEFINITIONS = """
import trimtab as tt

orders = tt.FileSource("orders", "orders.parquet", timestamp="moment", known_at="known")
late = tt.Model("late", task="binary", examples=orders, label="late", features=["a"])


@late.trainer
def train(data, params, seed):
    from sklearn.linear_model import LogisticRegression

    if data.previous is None:
        return LogisticRegression(warm_start=True).fit(data.X, data.y)
    return data.previous.fit(data.X, data.y)
"""
POLICY = """
project: p
training: { min_examples: 10, warm_start: champion }
gates: { accuracy: null, leakage: null, robustness: null, performance: null }
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    rng = np.random.default_rng(1)
    a = rng.normal(size=1500)
    moments = [FIRST + timedelta(hours=hour) for hour in range(1500)]
    rows = {
        "moment": moments,
        "known": [moment + timedelta(hours=3) for moment in moments],
        "late": (a + rng.normal(size=1500) > 0).astype(int),
        "a": a,
        "sure": [None if abs(value) < 0.1 else int(value > 0) for value in a],
    }
    pl.DataFrame(rows).write_parquet(tmp_path / "orders.parquet")
    (tmp_path / "trimtab.yaml").write_text(POLICY)
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    opened = open_workspace(tmp_path)
    ingesting.ingest(opened)
    return opened


def train(workspace: Workspace, hours: int) -> Run:
    return pipeline.train(workspace, "late", pipeline.snapshot(workspace, "late", as_of=FIRST + timedelta(hours=hours)))


def test_a_warm_start_never_knows_the_rows_that_the_model_is_judged_on(workspace: Workspace) -> None:
    # given a champion that was judged on hours 480 to 600, and then fitted on all of them
    first = train(workspace, 600)
    assert first.previous is None
    tags = open_tracking(workspace).client.get_run(first.id).data.tags
    assert tags["trimtab.warm_start"] == "no champion serves yet"
    assert {each.name for each in first.baselines} == {"prior"}
    report = pipeline.evaluate(workspace, first)
    assert report.baselines == first.baselines
    serves, _ = pipeline.refit(workspace, first)
    assert serves.refit_of == first.id
    bundle = pipeline.register(workspace, first, report, serves=serves)
    pipeline.deploy(workspace, bundle, cause="c", reason="r", by="a test", role="champion")

    # when the next model is judged on hours that the fit on all rows has seen
    second = train(workspace, 640)
    # then it starts from the judged fit, and is compared with the champion on the hours that are new to both
    assert second.previous == first.id
    own = [each for each in second.baselines if each.name == bundle.id]
    assert own
    assert all(each.rows <= 40 for each in own)

    # when all judged hours are later, it starts from the fit on all rows, and so does its own fit on all rows
    third = train(workspace, 1500)
    assert third.previous == serves.id
    again, _ = pipeline.refit(workspace, third)
    assert again.previous == serves.id

    # when the judged rows begin before all that the champion has not seen, there is no warm start
    early = train(workspace, 500)
    assert early.previous is None
    tags = open_tracking(workspace).client.get_run(early.id).data.tags
    assert tags["trimtab.warm_start"] == f"{bundle.id} has seen rows that the new model is judged on"
    workspace.metadata.close()


def serve(workspace: Workspace, hours: int) -> Bundle:
    run = train(workspace, hours)
    bundle = pipeline.register(workspace, run, pipeline.evaluate(workspace, run))
    pipeline.deploy(workspace, bundle, cause="c", reason="r", by="a test", role="champion")
    return bundle


def with_twice(workspace: Workspace, *changes: tuple[str, str]) -> Workspace:
    """Open the project after its model has got a feature more."""
    path = workspace.project.folder / "definitions.py"
    text = path.read_text()
    for old, new in (('features=["a"]', 'features=["a", twice]'), *changes):
        text = text.replace(old, new)
    twice = "@tt.on_demand(inputs=['a'])\ndef twice(a):\n    return 2 * a\n\n\n"
    path.write_text(text.replace("orders = ", f"{twice}orders = "))
    return open_workspace(workspace.project.folder)


def test_a_champion_of_other_features_scores_the_rows_that_were_not_left_out(workspace: Workspace) -> None:
    champion = serve(workspace, 600)
    changed = with_twice(workspace)
    # given a training set whose last rows are left out, as they are not judged yet
    at = FIRST + timedelta(hours=1000)
    dataset = pipeline.snapshot(changed, "late", as_of=at, judged_until=at - timedelta(hours=30))
    run = pipeline.train(changed, "late", dataset)
    assert [each.rows for each in run.baselines if each.name == champion.id] == [dataset.holdout_rows] * 2
    given = gate_inputs(changed, run)
    assert given.champion is not None
    assert given.champion_scores == pytest.approx(given.champion.score(given.X[:, :1]))


def test_a_champion_whose_definitions_give_other_rows_is_not_compared(workspace: Workspace) -> None:
    serve(workspace, 600)
    changed = with_twice(workspace, ('label="late"', 'label="sure"'))
    dataset = pipeline.snapshot(changed, "late", as_of=FIRST + timedelta(hours=1000))
    run = pipeline.train(changed, "late", dataset)
    with pytest.raises(
        StageError, match=r"cannot be compared with the version whose definitions are in .* rows of other"
    ):
        gate_inputs(changed, run)


def test_a_dataset_of_other_features_is_refused(workspace: Workspace) -> None:
    dataset = pipeline.snapshot(workspace, "late", as_of=FIRST + timedelta(hours=1000))
    path = workspace.project.folder / "definitions.py"
    path.write_text(path.read_text().replace('features=["a"]', 'features=["a"], input="frame"'))
    changed = open_workspace(workspace.project.folder)
    with pytest.raises(StageError, match=r"is a matrix of a; .* now takes a frame of a. .*: trimtab features"):
        pipeline.train(changed, "late", dataset)


def test_a_dataset_is_found_by_the_start_of_its_id(workspace: Workspace) -> None:
    dataset = pipeline.snapshot(workspace, "late", as_of=FIRST + timedelta(hours=1000))
    assert find_dataset(workspace, dataset.id[:12], "late") == dataset
    with pytest.raises(NotFound, match=f"no training set 'zz'; the newest ones: {dataset.id[:12]}"):
        find_dataset(workspace, "zz", "late")


def test_a_dataset_that_is_made_again_counts_as_the_newest(workspace: Workspace) -> None:
    clock = ManualClock(FIRST + timedelta(hours=1000))
    ws = open_workspace(workspace.project.folder, clock=clock)

    def frozen(hours: int) -> DatasetVersion:
        clock.move_to(clock.now() + timedelta(minutes=1))
        return pipeline.snapshot(ws, "late", as_of=FIRST + timedelta(hours=hours))

    first, second = frozen(900), frozen(950)
    assert pipeline.newest(ws, DatasetVersion, "late") == second
    assert frozen(900) == first
    assert pipeline.newest(ws, DatasetVersion, "late") == first
    third = frozen(960)
    assert pipeline.newest(ws, DatasetVersion, "late") == third


def test_a_gate_on_a_column_that_the_training_set_lacks_names_its_line(workspace: Workspace) -> None:
    run = train(workspace, 600)
    policy = workspace.project.folder / "trimtab.yaml"
    policy.write_text(policy.read_text().replace("gates: {", "gates: { slices: { by: [sue] },"))
    changed = open_workspace(workspace.project.folder)
    with pytest.raises(DataError, match=r"trimtab\.yaml:4: gates\.slices\.by: the training set has no column 'sue'"):
        pipeline.evaluate(changed, run)
