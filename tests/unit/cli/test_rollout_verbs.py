"""The verbs that change what serves, as they are typed: they write revisions, and say what came of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from integration.gateway_project import GatewayProject
from trimtab.app.project.mlflow_access import open_registry
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout import aliases as aliases_program
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.cli import rollout
from trimtab.cli.delivery import promoting
from trimtab.errors import UsageError
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle
from trimtab.training.registry import DIGEST

Trimtab = Callable[..., str]


@pytest.fixture
def project(tmp_path: Path) -> GatewayProject:
    made = GatewayProject(tmp_path / "project")
    for version in (1, 2, 3):
        made.bundle(version)
    return made


@pytest.fixture
def aliases(monkeypatch: pytest.MonkeyPatch) -> list[Revision]:
    """Return the revisions that the registry is told of; here nobody has registered anything in it."""
    told: list[Revision] = []

    def tell(workspace: Workspace, revision: Revision) -> None:
        told.append(revision)

    monkeypatch.setattr(aliases_program, "set_aliases", tell)
    return told


@pytest.fixture
def trimtab(project: GatewayProject, aliases: list[Revision]) -> Trimtab:
    def call(verb: str, *arguments: str) -> str:
        command = [verb, "--project", str(project.folder), *arguments]
        app = promoting.app if verb in ("promote", "history") else rollout.app
        return CliRunner().invoke(app, command, catch_exceptions=False).stdout

    return call


def test_a_rollout_by_hand_from_the_first_bundle_to_its_rollback(trimtab: Trimtab, aliases: list[Revision]) -> None:
    trimtab("deploy", "--version", "1")
    trimtab("deploy", "--version", "2", "--as", "shadow")
    trimtab("promote", "--reason", "it scored well")
    trimtab("deploy", "--as", "challenger", "--share", "25%")
    trimtab("step", "--share", "40%")
    trimtab("abandon")
    said = trimtab("rollback", "--reason", "it was better")

    assert "revision 7 of delay: rollback" in said
    assert [
        (r.action, {a.role: (a.version, a.weight) for a in r.assignments}) for r in aliases
    ] == [
        ("deploy", {"champion": (1, 100.0)}),
        ("shadow", {"champion": (1, 100.0), "shadow": (2, 0.0)}),
        ("promote", {"champion": (2, 100.0)}),
        ("challenge", {"champion": (2, 75.0), "challenger": (3, 25.0)}),
        ("step", {"champion": (2, 60.0), "challenger": (3, 40.0)}),
        ("abandon", {"champion": (2, 100.0)}),
        ("rollback", {"champion": (1, 100.0)}),
    ]  # fmt: skip


def test_history_tells_what_served_newest_first(trimtab: Trimtab, aliases: list[Revision]) -> None:
    assert "nothing has been deployed yet" in trimtab("history")
    trimtab("deploy", "--version", "1", "--reason", "the first")
    trimtab("deploy", "--version", "2")
    found = msgspec.json.decode(trimtab("history", "--json"), type=list[Revision])
    assert found == aliases[::-1]
    lines = trimtab("history").splitlines()
    assert "challenger 2" in " ".join(lines)
    assert any("the first" in line for line in lines)


def test_a_registry_that_does_not_follow_is_a_warning(
    project: GatewayProject, caplog: pytest.LogCaptureFixture
) -> None:
    # given a registry in which another project has version 1 under this name
    registry = open_registry(project.workspace)
    registry._client.create_registered_model(registry.name("delay"))
    registry._client.create_model_version(registry.name("delay"), "file:///x", tags={DIGEST: "another"})
    command = ["deploy", "--project", str(project.folder), "--version", "1"]
    done = CliRunner().invoke(rollout.app, command, catch_exceptions=False)
    # then the change holds, and the command says both
    assert (done.exit_code, project.rollouts.current() is not None) == (0, True)
    assert "revision 1 of delay: deploy" in done.stdout
    assert "its aliases in the registry still name what served before" in caplog.text


def test_a_share_is_written_as_in_the_policy(trimtab: Trimtab) -> None:
    trimtab("deploy", "--version", "1")
    with pytest.raises(UsageError, match="--share: '25' is not a share"):
        trimtab("deploy", "--version", "2", "--as", "challenger", "--share", "25")


def test_what_ends_and_what_does_not_change_is_said(trimtab: Trimtab) -> None:
    trimtab("deploy", "--version", "1")
    assert "revision 2 of delay: challenge" in trimtab(
        "deploy", "--version", "3", "--as", "challenger", "--share", "40%"
    )
    assert "revision 2 of delay: nothing has changed" in trimtab("deploy", "--version", "1")
    said = trimtab("deploy", "--version", "2", "--as", "shadow")
    assert "ended: challenger delay/3, which had 40 % of the traffic" in said


def test_a_version_that_is_none_is_wrong_usage(trimtab: Trimtab) -> None:
    with pytest.raises(UsageError, match="no bundle 'delay/99'"):
        trimtab("deploy", "--version", "99")


def test_a_bundle_is_past_when_it_serves_no_more(project: GatewayProject, trimtab: Trimtab) -> None:
    bundles = {each.version: each for each in project.workspace.metadata.find(Bundle)}
    trimtab("deploy", "--version", "1")
    trimtab("deploy", "--version", "2", "--as", "challenger")
    first, second = open_rollouts(project.workspace, "delay").history()[::-1]
    # a bundle that serves together with another one is not past
    assert not rollout.is_past(project.workspace, bundles[1], first)
    trimtab("abandon")
    assert rollout.is_past(project.workspace, bundles[2], second)
    assert not rollout.is_past(project.workspace, bundles[1], first)


def test_a_bundle_that_lost_is_deployed_with_a_warning(project: GatewayProject, trimtab: Trimtab) -> None:
    trimtab("deploy", "--version", "1")
    trimtab("deploy", "--version", "2", "--as", "challenger")
    open_rollouts(project.workspace, "delay").abandon(cause="w", reason="gain in log_loss -0.05", by="trimtab")
    command = ["deploy", "--project", str(project.folder), "--version", "2"]
    done = CliRunner().invoke(rollout.app, command, catch_exceptions=False)
    assert "warning: delay/2 was abandoned on" in done.stderr
    assert "by trimtab: gain in log_loss -0.05" in done.stderr
    assert "delay/2" in done.stdout
