"""A retraining that waits for a person: rejected it does nothing, approved it learns from all that is known by then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from integration.gateway_project import GatewayProject
from kit.waiting import wait_for
from trimtab.app.jobs.passing_failures import may_pass
from trimtab.app.loop import retraining
from trimtab.app.loop.actions import LoopActions
from trimtab.app.loop.retraining import APPROVAL, MATURED, Retraining
from trimtab.app.project.locks import only_training
from trimtab.app.project.workspace import Workspace
from trimtab.app.stages import ingesting, pipeline
from trimtab.control.cause import Cause
from trimtab.control.decision import Draft
from trimtab.control.holds import set_freeze
from trimtab.control.ledger import Ledger
from trimtab.errors import DefinitionError, NotFound, StageError, StoreError, TrainerFailed
from trimtab.records.control import Decision, WorkflowStep
from trimtab.records.record import Action
from trimtab.records.training import DatasetVersion, Run
from trimtab.testing.judged import DAY, FIRST, window_report

JUDGED, NEWEST = 1, 5
"""Days of the window that was decided on, and of the newest one when the answer comes."""


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """A project with rows of every hour, whose trainer fails."""
    project = GatewayProject(tmp_path / "project", training={"min_examples": 10})
    hours = range(-10 * 24, 10 * 24)
    rows = {
        "moment": [FIRST + timedelta(hours=hour) for hour in hours],
        "late": [hour % 2 for hour in hours],
        "row": [float(hour % 3) for hour in hours],
    }
    pl.DataFrame(rows).write_parquet(project.folder / "flights.parquet")
    ingesting.ingest(project.workspace)
    yield project.workspace
    project.workspace.metadata.close()


def decide(workspace: Workspace, day: int, action: Action) -> Decision:
    """Write the decision on the window of a day."""
    draft = Draft(
        cause=Cause(window=window_report(day), signals=()),
        band="severe",
        impact_per_day=0.0,
        impact="high",
        cell="retrain",
        action=action,
        reasons=("a test",),
    )
    decision = Ledger(workspace.metadata, "delay").append(draft, clock=workspace.clock)
    assert decision is not None
    return decision


@pytest.fixture
def review(workspace: Workspace) -> Decision:
    """A decision on a window that waits for a person, while newer windows close."""
    decision = decide(workspace, JUDGED, "review")
    for day in range(JUDGED, NEWEST + 1):
        workspace.metadata.put(window_report(day, stage="closed"))
    return decision


@pytest.fixture
def runner(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Retraining]:
    monkeypatch.setattr(retraining, "WAIT_SECONDS", 0.2)  # the threads of workflows look so often whether they end
    opened = Retraining(workspace)
    opened.launch()
    yield opened
    opened.close()


def answer(runner: Retraining, review: Decision, verdict: str) -> None:
    """Start the retraining, give the answer to its review, and wait until it has ended."""
    workflow = runner.start(review, as_of=review.end, approved=False)
    wait_for(lambda: runner.waits_for(workflow, APPROVAL), "the workflow waits for approval")
    runner.tell(workflow, APPROVAL, verdict)
    wait_for(lambda: not runner.active("delay"), "the workflow ends")


def steps(workspace: Workspace) -> dict[str, str]:
    return {each.step: each.outcome for each in workspace.metadata.find(WorkflowStep, oldest_first=True)}


def training_ends(workspace: Workspace) -> list[datetime]:
    return [dataset.as_of for dataset in workspace.metadata.find(DatasetVersion)]


def test_a_rejected_review_trains_nothing(workspace: Workspace, runner: Retraining, review: Decision) -> None:
    answer(runner, review, "reject")
    assert steps(workspace) == {"approval": "the answer to the review: reject"}
    assert training_ends(workspace) == []
    assert workspace.metadata.count(Run) == 0


def test_an_approved_review_trains_on_what_is_known_when_it_is_approved(
    workspace: Workspace, runner: Retraining, review: Decision
) -> None:
    answer(runner, review, "approve")
    # then rows that came after the decision are in the training set
    assert training_ends(workspace) == [FIRST + (NEWEST + 1) * DAY]
    assert review.end == FIRST + (JUDGED + 1) * DAY
    # and a trainer that fails ends the retraining with its reason
    assert list(steps(workspace)) == ["approval", "snapshot", "stop"]
    assert "NotImplementedError" in steps(workspace)["stop"]


def test_a_retraining_trains_when_no_other_process_does(
    workspace: Workspace, runner: Retraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a person's training that is under way when a retraining is to train
    trained, begun = list[str](), threading.Event()
    monkeypatch.setattr(pipeline, "train", lambda *_, key: trained.append(key))

    def sleep(seconds: float) -> None:
        begun.set()
        time.sleep(0.01)

    monkeypatch.setattr(workspace.clock, "sleep", sleep)
    with only_training(workspace, "delay", "a person trains"):
        workflow = runner.start(decide(workspace, JUDGED, "retrain"), as_of=FIRST, approved=True)
        wait_for(lambda: begun.is_set() or trained or not runner.active("delay"), "the retraining waits, or trains")
        assert (trained, runner.active("delay")) == ([], [workflow])
    # then the retraining trains when that one has ended
    wait_for(lambda: trained == [workflow], "the retraining trains")


def test_a_decision_to_retrain_asks_nobody(workspace: Workspace, runner: Retraining) -> None:
    # given a window before all rows
    LoopActions(workspace, runner).retrain(decide(workspace, -20, "retrain"))
    # then it begins, and ends since there is nothing to learn from
    wait_for(lambda: steps(workspace) and not runner.active("delay"), "the workflow ends")
    assert list(steps(workspace)) == ["stop"]
    assert "no examples that were known by" in steps(workspace)["stop"]


class Flaky:
    """A stage that fails so often by an error, and then does what it did."""

    def __init__(self, stage: Callable[..., Any], *errors: Exception) -> None:
        self.stage = stage
        self.errors = list(errors)
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.stage(*args, **kwargs)


@pytest.fixture
def hasty(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let retries wait for milliseconds."""
    policy = workspace.project.policy
    retrain = policy.retrain.model_copy(update={"retries": 2, "backoff": 1000})
    project = replace(workspace.project, policy=policy.model_copy(update={"retrain": retrain}))
    monkeypatch.setattr(workspace, "project", project)


def run_until_it_ends(workspace: Workspace, runner: Retraining) -> None:
    runner.start(decide(workspace, JUDGED, "retrain"), as_of=FIRST + 2 * DAY, approved=True)
    wait_for(lambda: not runner.active("delay"), "the workflow ends")


@pytest.mark.parametrize(
    "error", [StoreError("the store is away"), OSError(28, "No space left on device"), MemoryError("too large")]
)
@pytest.mark.usefixtures("hasty")
def test_a_failure_that_may_pass_is_retried(
    workspace: Workspace, runner: Retraining, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    flaky = Flaky(pipeline.snapshot, error, error)
    monkeypatch.setattr(pipeline, "snapshot", flaky)
    run_until_it_ends(workspace, runner)
    assert flaky.calls == 3
    assert list(steps(workspace)) == ["retry_snapshot_1", "retry_snapshot_2", "snapshot", "stop"]
    assert steps(workspace)["retry_snapshot_1"].startswith("snapshot failed (1 of 3 attempts), again in 1ms: ")
    assert steps(workspace)["retry_snapshot_2"].startswith("snapshot failed (2 of 3 attempts), again in 2ms: ")


@pytest.mark.usefixtures("hasty")
def test_a_failure_that_lasts_ends_the_retraining_as_a_failure(
    workspace: Workspace, runner: Retraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    flaky = Flaky(pipeline.snapshot, *[StoreError("the store is away")] * 9)
    monkeypatch.setattr(pipeline, "snapshot", flaky)
    run_until_it_ends(workspace, runner)
    assert flaky.calls == 3
    assert steps(workspace)["stop"] == "the store is away"
    (stop,) = workspace.metadata.find(WorkflowStep, step="stop")
    assert stop.refers_to is None


@pytest.mark.parametrize(
    "error", [DefinitionError("no such column"), NotFound("no dataset"), StageError("no rows"), ValueError("wrong")]
)
@pytest.mark.usefixtures("hasty")
def test_a_failure_that_stays_is_not_retried(
    workspace: Workspace, runner: Retraining, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    flaky = Flaky(pipeline.snapshot, error)
    monkeypatch.setattr(pipeline, "snapshot", flaky)
    run_until_it_ends(workspace, runner)
    assert (flaky.calls, list(steps(workspace))) == (1, ["stop"])


def test_what_a_trainer_raises_counts_as_its_cause() -> None:
    def failed(cause: Exception) -> TrainerFailed:
        error = TrainerFailed("the trainer failed")
        error.__cause__ = cause
        return error

    assert may_pass(failed(MemoryError()))
    assert may_pass(failed(ConnectionResetError()))
    assert not may_pass(failed(ValueError()))
    assert not may_pass(TrainerFailed("it returned None"))


def test_a_frozen_model_is_not_trained_until_the_freeze_has_ended(workspace: Workspace, runner: Retraining) -> None:
    for day in range(JUDGED, NEWEST + 1):
        workspace.metadata.put(window_report(day, stage="closed"))
    put_freeze(workspace, frozen=True)
    workflow = runner.start(decide(workspace, JUDGED, "retrain"), as_of=FIRST, approved=True)
    wait_for(lambda: runner.waits_for(workflow, MATURED), "the workflow waits")
    assert steps(workspace) == {"hold": "delay is frozen by ann: the audit"}
    # when it is told of a window, then it waits on
    runner.tell(workflow, MATURED, "a window")
    wait_for(lambda: runner.waits_for(workflow, MATURED), "the workflow waits again")
    assert list(steps(workspace)) == ["hold"]
    # until the freeze has ended
    put_freeze(workspace, frozen=False)
    runner.tell(workflow, MATURED, "held back no longer")
    wait_for(lambda: not runner.active("delay"), "the workflow ends")
    assert "snapshot" in steps(workspace)


def put_freeze(workspace: Workspace, *, frozen: bool) -> None:
    set_freeze(workspace.metadata, "delay", frozen=frozen, reason="the audit", by="ann", clock=workspace.clock)


@pytest.mark.parametrize(("approved", "held"), [(True, True), (False, False)])
def test_quiet_hours_hold_what_starts_by_itself_and_not_what_a_person_has_approved(
    workspace: Workspace, runner: Retraining, monkeypatch: pytest.MonkeyPatch, approved: bool, held: bool
) -> None:
    policy = workspace.project.policy
    quiet = policy.model_copy(update={"decide": policy.decide.model_copy(update={"quiet_hours": (22 * 60, 6 * 60)})})
    monkeypatch.setattr(workspace, "project", replace(workspace.project, policy=quiet))
    runner.now = FIRST + 2 * DAY - timedelta(hours=1)
    decision = decide(workspace, JUDGED, "retrain" if approved else "review")
    workflow = runner.start(decision, as_of=FIRST, approved=approved)
    if not approved:
        wait_for(lambda: runner.waits_for(workflow, APPROVAL), "the workflow waits for approval")
        runner.tell(workflow, APPROVAL, "approve")
    wait_for(lambda: runner.waits_for(workflow, MATURED) or not runner.active("delay"), "it waits, or ends")
    assert ("hold" in steps(workspace)) == held
    if held:
        assert steps(workspace) == {"hold": "quiet hours until 06:00 UTC (decide.quiet_hours)"}
        runner.now = FIRST + 2 * DAY + timedelta(hours=6)
        runner.tell(workflow, MATURED, "held back no longer")
        wait_for(lambda: not runner.active("delay"), "the workflow ends")
    assert "snapshot" in steps(workspace)
