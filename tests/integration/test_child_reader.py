"""The child process that reads what a server must not load: its answers, its errors and its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from integration.gateway_project import DEFINITIONS, GatewayProject
from kit.waiting import wait_for
from trimtab.app.overviews.reads.child_reader import _PLACES, MOST, Reader, ReadersBusy, close_readers, reader
from trimtab.app.project.process_files import is_running
from trimtab.app.project.workspace import Workspace
from trimtab.errors import NotFound, StoreError, TrimtabError
from trimtab.testing.predictions import prediction_rows


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    opened = GatewayProject(tmp_path / "project").workspace
    yield opened
    close_readers()
    opened.metadata.close()


def child(of: Reader) -> int:
    assert of._process is not None
    return of._process.pid


def test_reads_share_a_child_whatever_definitions_print_and_errors_keep_their_kind(workspace: Workspace) -> None:
    (workspace.project.folder / "definitions.py").write_text(f"print('hello')\n{DEFINITIONS}")
    workspace.predictions.append(prediction_rows(["p"], model=["delay"]))
    workspace.predictions.sync()
    found = reader(workspace)
    assert found.read("log_span", dict[str, Any])["predictions"] == 1
    first = child(found)
    with pytest.raises(NotFound, match=r"^no prediction 'q' is in the log of project 'p'$"):
        found.read("lineage", dict[str, Any], prediction_id="q")
    with pytest.raises(TrimtabError, match="reading failed: KeyError: 'nothing'"):
        found.read("nothing", dict[str, Any])
    assert child(reader(workspace)) == first


def test_a_child_that_died_is_told_and_the_next_read_starts_another(workspace: Workspace) -> None:
    found = reader(workspace)
    found.read("log_span", dict[str, Any])
    first = child(found)
    os.kill(first, signal.SIGSTOP)
    os.kill(first, signal.SIGKILL)
    process = found._process
    assert process is not None
    wait_for(lambda: process.poll() is not None, what="the end of the child")
    assert found.read("log_span", dict[str, Any]) == {"predictions": 0}
    assert child(found) != first


def test_reads_beyond_those_that_may_wait_are_refused_at_once(workspace: Workspace) -> None:
    found = reader(workspace)
    found.read("log_span", dict[str, Any])
    os.kill(child(found), signal.SIGSTOP)
    with ThreadPoolExecutor(MOST) as pool:
        waits = [pool.submit(found.read, "log_span", dict[str, Any]) for _ in range(MOST)]
        try:
            wait_for(lambda: _PLACES._value == 0, what="the reads")
            for lane in ("", "doctor"):
                with pytest.raises(ReadersBusy, match="try again in 5 s"):
                    reader(workspace, lane=lane).read("log_span", dict[str, Any])
        finally:
            os.kill(child(found), signal.SIGCONT)
        assert [each.result() for each in waits] == [{"predictions": 0}] * MOST
    assert found.read("log_span", dict[str, Any]) == {"predictions": 0}


def test_a_broken_project_is_told_by_the_read(workspace: Workspace) -> None:
    (workspace.project.folder / "definitions.py").write_text("import trimtab as tt\ntt.Entity('my entity')\n")
    with pytest.raises(ValueError, match="'my entity' is not valid"):
        reader(workspace).read("log_span", dict[str, Any])


def test_a_child_ends_with_its_parent(workspace: Workspace) -> None:
    program = (
        "import sys, pathlib\n"
        "from trimtab.app.project.workspace import open_workspace\n"
        "from trimtab.app.overviews.reads.child_reader import reader\n"
        "found = reader(open_workspace(pathlib.Path(sys.argv[1])))\n"
        "found.read('log_span', dict)\n"
        "print(found._process.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(workspace.project.folder)]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert is_running(pid)
    parent.kill()
    parent.communicate()
    wait_for(lambda: not is_running(pid), what="the end of the child")


def test_a_read_that_ends_its_process_is_told(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.app.overviews.reads.child_reader.LIMIT_S", 0.0)
    with pytest.raises(StoreError, match="reading 'log_span' ended with exit code -9"):
        reader(workspace).read("log_span", dict[str, Any])
