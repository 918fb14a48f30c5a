"""A replayed project, its console as a process, and a browser that reports what goes wrong in a page."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from e2e.kit import TRAINED_UNTIL, stop_everything
from kit.browsers import Watched, chromium
from kit.commands import trimtab
from kit.sharing import made_once
from kit.waiting import wait_for
from trimtab.app.project.console_process import running_console

REPLAYED_UNTIL = "2013-03-17"


@pytest.fixture(scope="session")
def replayed_flights(
    trained_flights: Path, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Path:
    """The small project after two weeks of traffic, and a challenger of its champion."""

    def play(folder: Path) -> None:
        shutil.copytree(trained_flights, folder)
        trimtab("replay", "-p", folder, "--from", TRAINED_UNTIL.isoformat(), "--to", REPLAYED_UNTIL)
        trimtab("run", "-p", folder, "--as-of", REPLAYED_UNTIL)

    return made_once(tmp_path_factory, pytestconfig, "replayed", play)


@pytest.fixture(scope="module")
def shown(replayed_flights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the replayed project whose console runs, for all tests of a file."""
    folder = Path(shutil.copytree(replayed_flights, tmp_path_factory.mktemp("shown") / "project"))
    with (folder / ".trimtab" / "run" / "test-console.log").open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "trimtab.cli", "console", "-p", str(folder), "--port", "0"],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    yield folder
    os.kill(child.pid, signal.SIGTERM)
    child.wait()
    stop_everything(folder)


@pytest.fixture(scope="module")
def address(shown: Path) -> str:
    """The address of the console."""
    wait_for(lambda: running_console(shown / ".trimtab" / "run") is not None, "the console runs")
    found = running_console(shown / ".trimtab" / "run")
    assert found is not None
    return found.url


@pytest.fixture(scope="module")  # Playwright's event loop runs until it ends, and other tests run their own
def browser() -> Iterator[Browser]:
    """Chromium, for all tests of a file."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def watched(browser: Browser, address: str) -> Iterator[Watched]:
    """A page of 1280 px whose errors, and requests to other machines, fail the test."""
    found = Watched(browser, address)
    yield found
    found.close()


@pytest.fixture
def page(watched: Watched) -> Page:
    """The page of `watched`."""
    return watched.page
