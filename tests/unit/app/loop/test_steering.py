"""What the loop tells retrainings that wait: matured windows of a candidate, another revision, a person's answer."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from dbos import DBOS

from integration.gateway_project import GatewayProject
from kit.decisions import decide
from kit.waiting import wait_for
from trimtab.app.loop import retraining
from trimtab.app.loop.retraining import APPROVAL, MATURED
from trimtab.app.loop.steering import Steering
from trimtab.app.loop.workflow_names import workflow_id
from trimtab.app.loop.workflows import Workflows
from trimtab.app.project.process_files import PROGRESS, read_progress
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.rollouts import Rollouts
from trimtab.clock import from_micros
from trimtab.control.holds import set_freeze
from trimtab.control.resolve import resolve
from trimtab.policy.decide import WEEKDAYS
from trimtab.records.control import Decision, WorkflowStep
from trimtab.records.monitoring import Comparison, WindowReport
from trimtab.testing.judged import DAY, bundle_record, window_report
from trimtab.testing.streams import FIRST_DAY, Variant, World, play
from trimtab.units import MICROS

FIRST_DAY_OF_WEEK = from_micros(FIRST_DAY * MICROS["d"]).weekday()
CHAMPION, CHALLENGER = Variant(version=1), Variant(version=2, role="challenger")


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """Version 1 is champion and version 2 challenges it; labels mature a day after their window."""
    opened = GatewayProject(tmp_path / "project", decide={"labels_mature_after": "1d"}).workspace
    for version in (1, 2):
        opened.metadata.put(bundle_record(version))
        rollouts(opened).deploy(bundle_record(version), cause=f"{version}", reason="a test", by="tests")
    yield opened
    opened.metadata.close()


def rollouts(workspace: Workspace) -> Rollouts:
    """Return what changes what serves; these bundles have no files to look into."""
    return Rollouts(workspace.metadata, workspace.project.policy.rollout, "delay", workspace.clock)


@pytest.fixture
def review(workspace: Workspace) -> Decision:
    """A decision whose process died before it started the retraining."""
    return decide(workspace)


@pytest.fixture
def steering(workspace: Workspace, review: Decision, monkeypatch: pytest.MonkeyPatch) -> Iterator[Steering]:
    """The loop, with one retraining that waits for a person."""
    monkeypatch.setattr(retraining, "WAIT_SECONDS", 0.2)  # the threads of workflows look so often whether they end
    loop = Steering(workspace)
    loop.launch()
    loop.step()
    wait_for(lambda: not step_is_busy(loop, workspace), "the retraining waits for a person")
    yield loop
    loop.close()


def step_is_busy(loop: Steering, workspace: Workspace) -> bool:
    loop.step()
    progress = read_progress(workspace.run_folder)
    return progress is None or progress.busy


def told(workspace: Workspace, topic: str = MATURED) -> int:
    """Return how many messages about a topic lie in the database of the retrainings."""
    with closing(sqlite3.connect(workspace.root / "workflows.db")) as connection:
        count = connection.execute("SELECT count(*) FROM notifications WHERE topic = ?", (topic,)).fetchone()
    return int(count[0])


def matured(workspace: Workspace) -> set[str]:
    return {window.role for window in workspace.metadata.find(WindowReport, stage="matured", model="delay")}


def test_matured_windows_of_a_candidate_are_told_once(workspace: Workspace, steering: Steering) -> None:
    # given a retraining that was told which revision serves
    assert told(workspace) == 1
    # when windows close whose labels have not matured
    play(workspace.predictions, World(), [0, 1], [CHAMPION, CHALLENGER])
    steering.step()
    assert workspace.metadata.count(WindowReport, stage="closed") == 2
    assert told(workspace) == 1
    # and then the labels do
    play(workspace.predictions, World(), [2], [CHAMPION, CHALLENGER])
    steering.step()
    # then the retraining is told so, once
    assert matured(workspace) == {"champion", "challenger"}
    assert told(workspace) == 2
    steering.step()
    assert told(workspace) == 2


def test_a_comparison_grows_with_each_matured_window_of_a_candidate(
    workspace: Workspace, steering: Steering, monkeypatch: pytest.MonkeyPatch
) -> None:
    paired = {"paired_log_loss_gain": 0.1, "paired_rows": 500.0, "paired_version": 1.0}
    windows = [window_report(day, version=2, role="challenger", metrics=paired) for day in range(2)]
    for window in windows:
        workspace.metadata.put(window)
        monkeypatch.setattr(steering._monitor, "step", lambda window=window: (window,))
        steering.step()
        assert workspace.metadata.find(Comparison)[0].window == window.id
    steering.step()
    assert workspace.metadata.count(Comparison) == 2


def test_windows_of_the_champion_alone_wake_nobody(workspace: Workspace, steering: Steering) -> None:
    play(workspace.predictions, World(), [0, 1, 2], [CHAMPION])
    steering.step()
    assert matured(workspace) == {"champion"}
    assert told(workspace) == 1


def test_a_step_without_news_asks_for_workflows_once_and_writes_nothing(
    workspace: Workspace, steering: Steering, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    list_workflows = DBOS.list_workflows
    monkeypatch.setattr(DBOS, "list_workflows", lambda **how: asked.append(how["name"]) or list_workflows(**how))  # type: ignore[func-returns-value]
    steering.step()
    before = (workspace.run_folder / PROGRESS).stat()
    asked.clear()
    assert not steering.step()
    after = (workspace.run_folder / PROGRESS).stat()
    assert (len(asked), after.st_ino, after.st_mtime_ns) == (1, before.st_ino, before.st_mtime_ns)
    # and news are written
    play(workspace.predictions, World(), [0], [CHAMPION])
    steering.step()
    progress = read_progress(workspace.run_folder)
    assert progress is not None
    assert progress.rows > 0


def test_another_revision_is_told(workspace: Workspace, steering: Steering) -> None:
    rollouts(workspace).abandon(cause="a", reason="a test", by="tests")
    steering.step()
    assert told(workspace) == 2


def test_the_answer_to_another_review_ends_no_waiting(
    workspace: Workspace, steering: Steering, review: Decision
) -> None:
    other = decide(workspace, start=review.start + 3 * DAY)
    resolve(workspace.metadata, other.id, "reject", reason="not now", by="ann", clock=workspace.clock)
    wait_for(lambda: not step_is_busy(steering, workspace), "all retrainings wait or have ended")
    with closing(Workflows(workspace.workflows_url)) as workflows:
        assert workflow_id(review.id) in workflows.active("delay")
    assert told(workspace, APPROVAL) == 0


def test_the_answer_of_a_person_ends_the_waiting(workspace: Workspace, steering: Steering, review: Decision) -> None:
    resolve(workspace.metadata, review.id, "reject", reason="not now", by="ann", clock=workspace.clock)
    with closing(Workflows(workspace.workflows_url)) as workflows:
        assert workflows.active("delay")
        steering.step()
        wait_for(lambda: not workflows.active("delay"), "the retraining ends")
    (step,) = workspace.metadata.find(WorkflowStep, model="delay")
    assert (step.step, step.outcome) == ("approval", "the answer to the review: reject")


def test_the_end_of_a_freeze_is_told_once(workspace: Workspace, steering: Steering) -> None:
    def freeze(*, frozen: bool) -> None:
        set_freeze(workspace.metadata, "delay", frozen=frozen, reason="audit", by="ann", clock=workspace.clock)

    freeze(frozen=True)
    steering.step()
    assert told(workspace) == 1
    freeze(frozen=False)
    for _ in range(2):
        steering.step()
        assert told(workspace) == 2


def test_the_end_of_quiet_hours_in_event_time_is_told(
    workspace: Workspace, steering: Steering, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given quiet hours on the first day of the stream
    decide_section = workspace.project.policy.decide.model_copy(
        update={"quiet_hours": (0, 24 * 60), "quiet_days": [WEEKDAYS[FIRST_DAY_OF_WEEK]]}
    )
    policy = workspace.project.policy.model_copy(update={"decide": decide_section})
    monkeypatch.setattr(workspace, "project", replace(workspace.project, policy=policy))
    play(workspace.predictions, World(), [0], [CHAMPION])
    steering.step()
    before = told(workspace)
    # when rows of the second day come
    play(workspace.predictions, World(), [1], [CHAMPION])
    steering.step()
    # then the retraining is told, once
    assert told(workspace) == before + 1
    steering.step()
    assert told(workspace) == before + 1
