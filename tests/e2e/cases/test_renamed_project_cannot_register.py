"""A project whose name or registry is new goes on with its own version numbers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from e2e.small_project import START, write_policy, write_project
from trimtab.app.project.mlflow_access import open_registry, set_aliases
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.app.stages import ingesting, pipeline
from trimtab.records.training import Bundle, DatasetVersion


def run(folder: Path) -> tuple[Workspace, Bundle]:
    """Train, register and deploy, as `trimtab run` does."""
    workspace = open_workspace(folder)
    ingesting.ingest(workspace)
    known = workspace.metadata.find(DatasetVersion, model="m", limit=1)
    as_of = START + timedelta(days=30)
    dataset = known[0] if known else pipeline.snapshot(workspace, "m", as_of=as_of)
    done = pipeline.train(workspace, "m", dataset)
    bundle = pipeline.register(workspace, done, pipeline.evaluate(workspace, done))
    pipeline.deploy(workspace, bundle, cause=bundle.id, reason="test", by="test")
    return workspace, bundle


def rename(folder: Path) -> None:
    pass


def delete_registry(folder: Path) -> None:
    registry = open_registry(open_workspace(folder))
    registry._client.delete_registered_model(registry.name("m"))


@pytest.mark.parametrize("task", ["binary", "regression"])
@pytest.mark.parametrize(("name", "before"), [("new-name", rename), ("old-name", delete_registry)])
def test_numbering_goes_on(tmp_path: Path, task: str, name: str, before: Callable[[Path], None]) -> None:
    # given a project with one version, renamed, or without its registry
    folder = write_project(tmp_path / "project", task)
    _, first = run(folder)
    before(folder)
    write_policy(folder, name=name, seed=2, task=task)
    # when it is run again
    workspace, second = run(folder)
    # then the numbers go on, and a rollback finds its version in the registry
    assert (first.version, second.version) == (1, 2)
    assert open_registry(workspace).alias("m", "champion") == 2
    set_aliases(workspace, open_rollouts(workspace, "m").rollback(cause="r", reason="test", by="test"))
    assert open_registry(workspace).alias("m", "champion") == 1
    assert open_registry(workspace).tags("m", 1)["trimtab.digest"] == first.digest


def test_a_rollback_right_after_a_renaming_moves_the_alias(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project", "binary")
    run(folder)
    write_policy(folder, name="old-name", seed=2, task="binary")
    run(folder)
    write_policy(folder, name="new-name", seed=2, task="binary")
    workspace = open_workspace(folder)
    set_aliases(workspace, open_rollouts(workspace, "m").rollback(cause="r", reason="test", by="test"))
    assert open_registry(workspace).alias("m", "champion") == 1
