"""Projects of every task that have served for eleven days, made once for all test processes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from kit.sharing import made_once
from kit.small_project import AS_OF, open_small
from kit.task_windows import make_served
from trimtab.app.project.workspace import Workspace
from trimtab.metric_catalog import Task

Served = Callable[[Task], Workspace]


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
