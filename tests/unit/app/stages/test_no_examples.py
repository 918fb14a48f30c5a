"""A training set that would be empty says which rows there are, and what to change."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from e2e.small_project import START, write_policy, write_project
from trimtab.app.project.workspace import open_workspace
from trimtab.app.stages import ingesting, pipeline
from trimtab.errors import StageError

LAST = START + timedelta(minutes=30 * 599)


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_a_history_that_ends_before_the_rows_is_named(tmp_path: Path, task: str) -> None:
    folder = write_project(tmp_path / "project", task)
    write_policy(folder, task=task, more=", history: 10d")
    workspace = open_workspace(folder)
    ingesting.ingest(workspace)
    with pytest.raises(StageError, match=r"no examples in the 10 days before 2025-01-01 .*history.*2024-01-13"):
        pipeline.snapshot(workspace, "m", as_of=START.replace(year=2025))


def test_a_moment_before_all_rows_is_named(tmp_path: Path) -> None:
    workspace = open_workspace(write_project(tmp_path / "project"))
    ingesting.ingest(workspace)
    with pytest.raises(StageError, match=r"known by 2023-01-01 00:00: table 'examples' has rows from 2024-01-01 00:00"):
        pipeline.snapshot(workspace, "m", as_of=START.replace(year=2023))


def test_too_few_rows_name_the_history_that_leaves_the_others_out(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project")
    write_policy(folder, more=", history: 1d")
    workspace = open_workspace(folder)
    ingesting.ingest(workspace)
    with pytest.raises(StageError, match=r"has 48 labelled examples .* from 2024-01-12.*training\.history"):
        pipeline.snapshot(workspace, "m", as_of=LAST)
