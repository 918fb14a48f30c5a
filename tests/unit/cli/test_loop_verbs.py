"""The verbs by which a person answers the loop and verifies its ledger, as they are typed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from integration.gateway_project import GatewayProject
from kit.decisions import decide
from trimtab.app.project.locks import Locked, only_loop
from trimtab.app.project.workspace import Workspace
from trimtab.cli import ledger, loop
from trimtab.errors import UsageError
from trimtab.records.control import Decision, LedgerEntry, Resolution

Trimtab = Callable[..., Result]


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    opened = GatewayProject(tmp_path / "project").workspace
    yield opened
    opened.metadata.close()


@pytest.fixture
def trimtab(workspace: Workspace) -> Trimtab:
    def call(app: typer.Typer, *arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, "--project", str(workspace.project.folder)], catch_exceptions=False)

    return call


@pytest.fixture
def review(workspace: Workspace) -> Decision:
    """A decision that proposes a retraining to a person."""
    return decide(workspace)


@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_an_answer_is_what_was_typed_and_is_given_once(
    workspace: Workspace, trimtab: Trimtab, review: Decision, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "ann")
    said = trimtab(loop.app, verdict, review.id, "--reason", "I have looked").stdout
    (found,) = workspace.metadata.find(Resolution)
    assert (found.decision, found.verdict, found.reason, found.by) == (review.id, verdict, "I have looked", "ann")
    assert said == f"{review.id}: {verdict} by ann (I have looked)\n"
    with pytest.raises(UsageError, match="was answered by ann at"):
        trimtab(loop.app, "approve", review.id, "--reason", "once more")


def test_a_reason_is_asked_for_once_the_decision_is_known(workspace: Workspace, review: Decision) -> None:
    def approve(decision: str, answer: str) -> Result:
        command = ["approve", decision, "--project", str(workspace.project.folder)]
        return CliRunner().invoke(loop.app, command, input=answer)

    unknown = approve("nope", "in vain\n")
    assert isinstance(unknown.exception, UsageError)
    assert f"Waiting for review: {review.id}" in str(unknown.exception)
    assert "Reason" not in unknown.output
    assert approve(review.id, "I have looked\n").output.startswith("Reason: ")
    assert [found.reason for found in workspace.metadata.find(Resolution)] == ["I have looked"]


def test_a_proposal_is_not_acknowledged(workspace: Workspace, trimtab: Trimtab, review: Decision) -> None:
    with pytest.raises(UsageError, match="proposes a retraining and needs an answer"):
        trimtab(loop.app, "acknowledge", review.id, "--reason", "seen")
    assert workspace.metadata.count(Resolution) == 0


@pytest.mark.parametrize("verb", ["monitor", "decide"])
def test_nobody_monitors_or_decides_beside_a_running_loop(workspace: Workspace, trimtab: Trimtab, verb: str) -> None:
    with only_loop(workspace, "trimtab up"), pytest.raises(Locked, match="trimtab up"):
        trimtab(loop.app, verb)


def test_a_ledger_that_holds_and_has_the_expected_head_is_no_failure(
    workspace: Workspace, trimtab: Trimtab, review: Decision
) -> None:
    head = workspace.metadata.find(LedgerEntry)[0].hash
    found = trimtab(ledger.app, "ledger", "verify", "--expect", head)
    assert (found.exit_code, found.stdout) == (0, f"1 entry holds, head {head}\n")
    missing = trimtab(ledger.app, "ledger", "verify", "--expect", head[:-1])
    assert (missing.exit_code, f"has the hash {head[:-1]}" in missing.stdout) == (1, True)


def test_a_changed_decision_fails_until_a_person_accepts_it(
    workspace: Workspace, trimtab: Trimtab, review: Decision
) -> None:
    with pytest.raises(UsageError, match="there is nothing to accept"):
        trimtab(ledger.app, "ledger", "accept", "--reason", "why not")
    with closing(sqlite3.connect(workspace.root / "metadata.db")) as connection, connection:
        connection.execute("UPDATE trimtab_decision SET body = replace(body, 'severe', 'mild')")
    found = trimtab(ledger.app, "ledger", "verify")
    assert (found.exit_code, review.id in found.stdout) == (1, True)
    assert trimtab(ledger.app, "ledger", "accept", "--reason", "a test did it").exit_code == 0
    assert trimtab(ledger.app, "ledger", "verify").exit_code == 0
