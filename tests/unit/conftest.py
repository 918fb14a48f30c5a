"""What unit tests of several rooms share."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from kit.sharing import made_once
from kit.small_project import AS_OF, open_small
from kit.task_windows import Served, make_served
from trimtab.app.project.workspace import Workspace
from trimtab.metric_catalog import Task


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        made = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if made.returncode:
        pytest.skip(f"mounting is not allowed here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Served:
    """Return a function that opens the project of a task: a champion, a challenger from the fourth day on, and inputs
    that are three times as large from the ninth day on. Tests only read it."""

    def opened(task: Task) -> Workspace:
        folder = made_once(
            tmp_path_factory, pytestconfig, f"served-{task}", lambda f: make_served(f, task, shifted_from=8)
        )
        return open_small(folder, AS_OF + timedelta(days=12))

    return opened
