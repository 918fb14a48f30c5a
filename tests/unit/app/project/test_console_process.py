"""The console as a child of `trimtab up`: started, used when it runs already, started again, stopped."""

from __future__ import annotations

import os
import signal
import urllib.request
from pathlib import Path

import pytest

from kit.consoles import make_project
from kit.waiting import wait_for
from trimtab.app.project import console_process
from trimtab.app.project.console_process import ConsoleProcess, console_url, running_console

ANY_PORT = "project: small\nconsole: { port: 0 }\n"


def test_a_console_is_started_again_when_it_dies_and_ends_with_the_loop(tmp_path: Path) -> None:
    workspace = make_project(tmp_path, ANY_PORT)
    process = ConsoleProcess(workspace, environment="local")
    try:
        said = process.start()
        first = running_console(workspace.run_folder)
        assert first is not None
        assert said == f"console  {first.url}"
        with urllib.request.urlopen(f"{console_url(workspace)}/api/v1/session") as answer:
            assert answer.status == 200
        # another `up` uses it, and leaves it alone
        other = ConsoleProcess(workspace, environment="local")
        assert other.start() == f"console  {first.url} (was running already)"
        os.kill(first.pid, signal.SIGKILL)

        def again() -> bool:
            process.watch()
            found = running_console(workspace.run_folder)
            return found is not None and found.pid != first.pid

        wait_for(again, "the console runs again")
    finally:
        process.stop()
    assert running_console(workspace.run_folder) is None


def test_a_missing_package_is_said_and_nothing_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_process, "NEEDED", {"no_such_module": "no-such-package"})
    said = ConsoleProcess(make_project(tmp_path, ANY_PORT), environment="local").start()
    assert "no-such-package is not installed" in said
    assert "trimtab[console]" in said


def test_the_address_of_the_policy_is_the_one_in_links(tmp_path: Path) -> None:
    workspace = make_project(tmp_path, "project: small\nconsole: { url: 'https://ml.example.com/' }\n")
    assert console_url(workspace) == "https://ml.example.com"
