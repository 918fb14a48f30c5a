"""One loop a project: what is refused beside a running `trimtab up`, and what is free again when it is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from integration.gateway_project import GatewayProject
from kit.commands import trimtab, typed
from kit.waiting import wait_for
from trimtab.app.gateway.configuration import running_gateway, url_of
from trimtab.app.project.locks import LOOP, Locked, holder, only_loop, only_training
from trimtab.app.project.process_files import read_progress
from trimtab.app.project.workspace import Workspace

HOLD = """
import sys, time
from pathlib import Path
from trimtab.app.project.locks import only_training
from trimtab.app.project.workspace import open_workspace
with only_training(open_workspace(Path(sys.argv[1])), "delay", "a training of the test"):
    print("holds", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def project(tmp_path: Path) -> GatewayProject:
    made = GatewayProject(tmp_path / "project")
    made.deploy(1)
    return made


@pytest.fixture
def up(project: GatewayProject) -> Iterator[subprocess.Popen[bytes]]:
    """A loop that runs; it and its gateway are ended."""
    command = [sys.executable, "-m", "trimtab.cli", "up", "--no-console", "-p", str(project.folder), "--port", "0"]
    with (project.folder / "up.log").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)

    def steers() -> bool:
        assert process.poll() is None, (project.folder / "up.log").read_text()
        return read_progress(project.workspace.run_folder) is not None

    wait_for(steers, "the loop runs")
    yield process
    process.kill()
    process.wait()
    if gateway := running_gateway(project.workspace.run_folder):
        os.kill(gateway.pid, 9)


@pytest.mark.parametrize(
    "verb", [("up", "--no-console", "--port", "0"), ("decide",), ("monitor",)], ids=lambda verb: verb[0]
)
def test_what_would_do_the_same_work_is_refused_beside_a_running_loop(
    project: GatewayProject, up: subprocess.Popen[bytes], verb: tuple[str, ...]
) -> None:
    gateway = running_gateway(project.workspace.run_folder)
    assert gateway is not None
    # when the verb is called while the loop runs
    refused = trimtab(*verb, "-p", project.folder, check=False)
    # then it says who runs the loop, where and since when
    assert refused.returncode == 3
    assert f"error: trimtab up (process {up.pid} on {os.uname().nodename}, since 20" in refused.stderr
    assert refused.stdout == ""
    # and the loop and its gateway go on
    assert up.poll() is None
    assert running_gateway(project.workspace.run_folder) == gateway
    assert httpx.get(f"{url_of(gateway)}/v2/health/ready").status_code == 200


def test_a_loop_that_died_leaves_no_lock(project: GatewayProject, up: subprocess.Popen[bytes]) -> None:
    found = holder(project.workspace, LOOP)
    assert found is not None
    assert found.pid == up.pid
    # when the loop is killed, the next one may run; its gateway is still there
    up.kill()
    up.wait()
    assert holder(project.workspace, LOOP) is None
    assert typed("decide", "-p", project.folder).returncode == 0
    assert running_gateway(project.workspace.run_folder) is not None


def test_a_model_is_trained_by_one_process_at_a_time(project: GatewayProject) -> None:
    # given a process that trains
    command = [sys.executable, "-c", HOLD, str(project.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as training:
        assert training.stdout is not None
        assert training.stdout.readline() == "holds\n"
        try:
            # then another training of the model is refused, whoever asks for it, and one of another model is not
            refused = typed("retrain", "-p", project.folder, check=False)
            assert refused.returncode == 3
            assert f"a training of the test (process {training.pid} on" in refused.stderr
            with only_training(project.workspace, "other", "a test"):
                pass
        finally:
            training.kill()
    # and when it has died, the next one may train
    with only_training(project.workspace, "delay", "a test"):
        pass


def test_a_lock_is_held_by_one_and_says_by_whom(project: GatewayProject) -> None:
    workspace: Workspace = project.workspace
    assert holder(workspace, LOOP) is None
    with only_loop(workspace, "the first"):
        with (
            pytest.raises(Locked, match=rf"the first \(process {os.getpid()} on .*stop it first"),
            only_loop(workspace, "the second"),
        ):
            pass
        found = holder(workspace, LOOP)
        assert found is not None
        assert (found.pid, found.doing) == (os.getpid(), "the first")
    assert holder(workspace, LOOP) is None
    with only_loop(workspace, "the third"):
        pass


def test_a_lock_that_says_nonsense_is_free_when_nobody_holds_it(project: GatewayProject) -> None:
    (project.workspace.run_folder / "loop.lock").write_bytes(b"\x00\xff not JSON")
    assert holder(project.workspace, LOOP) is None
    with only_loop(project.workspace, "a test"):
        found = holder(project.workspace, LOOP)
        assert found is not None
        assert found.doing == "a test"
