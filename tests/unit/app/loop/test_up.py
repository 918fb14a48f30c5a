"""Whose gateway `trimtab up` ends: its own, or that of an `up` that has crashed; never one that was there before."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from integration.gateway_project import GatewayProject
from trimtab.app.loop.up import STARTED, GatewayProcess
from trimtab.app.project.process_files import is_running
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.errors import UsageError
from trimtab.serving.processes.listening import ANNOUNCEMENT, Announcement


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return open_workspace(GatewayProject(tmp_path / "project").folder)


@pytest.fixture
def running(workspace: Workspace) -> Iterator[Announcement]:
    """Return what a gateway announced that somebody started by hand."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    found = Announcement("127.0.0.1", 18080, process.pid)
    (workspace.run_folder / ANNOUNCEMENT).write_bytes(msgspec.json.encode(found))
    yield found
    process.kill()
    process.wait()


def test_a_gateway_that_was_there_before_goes_on(workspace: Workspace, running: Announcement) -> None:
    gateway = GatewayProcess(workspace, environment="local", port=None)
    assert gateway.start() == (running, True)
    assert not gateway.is_own(running)
    assert gateway.stop() == running
    assert is_running(running.pid)


def test_a_gateway_that_a_crashed_up_has_left_is_ended(workspace: Workspace, running: Announcement) -> None:
    # given an `up` that noted which gateway it started, and was killed
    (workspace.run_folder / STARTED).write_text(str(running.pid))
    gateway = GatewayProcess(workspace, environment="local", port=0)
    assert gateway.start() == (running, True)
    assert gateway.stop() is None
    assert not is_running(running.pid)


def test_another_port_than_that_of_the_running_gateway_is_refused(workspace: Workspace, running: Announcement) -> None:
    with pytest.raises(UsageError, match=rf"--port 18091: .* at http://127.0.0.1:18080 \(process {running.pid}\)"):
        GatewayProcess(workspace, environment="local", port=18091).start()
    assert GatewayProcess(workspace, environment="local", port=18080).start() == (running, True)
