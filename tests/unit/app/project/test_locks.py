"""Locks of a project: who comes second is told who is at it, and a lock is free when its holder has ended."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from integration.gateway_project import GatewayProject
from trimtab.app.project.locks import LOOP, Locked, holder, only_loop, only_training
from trimtab.app.project.workspace import Workspace, open_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return open_workspace(GatewayProject(tmp_path / "project").folder)


def test_a_project_has_one_loop_and_the_second_is_told_of_the_first(workspace: Workspace) -> None:
    assert holder(workspace, LOOP) is None
    with only_loop(workspace, "trimtab up"):
        found = holder(workspace, LOOP)
        assert found is not None
        assert (found.pid, found.doing) == (os.getpid(), "trimtab up")
        told = rf"trimtab up \(process {os.getpid()} on .*A project has one loop"
        with pytest.raises(Locked, match=told), only_loop(workspace, "trimtab decide"):
            pytest.fail("there is one already")
    assert holder(workspace, LOOP) is None
    with only_loop(workspace, "trimtab decide"):
        pass


def test_each_model_has_a_training_of_its_own(workspace: Workspace) -> None:
    told = "Model 'delay' is trained by one process at a time"
    with (
        only_training(workspace, "delay", "one"),
        only_training(workspace, "another", "two"),
        pytest.raises(Locked, match=told),
        only_training(workspace, "delay", "three"),
    ):
        pytest.fail("it is trained already")


def test_a_lock_is_given_back_when_its_holder_fails(workspace: Workspace) -> None:
    with pytest.raises(ZeroDivisionError), only_loop(workspace, "trimtab up"):
        raise ZeroDivisionError
    assert holder(workspace, LOOP) is None
