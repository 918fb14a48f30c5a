"""The loopback provider as a child process: announced, started again on its port, ended with what started it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from kit.loopback import asked, endpoint, target
from kit.waiting import wait_for
from trimtab.app.project.loopback_process import LoopbackProcess, loopback_beside
from trimtab.app.project.process_files import is_running
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.llm.loopback.announcement import announced
from trimtab.llm.loopback.starting import resolved
from trimtab.llm.upstream.upstream_client import Upstream

DEFINITIONS = 'import trimtab as tt\n\nstand_in = tt.Endpoint("stand_in", url="{url}")\n'


def project(folder: Path, url: str) -> Workspace:
    (folder / "trimtab.yaml").write_text("project: tickets\n")
    (folder / "definitions.py").write_text(DEFINITIONS.format(url=url))
    return open_workspace(folder)


def test_a_provider_that_was_killed_is_started_again_on_its_port(tmp_path: Path) -> None:
    workspace = project(tmp_path, "loopback")
    process = LoopbackProcess(workspace)
    found = process.start()
    assert found is not None
    assert LoopbackProcess(workspace).start() == found  # the one that runs is used

    async def ask() -> str:
        upstream = Upstream(locate=lambda each: resolved(each, workspace.run_folder))
        return (await upstream.complete(target("loopback"), asked("hello"))).text

    assert asyncio.run(ask()) == "hello"
    os.kill(found.pid, signal.SIGKILL)
    wait_for(lambda: not is_running(found.pid), "the provider to end")
    process.watch()
    again = announced(workspace.run_folder)
    assert again is not None
    assert (again.url, again.pid == found.pid) == (found.url, False)
    assert resolved(endpoint("loopback"), workspace.run_folder) == found.url
    process.stop()
    assert not is_running(again.pid)
    assert announced(workspace.run_folder) is None


def test_a_block_ends_the_provider_that_it_started_alone(tmp_path: Path) -> None:
    workspace = project(tmp_path, "loopback")
    with loopback_beside(workspace):
        found = announced(workspace.run_folder)
        assert found is not None
        with loopback_beside(workspace):
            pass
        assert is_running(found.pid)
    assert not is_running(found.pid)


def test_a_project_with_other_endpoints_starts_none(tmp_path: Path) -> None:
    workspace = project(tmp_path, "https://llm.example.com/v1")
    process = LoopbackProcess(workspace)
    assert process.start() is None
    process.watch()
    process.stop()
    assert announced(workspace.run_folder) is None
