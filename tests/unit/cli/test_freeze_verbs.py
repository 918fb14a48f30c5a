"""Freezing a model as it is typed, and what other verbs say meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from integration.gateway_project import GatewayProject
from kit.decisions import decide
from trimtab.app.rollout import aliases
from trimtab.cli import freeze, look, loop, rollout, stages
from trimtab.cli.delivery import promoting
from trimtab.errors import ActionError, DefinitionError, UsageError
from trimtab.records.control import Freeze, Resolution
from trimtab.records.serving import Revision

Trimtab = Callable[..., Result]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GatewayProject]:
    monkeypatch.setenv("LOGNAME", "ann")
    monkeypatch.setattr(aliases, "set_aliases", lambda workspace, revision: None)
    made = GatewayProject(tmp_path / "project")
    for version in (1, 2):
        made.bundle(version)
    yield made
    made.workspace.metadata.close()


@pytest.fixture
def trimtab(project: GatewayProject) -> Trimtab:
    def call(app: typer.Typer, *arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, "--project", str(project.folder)], catch_exceptions=False)

    return call


def test_a_freeze_is_recorded_shown_and_ended(project: GatewayProject, trimtab: Trimtab) -> None:
    assert trimtab(freeze.app, "freeze", "delay", "--reason", "the audit").stdout == (
        "delay is frozen by ann: the audit\n"
    )
    assert "frozen delay is frozen by ann: the audit" in trimtab(look.app, "status").stdout
    said = trimtab(freeze.app, "unfreeze", "delay", "--reason", "it is over").stdout
    assert said == "delay: the freeze is ended by ann: it is over\n"
    assert "frozen" not in trimtab(look.app, "status").stdout
    assert [one.frozen for one in project.workspace.metadata.find(Freeze)] == [False, True]


def test_a_freeze_may_end_by_itself(project: GatewayProject, trimtab: Trimtab) -> None:
    until = (project.workspace.now() + timedelta(days=3)).replace(microsecond=0)
    made = json.loads(trimtab(freeze.app, "freeze", "--reason", "r", "--until", until.isoformat(), "--json").stdout)
    assert (made["model"], made["until"]) == ("", until.isoformat().replace("+00:00", "Z"))
    with pytest.raises(UsageError, match="--until: 'tomorrow' is no date or time"):
        trimtab(freeze.app, "freeze", "--reason", "r", "--until", "tomorrow")


def test_a_freeze_names_a_model_of_the_project_and_a_reason(project: GatewayProject, trimtab: Trimtab) -> None:
    with pytest.raises(DefinitionError, match="dely"):
        trimtab(freeze.app, "freeze", "dely", "--reason", "r")
    assert trimtab(freeze.app, "freeze", "delay").exit_code == 2
    assert project.workspace.metadata.count(Freeze) == 0


@pytest.mark.parametrize(
    ("app", "arguments"),
    [
        (rollout.app, ["deploy", "--version", "2"]),
        (promoting.app, ["promote"]),
        (rollout.app, ["step"]),
        (loop.app, ["retrain"]),
        (loop.app, ["approve", "delay/decision/1", "--reason", "yes"]),
        (stages.app, ["run"]),
    ],
)
def test_commands_that_change_a_frozen_model_are_refused(
    project: GatewayProject, trimtab: Trimtab, app: typer.Typer, arguments: list[str]
) -> None:
    decide(project.workspace)
    project.deploy(1)
    trimtab(freeze.app, "freeze", "--reason", "the audit")
    with pytest.raises(ActionError, match=r"all models are frozen by ann: the audit\. End the freeze with"):
        trimtab(app, *arguments)
    assert project.workspace.metadata.count(Revision) == 1
    assert project.workspace.metadata.count(Resolution) == 0


def test_force_deploys_and_approves_a_frozen_model_and_a_rollback_needs_none(
    project: GatewayProject, trimtab: Trimtab
) -> None:
    review = decide(project.workspace)
    project.deploy(1)
    trimtab(freeze.app, "freeze", "delay", "--reason", "the audit")
    trimtab(rollout.app, "deploy", "--version", "2", "--as", "champion", "--force")
    trimtab(rollout.app, "rollback")
    actions = [r.action for r in project.workspace.metadata.find(Revision, oldest_first=True)]
    assert (len(actions), actions[-1]) == (3, "rollback")
    trimtab(loop.app, "approve", review.id, "--reason", "yes", "--force")
    assert project.workspace.metadata.count(Resolution, decision=review.id) == 1
