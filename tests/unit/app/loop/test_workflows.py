"""The database of retraining workflows: the clock of an older SQLite, workflows that wait long, and those that died."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from integration.gateway_project import GatewayProject
from kit.decisions import decide
from kit.waiting import wait_for
from trimtab.app.loop import retraining
from trimtab.app.loop.retraining import APPROVAL, Retraining
from trimtab.app.loop.steering import decide_once
from trimtab.app.loop.workflow_names import dead_decisions, workflow_id
from trimtab.app.loop.workflows import Connection, Workflows
from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.doctor import examine
from trimtab.app.reports.status import status as read_status
from trimtab.clock import SystemClock
from trimtab.errors import StoreError, UsageError
from trimtab.records.control import Decision, WorkflowStep

OF_PYTHON_311 = "(strftime('%s','now') * 1000)"
OF_PYTHON_312 = "(unixepoch('subsec') * 1000)"
"""Two ways in which DBOS writes the time as a column's default, chosen by the version of Python."""


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that waits for a message looks after this time whether it is still wanted; the tests end then."""
    monkeypatch.setattr(retraining, "WAIT_SECONDS", 0.2)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    opened = GatewayProject(tmp_path / "project").workspace
    yield opened
    opened.metadata.close()


@pytest.fixture
def review(workspace: Workspace) -> Decision:
    """A decision that waits for a person."""
    return decide(workspace)


@pytest.fixture
def workflows(workspace: Workspace) -> Iterator[Workflows]:
    opened = Workflows(workspace.workflows_url)
    yield opened
    opened.close()


def database(workspace: Workspace) -> sqlite3.Connection:
    return sqlite3.connect(workspace.root / "workflows.db", factory=Connection)


def put_down(workspace: Workspace, workflow: str, status: str, attempts: int = 1) -> None:
    """Write a status as DBOS writes it."""
    with closing(database(workspace)) as connection, connection:
        connection.execute(
            "UPDATE workflow_status SET status = ?, recovery_attempts = ? WHERE workflow_uuid = ?",
            (status, attempts, workflow),
        )


def run_until_it_waits(workspace: Workspace, workflow: str) -> None:
    """Launch the loop's part that runs workflows, as `trimtab up` does, and end it when one waits for approval."""
    runner = Retraining(workspace)
    runner.launch()
    try:
        wait_for(lambda: runner.waits_for(workflow, APPROVAL), "the workflow waits for approval")
    finally:
        runner.close()


def test_the_time_in_milliseconds_is_there_whatever_sqlite_is_installed() -> None:
    now = SystemClock().now().timestamp()
    with closing(sqlite3.connect(":memory:", factory=Connection)) as connection:
        connection.execute(f"CREATE TABLE one (id INTEGER, at INTEGER NOT NULL DEFAULT {OF_PYTHON_312})")
        connection.execute("INSERT INTO one (id) VALUES (1)")
        (at,) = connection.execute("SELECT at FROM one").fetchone()
        (of_query,) = connection.execute("SELECT unixepoch('subsec')").fetchone()
    assert abs(at / 1000 - now) < 3600
    assert abs(of_query - now) < 3600


def test_a_database_that_a_newer_python_made_is_written_by_an_older_one(workspace: Workspace, review: Decision) -> None:
    # given a database of workflows whose columns have the defaults of Python 3.12
    runner = Retraining(workspace)
    runner.launch()
    runner.close()
    with closing(database(workspace)) as connection, connection:
        connection.execute("PRAGMA writable_schema=ON")
        found = "SELECT count(*) FROM sqlite_master WHERE instr(sql, ?)"
        before = connection.execute(found, (OF_PYTHON_311,)).fetchone()[0]
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, ?, ?)", (OF_PYTHON_311, OF_PYTHON_312))
        assert connection.execute(found, (OF_PYTHON_312,)).fetchone()[0] >= max(before, 1)
    # when the loop runs a workflow in it
    runner = Retraining(workspace)
    runner.launch()
    try:
        workflow = runner.start(review, as_of=review.end, approved=False)
        wait_for(lambda: runner.waits_for(workflow, APPROVAL), "the workflow waits for approval")
        runner.tell(workflow, APPROVAL, "reject")
        # then it runs to its end
        wait_for(lambda: not runner.active("delay"), "the workflow ends")
    finally:
        runner.close()
    assert workspace.metadata.count(WorkflowStep, workflow=workflow, step="approval") == 1


def test_a_workflow_that_waits_survives_any_number_of_launches(
    workspace: Workspace, review: Decision, workflows: Workflows
) -> None:
    # given a review that has waited for 150 launches of the loop
    workflow = workflows.start(review, as_of=review.end, approved=False)
    put_down(workspace, workflow, "PENDING", attempts=150)
    with closing(database(workspace)) as connection, connection:
        connection.execute("UPDATE workflow_status SET executor_id = 'local', queue_name = NULL")
    # when the loop is launched again, it still waits
    run_until_it_waits(workspace, workflow)
    assert workflows.active("delay") == [workflow]
    assert workflows.dead() == []


def test_a_process_that_runs_no_workflow_queues_one_once(
    workspace: Workspace, review: Decision, workflows: Workflows
) -> None:
    assert workflows.active("delay") == []
    first = workflows.start(review, as_of=review.end, approved=False)
    again = workflows.start(review, as_of=review.end, approved=False)
    assert first == again == workflow_id(review.id)
    assert workflows.active("delay") == [first]
    run_until_it_waits(workspace, first)
    assert workflows.active("delay") == [first]


def test_decide_queues_what_was_decided_and_resumes_nothing(
    workspace: Workspace, review: Decision, workflows: Workflows
) -> None:
    def state() -> tuple[str, int, int]:
        with closing(database(workspace)) as connection:
            columns = "status, recovery_attempts, updated_at"
            found: tuple[str, int, int] = connection.execute(f"SELECT {columns} FROM workflow_status").fetchone()
            return found

    # given a decision whose process died before it started the action
    decide_once(workspace)
    assert workflows.active("delay") == [workflow_id(review.id)]
    assert state()[0] == "ENQUEUED"
    # and a workflow that another process left waiting
    put_down(workspace, workflow_id(review.id), "PENDING", attempts=7)
    before = state()
    # when a person decides again and again, nothing is resumed
    for _ in range(3):
        decide_once(workspace)
    assert state() == before


@pytest.mark.parametrize("status", ["MAX_RECOVERY_ATTEMPTS_EXCEEDED", "CANCELLED", "ERROR"])
def test_a_dead_workflow_is_reported_and_goes_on_when_restarted(
    workspace: Workspace, review: Decision, workflows: Workflows, status: str
) -> None:
    # given a workflow that waited for approval and died
    workflow = workflows.start(review, as_of=review.end, approved=False)
    run_until_it_waits(workspace, workflow)
    put_down(workspace, workflow, status)
    assert [dead["id"] for dead in read_status(workspace)["dead_workflows"]] == [workflow]
    # then it is reported with its decision, and doctor says how to restart it
    assert [(dead.id, dead.decision, dead.status) for dead in workflows.dead()] == [(workflow, review.id, status)]
    assert list(dead_decisions(workspace.workflows_url)) == [review.id]
    found = [finding for finding in examine(workspace.project.folder, "local") if workflow in finding.subject]
    assert [(finding.verdict, f"trimtab workflows restart {workflow}" in finding.remedy) for finding in found] == [
        ("warn", True)
    ]
    # when it is restarted, it waits again
    workflows.restart(workflow)
    run_until_it_waits(workspace, workflow)
    assert workflows.dead() == []
    assert dead_decisions(workspace.workflows_url) == {}


def test_only_a_dead_workflow_is_restarted_or_forgotten(
    workspace: Workspace, review: Decision, workflows: Workflows
) -> None:
    workflow = workflows.start(review, as_of=review.end, approved=False)
    for ask in (workflows.restart, workflows.forget):
        with pytest.raises(UsageError, match=f"no retraining '{workflow}' has ended without a result"):
            ask(workflow)
    put_down(workspace, workflow, "ERROR")
    with pytest.raises(UsageError, match=f"Did you mean '{workflow}'"):
        workflows.restart(workflow[:-1])
    workflows.forget(workflow)
    assert workflows.dead() == []
    assert workflows.active("delay") == []


def test_a_file_that_is_no_database_is_told_with_its_path(workspace: Workspace, workflows: Workflows) -> None:
    (workspace.root / "workflows.db").write_text("no database, but some text that is long enough to be read" * 20)
    with pytest.raises(StoreError, match=r"retraining workflows cannot be used.*workflows\.db"):
        workflows.dead()
    with pytest.raises(StoreError, match=r"workflows\.db"):
        Retraining(workspace).launch()
