"""The program that lets the registry's aliases follow the guard: it does so, or says why not."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from integration.gateway_project import GatewayProject
from trimtab.app.project.child_processes import ALIASES, AliasOrder
from trimtab.app.project.mlflow_access import open_registry
from trimtab.training.registry import DIGEST


@pytest.fixture
def project(tmp_path: Path) -> Iterator[GatewayProject]:
    made = GatewayProject(tmp_path / "project", rollout={"strategy": "blue-green"})
    yield made
    made.stop()


def follow(project: GatewayProject) -> subprocess.CompletedProcess[bytes]:
    environment = project.workspace.environment.model_dump_json()
    order = AliasOrder(project=str(project.folder), environment=environment, model="delay")
    return subprocess.run(ALIASES, input=msgspec.json.encode(order), capture_output=True, check=False)


def test_aliases_name_what_serves(project: GatewayProject) -> None:
    # given a registry in which version 2 is champion, and a rollback to version 1
    client, name = open_registry(project.workspace)._client, open_registry(project.workspace).name("delay")
    client.create_registered_model(name)
    for version in (1, 2):
        client.create_model_version(name, str(project.folder))
        project.deploy(version)
    open_registry(project.workspace).set_alias("delay", "champion", 2)
    project.rollouts.rollback(cause="r", reason="worse", by="guard")
    # when the program runs
    done = follow(project)
    # then the alias has followed
    assert done.returncode == 0, done.stderr
    assert open_registry(project.workspace).alias("delay", "champion") == 1


def test_a_registry_without_the_model_gets_its_versions_again(project: GatewayProject) -> None:
    project.deploy(1)
    assert follow(project).returncode == 0
    assert open_registry(project.workspace).alias("delay", "champion") == 1


def test_a_registry_with_another_projects_versions_is_a_warning(project: GatewayProject) -> None:
    # given that version 1 of this name is the bundle of another project
    client, name = open_registry(project.workspace)._client, open_registry(project.workspace).name("delay")
    client.create_registered_model(name)
    client.create_model_version(name, str(project.folder), tags={DIGEST: "another"})
    project.deploy(1)
    done = follow(project)
    assert done.returncode == 1
    assert b"its aliases in the registry still name what served before" in done.stderr
    assert b"Traceback" not in done.stderr
